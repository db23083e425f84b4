#!/bin/bash
# RLIMIT_DATA and the number of map areas reached; a cgroup's memory limit kept.
. "$(dirname "$0")/lib.sh"

tap_both scarce data
tap_both scarce maps

# In a cgroup of 64 MiB: 20 MiB alive and gone again many times over, in all sizes, is no reason to be killed.
root=$(awk '$3 == "cgroup2" {print $2; exit}' /proc/mounts)
group=$root/slabmalloc-test-$$
name="a cgroup's memory limit"
if [ -z "$root" ] || ! grep -qw memory "$root/cgroup.subtree_control" 2>/dev/null; then
	skip "$name" "no cgroup v2 whose memory controller is passed on"
elif ! mkdir "$group" 2>/dev/null; then
	skip "$name" "cannot make a cgroup"
else
	at_exit "rmdir '$group'"
	echo 64M >"$group/memory.max"
	echo 0 >"$group/memory.swap.max" 2>/dev/null
	preloaded bash -c 'echo $$ >"$1/cgroup.procs" && exec "$2" cgroup' bash "$group" "$(prog scarce)" >"$tmp/out" 2>&1
	ok $? "20 MiB come and go in a cgroup of 64 MiB" || note_file "$tmp/out"
fi
done_testing
