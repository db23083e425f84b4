#!/bin/bash
# hugepages:hugetlb: with a pool of N pages and a demand of twice as much, N pages are used, the rest is other memory,
# nobody dies, and the pool is full again afterwards. With libhugetlbfs, without it, and under a cgroup's limit.
. "$(dirname "$0")/lib.sh"

need_root "to reserve huge pages"
pool=/sys/kernel/mm/hugepages/hugepages-2048kB
[ -w "$pool/nr_hugepages" ] || skip_all "this kernel has no hugetlb pages of 2 MiB"

# One test at a time has the pool; it is as it was afterwards.
exec 9>/tmp/.slabmalloc-hugetlb-pool
flock -w "$limit" 9 || skip_all "the pool is another test's for too long"
before=$(cat "$pool/nr_hugepages")
overcommit=$(cat "$pool/nr_overcommit_hugepages")
at_exit "echo '$before' >'$pool/nr_hugepages'; echo '$overcommit' >'$pool/nr_overcommit_hugepages'"
echo 0 >"$pool/nr_overcommit_hugepages"

pages=16
in_use=$((before - $(cat "$pool/free_hugepages") + $(cat "$pool/resv_hugepages")))
echo $((in_use + pages)) >"$pool/nr_hugepages"
available() { echo $(($(cat "$pool/free_hugepages") - $(cat "$pool/resv_hugepages"))); }
[ "$(available)" -eq $pages ] || skip_all "the kernel has no $pages huge pages to reserve"

program=$(prog hugetlb_heap)
# with_conf NAME CONF COMMAND...: that prints TAP.
with_conf() {
	local name=$1 conf=$2 failed
	shift 2
	preloaded env SLABMALLOC_CONF="$conf" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
	local status=$?
	failed=$(grep -c '^not ok' "$tmp/out")
	[ "$status" -eq 0 ] && [ "$failed" -eq 0 ] && grep -q '^1\.\.' "$tmp/out" && [ ! -s "$tmp/err" ]
	ok $? "$name" || { note "status $status"; note_file "$tmp/out"; note_file "$tmp/err"; }
	[ "$(available)" -eq $pages ]
	ok $? "$name: the pool is full afterwards" || note "$(available) of $pages"
}

with_conf "the pool is used and given back" hugepages:hugetlb "$program" $pages
with_conf "so it is without decay and with small caches" \
	hugepages:hugetlb,decay_ms:-1,map_cache:0,magazine_max:0 "$program" $pages

if ! ldconfig -p | grep -q 'libhugetlbfs\.so\.0'; then
	skip "libhugetlbfs is asked for its pages" "libhugetlbfs is not installed"
	skip "without libhugetlbfs" "it is not installed: the tests above were without it"
else
	# Its own page size may be another: then the kernel is asked.
	with_conf "with a page size that libhugetlbfs does not serve" hugepages:hugetlb \
		env HUGETLB_DEFAULT_PAGE_SIZE=1G "$program" $pages
	if grep -q 'define HAVE_HUGETLBFS 1' "$builddir/config.h" 2>/dev/null; then
		preloaded env SLABMALLOC_CONF=hugepages:hugetlb grep -c libhugetlbfs /proc/self/maps >"$tmp/out"
		check "libhugetlbfs is loaded when it is asked for" test "$(cat "$tmp/out")" -gt 0
	fi
	library=$(readlink -f "$(ldconfig -p | awk '/libhugetlbfs\.so\.0 .*x86-64/ {print $NF; exit}')")
	if unshare -m true 2>/dev/null && [ -f "$library" ]; then
		# shellcheck disable=SC2016
		with_conf "the pool is used without libhugetlbfs" hugepages:hugetlb \
			unshare -m bash -c 'mount --bind /dev/null "$1" && exec "$2" "$3"' bash "$library" "$program" $pages
	else
		skip "without libhugetlbfs" "no mount namespace to hide it in"
	fi
fi
preloaded grep -c libhugetlbfs /proc/self/maps >"$tmp/out"
check "libhugetlbfs is not loaded otherwise" test "$(cat "$tmp/out")" -eq 0

name="a cgroup's limit on huge pages"
root=$(awk '$3 == "cgroup2" {print $2; exit}' /proc/mounts)
if [ -z "$root" ] || ! grep -qw hugetlb "$root/cgroup.controllers" 2>/dev/null; then
	skip "$name" "no cgroup v2 with a hugetlb controller"
else
	if ! grep -qw hugetlb "$root/cgroup.subtree_control"; then
		echo +hugetlb >"$root/cgroup.subtree_control" 2>/dev/null && at_exit "echo -hugetlb >'$root/cgroup.subtree_control'"
	fi
	group=$root/slabmalloc-test-$$
	if ! mkdir "$group" 2>/dev/null || [ ! -w "$group/hugetlb.2MB.max" ]; then
		skip "$name" "cannot make a cgroup with it"
	else
		at_exit "rmdir '$group'"
		# Of faults alone: reservations are granted, and the touch is what is refused.
		echo 8M >"$group/hugetlb.2MB.max"
		# shellcheck disable=SC2016
		with_conf "$name: as many as it allows are used, the rest is other memory" hugepages:hugetlb \
			bash -c 'echo $$ >"$1/cgroup.procs" && exec "$2" "$3" 1' bash "$group" "$program" $pages
	fi
fi

# Parent and children write to what they share, and the pool has no page to copy it to.
with_conf "fork where the pool is empty" hugepages:hugetlb "$program" $pages fork
done_testing
