# shellcheck shell=bash
# For the tests that run in a guest, with several NUMA nodes or an IOMMU; sourced by every *.t here.
. "$(dirname "${BASH_SOURCE[0]}")/../preload/lib.sh"

bed=${SLABMALLOC_NUMA_BED:-$builddir/numa-bed}
placement=$builddir/test/numa/placement

heavy
[ "$(uname -m)" = x86_64 ] || skip_all "the test bed is for x86_64"
[ -e "$bed/complete" ] || skip_all "no QEMU and kernel to boot (test/numa/setup $bed fetches them)"
[ -x "$placement" ] || skip_all "test/numa/placement is not built"
options=() # more of guest's

# in_guest NODE...: boots a machine with these nodes (guest's --node, and --distance A:B:N), runs the script on standard
# input in it, in which "placed CASE..." is the program under the library, and passes its TAP on.
in_guest() {
	local machine=() line status
	for line; do
		case $line in
		*:*:*) machine+=(--distance "$line") ;;
		*) machine+=(--node "$line") ;;
		esac
	done
	{
		# Of the library itself the script sets only what it says.
		cat <<-END
			cases=0
			placed() {
				LD_PRELOAD=$SLABMALLOC_LIB $placement "\$@"
				status=\$?
				cases=\$((cases + 1))
				[ \$status -le 1 ] || echo "not ok - placement \$* ends in order: status \$status"
			}
		END
		cat
		echo 'echo "# $cases cases"'
	} >"$tmp/script"
	timeout -k 5 "$limit" "$here/../numa/guest" --bed "$bed" "${machine[@]}" "${options[@]}" --seconds 170 --console "$tmp/console" \
		--file "$placement" --file "$SLABMALLOC_LIB" "$tmp/script" >"$tmp/tap" 2>"$tmp/err"
	status=$?
	while IFS= read -r line; do
		case $line in
		'ok - '*) ok 0 "${line#*- }" ;;
		'not ok - '*) ok 1 "${line#*- }" ;;
		*) echo "# ${line#\# }" ;;
		esac
	done <"$tmp/tap"
	if [ "$status" -ne 0 ] || ! grep -q '^# [1-9][0-9]* cases' "$tmp/tap"; then
		ok 1 "the guest runs to its end"
		note "status $status"
		note_file "$tmp/err"
	fi
	! grep -q 'Out of memory\|oom-kill' "$tmp/console"
	ok $? "the OOM killer was not called"
}
