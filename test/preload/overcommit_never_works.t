#!/bin/bash
# vm.overcommit_memory = 2: reservations count as if they were used.  The setting is the machine's; it is changed for a
# second and put back by the exit trap.
. "$(dirname "$0")/lib.sh"

setting=/proc/sys/vm/overcommit_memory
heavy
[ -w "$setting" ] || skip_all "$setting is not writable"
[ "$(cat "$setting")" != 2 ] || { tap_both overcommit; done_testing; }

# Where the machine already uses more than the limit would allow, mode 2 would hit the others.
limit_kib=$(awk '/^CommitLimit:/ {print $2}' /proc/meminfo)
used_kib=$(awk '/^Committed_AS:/ {print $2}' /proc/meminfo)
[ $((used_kib + 2097152)) -lt "$limit_kib" ] || skip_all "the machine has committed too much for mode 2 ($used_kib of $limit_kib KiB)"

prog overcommit >/dev/null
before=$(cat "$setting")
at_exit "echo $before >$setting"
if ! echo 2 2>/dev/null >"$setting"; then
	skip_all "$setting cannot be set to 2"
fi
tap_both overcommit
done_testing
