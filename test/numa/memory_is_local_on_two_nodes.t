#!/bin/bash
# On a machine with two nodes: memory lies where its thread runs, or where a policy or cpuset says. By move_pages(2).
. "$(dirname "$0")/lib.sh"

in_guest 1:256 1:192 <<'END'
placed local
placed moves
placed large
placed counters
placed hugetlb
placed policy
placed exec interleave spread
placed exec bind all_on 0 1
SLABMALLOC_CONF=numa:interleave placed spread
SLABMALLOC_CONF=numa:node=1 placed all_on 0 1
SLABMALLOC_CONF=numa:off placed off

mkdir /cgroup
mount -t cgroup2 cgroup /cgroup
echo +cpuset >/cgroup/cgroup.subtree_control
mkdir /cgroup/test
# placed_in NODES CASE...: in a cpuset of these nodes
placed_in() {
	echo "$1" >/cgroup/test/cpuset.mems
	shift
	echo 0 >/cgroup/test/cgroup.procs
	placed "$@"
	echo 0 >/cgroup/cgroup.procs
}
placed_in 0-1 cpuset 0
placed_in 0 cpuset 1

placed exhausted 1 1 0
placed exhausted 0 0 1
END
done_testing
