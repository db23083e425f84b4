#!/bin/bash
# fast_path.sh [--update | --show]: what the fast paths of malloc and free cost,
# read from the machine code of $SLABMALLOC_LIB.
#
# The fast path runs from the entry to the first ret that can be reached inside
# the function without a call and without a locked instruction, taking the fall
# through before the branch at each conditional jump. Slow paths leave the
# function by a jump, so a fast path has no call.
#
# Always checked: there is such a path, malloc has at most 2 conditional
# branches on it and free at most 3. With the compiler and flags the golden
# file was made with, the counts must be equal to it: fewer is good news, but
# news. --update rewrites the golden file, --show prints the paths.
set -u
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
golden=$here/fast_path.x86_64.golden

case ${1:-} in
--help | -h) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit ;;
esac
: "${SLABMALLOC_LIB:?path of the built libslabmalloc.so}"

skip_all() { echo "1..0 # SKIP $*"; exit 0; }

case $(readelf -hW "$SLABMALLOC_LIB") in
*X86-64*) ;;
*) skip_all "reads x86-64 code only" ;;
esac
if grep -qs '^#define SLABMALLOC_DEBUG' "${top_builddir:-.}/config.h"; then
	skip_all "a debug build asserts on its fast paths"
fi
command -v objdump >/dev/null || skip_all "objdump is not installed"

# "gcc 12", from the library itself.
compiler() {
	readelf -p .comment "$SLABMALLOC_LIB" |
		sed -n 's/.*GCC: ([^)]*) \([0-9]*\)\..*/gcc \1/p; s/.*clang version \([0-9]*\)\..*/clang \1/p' |
		sort | head -n 1 # clang if it is there: the C library's start files are of gcc
}

# disassemble NAME: "address<TAB>instruction" lines. By address and size: a
# function with aliases is labelled by any of them.
disassemble() {
	local start size
	read -r start size < <(nm -DS --defined-only "$SLABMALLOC_LIB" |
		awk -v name="$1" '$NF == name { print $1, $2 }')
	[ -n "${start:-}" ] || return 1
	objdump -d -w --no-show-raw-insn --start-address="0x$start" \
		--stop-address="0x$(printf %x $((0x$start + 0x$size)))" "$SLABMALLOC_LIB" |
		sed -n 's/^ *\([0-9a-f]*\):[ \t]*\([a-z].*\)/\1\t\2/p'
}

# fast_path FUNCTION: "function instructions branches", then with SHOW the
# path itself; "function none" when every way to a ret calls or locks.
fast_path() {
	disassemble "$1" | awk -F '\t' -v name="$1" -v show="${2:-}" '
	{ address[++n] = $1; code[n] = $2; line[$1] = n }
	function op(i) { split(code[i], word, " "); return word[1] }
	function target(i) { split(code[i], word, " "); return word[2] }
	# Depth first, the fall through before the branch.
	function walk(i, depth, branches,   o, t) {
		while (i >= 1 && i <= n && !(i in seen)) {
			seen[i] = 1
			o = op(i)
			if (o !~ /^(endbr64|nop[wl]?|data16|cs)$/) path[++depth] = i
			if (o ~ /^call/ || o == "lock" || code[i] ~ /^xchg.*\(/) return 0
			if (o ~ /^(ret|retq)$/ || code[i] ~ /^(repz|bnd) ret/) {
				found_depth = depth; found_branches = branches
				return 1
			}
			t = line[target(i)]
			if (o ~ /^jmp/) {
				if (!t) return 0
				i = t
				continue
			}
			if (o ~ /^j/) {
				branches++
				if (walk(i + 1, depth, branches)) return 1
				if (!t) return 0
				i = t
				continue
			}
			i++
		}
		return 0
	}
	END {
		if (!walk(1, 0, 0)) { print name, "none"; exit }
		print name, found_depth, found_branches
		if (show) for (i = 1; i <= found_depth; i++)
			print "    " address[path[i]] "  " code[path[i]]
	}'
}

counts() {
	echo "# function instructions conditional-branches; $(compiler), -g -O2; by fast_path.sh --update"
	fast_path malloc
	fast_path free
}

case ${1:-} in
--show) fast_path malloc show; fast_path free show; exit ;;
--update) counts >"$golden"; exit ;;
esac

count=0
for rule in "malloc 2" "free 3"; do
	read -r function limit <<<"$rule"
	read -r _ instructions branches < <(fast_path "$function")
	count=$((count + 1))
	if [ "${instructions:-none}" = none ]; then
		echo "not ok $count - $function has a path without call and lock"
		disassemble "$function" | sed 's/^/#   /' | head -n 60
		instructions=0 branches=99
	else
		echo "ok $count - $function has a path without call and lock"
	fi
	count=$((count + 1))
	verdict=ok
	[ "$branches" -le "$limit" ] || verdict="not ok"
	echo "$verdict $count - $function has at most $limit conditional branches on it"
	echo "# $function: $instructions instructions, $branches conditional branches"
done

count=$((count + 1))
name="counts are those of ${golden##*/}"
made_with=$(sed -n '1s/.*; \([a-z]* [0-9]*\), .*/\1/p' "$golden" 2>/dev/null)
if [ -z "$made_with" ]; then
	echo "not ok $count - $name"
	echo "# no golden file: make it with --update"
elif [ "$(compiler)" != "$made_with" ]; then
	echo "ok $count - $name # SKIP built by $(compiler), counted for $made_with"
elif [ "${CFLAGS--g -O2}" != "-g -O2" ]; then
	echo "ok $count - $name # SKIP built with CFLAGS=$CFLAGS, counted for -g -O2"
elif difference=$(diff -U0 --label golden --label built "$golden" <(counts)); then
	echo "ok $count - $name"
else
	echo "not ok $count - $name"
	sed 's/^/# /' <<<"$difference"
	fast_path malloc show | sed 's/^/# /'
	fast_path free show | sed 's/^/# /'
fi
echo "1..$count"
