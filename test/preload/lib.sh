# shellcheck shell=bash
# TAP helpers for the preload tests; sourced by every *.t here.
#
# The harness gives SLABMALLOC_LIB (absolute path of the library to preload), SLABMALLOC_CMD (the launcher), top_srcdir,
# top_builddir, CC and CXX.  SLABMALLOC_LIB may name another allocator: that is how the tests themselves are tested.
#
# Every command runs under timeout(1), which kills its whole process group, so neither a hang nor a stray child
# outlives a test; all files live in one temporary directory that the exit trap removes.

set -u
export LC_ALL=C

if [ -z "${SLABMALLOC_LIB:-}" ] || [ ! -f "$SLABMALLOC_LIB" ]; then
	echo "Bail out! SLABMALLOC_LIB does not name a library: '${SLABMALLOC_LIB:-}'"
	exit 99
fi
# An allocator chosen for the shell that runs the tests must not leak into the "plain" half of a comparison.
unset LD_PRELOAD SLABMALLOC_CONF
# make hands its job server down through these; the programs under test must not try to join it.
unset MAKEFLAGS MFLAGS MAKELEVEL

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${top_srcdir:=$here/../..}"
: "${top_builddir:=$top_srcdir}"
: "${CC:=gcc}"
: "${CXX:=g++}"
builddir=$(cd "$top_builddir" 2>/dev/null && pwd) || builddir=$top_builddir

case ${SLABMALLOC_LIB##*/} in
	libslabmalloc*) subject=slabmalloc ;;
	*) subject=other ;;
esac

