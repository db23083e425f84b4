#!/bin/bash
# Transparent huge pages: a 512 MiB heap of small objects is made of them, a 4 MiB heap is not.
. "$(dirname "$0")/lib.sh"

setting=/sys/kernel/mm/transparent_hugepage/enabled
[ -r "$setting" ] || skip_all "no transparent huge pages here"
! grep -q '\[never\]' "$setting" || skip_all "transparent huge pages are off ($(cat "$setting"))"
grep -q AnonHugePages /proc/self/smaps_rollup 2>/dev/null || skip_all "no /proc/self/smaps_rollup"

free_kib=$(awk '/^MemAvailable:/ {print $2}' /proc/meminfo)
if quick; then
	tap_of preloaded huge_heap small
	skip "a 512 MiB heap is huge" "heavy: left out by SLABMALLOC_CHECK=quick"
elif [ "$free_kib" -lt 2097152 ]; then
	tap_of preloaded huge_heap small
	skip "a 512 MiB heap is huge" "less than 2 GiB of memory available"
else
	tap_of preloaded huge_heap
fi
done_testing