tmp=$(mktemp -d "${TMPDIR:-/tmp}/slabmalloc-test.XXXXXX") || exit 99
cleanups=()
at_exit() { cleanups+=("$1"); }
finish() {
	local i
	for ((i = ${#cleanups[@]} - 1; i >= 0; i--)); do
		eval "${cleanups[i]}"
	done
	rm -rf "$tmp"
}
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Seconds a single command may take before it counts as hung: a safety net, far above what any of them needs.
limit=180

tests=0
failures=0

note() { sed 's/^/# /' <<<"$*"; }
note_file() { [ -s "$1" ] && head -n "${2:-25}" "$1" | tr -d '\0' | sed 's/^/#   /'; return 0; }

# ok STATUS NAME: status 0 passes.
ok() {
	tests=$((tests + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $tests - $2"
	else
		failures=$((failures + 1))
		echo "not ok $tests - $2"
	fi
	return "$1"
}

# check NAME COMMAND...: a shell condition as a test.
check() {
	# The condition may be a function of the test's own: it must not meet these names.
	local check_name=$1 check_status=0
	shift
	"$@" || check_status=$?
	ok "$check_status" "$check_name"
}

skip() {
	tests=$((tests + 1))
	echo "ok $tests # SKIP $1: $2"
}

skip_all() {
	echo "1..0 # SKIP $*"
	exit 0
}

done_testing() {
	echo "1..$tests"
	[ "$failures" -eq 0 ]
	exit
}

quick() { [ "${SLABMALLOC_CHECK:-}" = quick ]; }
long() { [ "${SLABMALLOC_CHECK:-}" = long ]; }
heavy() { if quick; then skip_all "heavy: left out by SLABMALLOC_CHECK=quick"; fi; }

need() {
	local program
	for program; do
		command -v "$program" >/dev/null 2>&1 || skip_all "$program is not installed"
	done
}

need_root() { [ "$(id -u)" -eq 0 ] || skip_all "needs root: $*"; }

# plain COMMAND... and preloaded COMMAND...: the same command without and with the library.
plain() { TEST_SUBJECT=glibc timeout -k 5 "$limit" "$@"; }
preloaded() { TEST_SUBJECT=$subject timeout -k 5 "$limit" env LD_PRELOAD="$SLABMALLOC_LIB" "$@"; }

# prog NAME: path of a helper program.  The harness builds them; a test run by hand compiles what is missing.
prog() {
	local built=$builddir/test/preload/progs/$1
	if [ ! -x "$built" ]; then
		built=$tmp/progs/$1
		if [ ! -x "$built" ]; then
			mkdir -p "$tmp/progs"
			if [ -f "$here/progs/$1.cc" ]; then
				$CXX -std=c++17 -O2 -g -pthread -o "$built" "$here/progs/$1.cc" >&2
			else
				$CC -O2 -g -pthread -o "$built" "$here/progs/$1.c" >&2
			fi || echo "# cannot compile $1" >&2
		fi
	fi
	printf '%s\n' "$built"
}

# plugin NAME: compiles plugins/NAME.c to a shared object and prints its path.
plugin() {
	local built=$tmp/$1.so
	[ -e "$built" ] || $CC -O2 -g -fPIC -shared -pthread -o "$built" "$here/plugins/$1.c" >&2 || return 1
	printf '%s\n' "$built"
}

# same NAME: reads a bash script from stdin and runs it twice, without and with the library preloaded into the shell
# and so into all its children.  Both runs start in an empty directory of the same name.  What they print (stdout and
# stderr: a word from the library is a difference too), the exit status and that no core was dumped must be equal.
same() {
	local name=$1 kind status=0
	cat >"$tmp/script"
	for kind in plain preloaded; do
		rm -rf "$tmp/work"
		mkdir -p "$tmp/work/home"
		(cd "$tmp/work" && HOME=$tmp/work/home TMPDIR=$tmp/work/home PYTHONHASHSEED=0 "$kind" bash "$tmp/script") \
			>"$tmp/$kind.out" 2>"$tmp/$kind.err" </dev/null
		echo "status $?" >>"$tmp/$kind.out"
	done
	cmp -s "$tmp/plain.out" "$tmp/preloaded.out" && cmp -s "$tmp/plain.err" "$tmp/preloaded.err" || status=1
	# A script whose plain run fails compares nothing worth comparing.
	if [ "$(tail -n 1 "$tmp/plain.out")" != "status 0" ]; then
		status=1
		note "the script failed without the library:"
		tail -n 5 "$tmp/plain.out" "$tmp/plain.err" >"$tmp/diff"
		note_file "$tmp/diff"
	fi
	ok "$status" "$name" && return
	[ "$(tail -n 1 "$tmp/plain.out")" = "status 0" ] || return 1
	note "differences, without (<) and with (>) the library:"
	{ diff -a "$tmp/plain.out" "$tmp/preloaded.out"; diff -a "$tmp/plain.err" "$tmp/preloaded.err"; } >"$tmp/diff"
	note_file "$tmp/diff"
	return 1
}

# tap_of KIND PROGRAM ARGS...: runs a helper program that prints TAP as KIND (plain or preloaded) and passes its
# lines on under this script's numbering.  A missing plan, a bad status or words on stderr are failures of their own.
tap_of() {
	local kind=$1 program=$2 label status line planned=-1 seen=0
	shift 2
	[ "$kind" = plain ] && label=glibc || label=preloaded
	"$kind" "$(prog "$program")" "$@" >"$tmp/tap.out" 2>"$tmp/tap.err" </dev/null
	status=$?
	while IFS= read -r line; do
		case $line in
			'ok '*)
				seen=$((seen + 1))
				tests=$((tests + 1))
				if [[ $line == *'# SKIP '* ]]; then
					echo "ok $tests # SKIP ($label) ${line#*# SKIP }"
				else
					echo "ok $tests - $label: ${line#*- }"
				fi ;;
			'not ok '*)
				seen=$((seen + 1))
				tests=$((tests + 1))
				failures=$((failures + 1))
				echo "not ok $tests - $label: ${line#*- }" ;;
			'1..'*) planned=${line#1..} ;;
			'#'*) echo "$line" ;;
			*) echo "# $line" ;;
		esac
	done <"$tmp/tap.out"
	if [ "$seen" -ne "$planned" ] || [ ! -s "$tmp/tap.out" ]; then
		ok 1 "$label: $program runs to its end"
		note "exit status $status, $seen tests seen, $planned planned"
		note_file "$tmp/tap.err"
	elif [ -s "$tmp/tap.err" ]; then
		ok 1 "$label: $program prints nothing on stderr"
		note_file "$tmp/tap.err"
	elif [ "$status" -gt 1 ]; then
		ok 1 "$label: $program exits in order (status $status)"
	fi
	return 0
}

# tap_both PROGRAM ARGS...: a rule that holds for glibc as well: running it there shows that the test is right.
tap_both() {
	tap_of plain "$@"
	tap_of preloaded "$@"
}
