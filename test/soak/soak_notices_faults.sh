#!/bin/bash
# The soak itself: it must find nothing where nothing is wrong, and find a leak, a broken invariant and a wrong answer
# where a library was made to show them.
set -u
: "${top_srcdir:?}" "${top_builddir:?}" "${SLABMALLOC_LIB:?}" "${CC:=gcc}"
if ! command -v python3 >/dev/null; then
	echo "1..0 # SKIP python3 is not installed"
	exit 0
fi
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
trap 'exit 143' TERM INT HUP

# The malloc family is glibc's in these libraries, but for one thing.
cat >"$tmp/leaks.c" <<'END'
extern void __libc_free(void *);
void free(void *p) {
	static _Thread_local unsigned calls;
	if (++calls % 16)
		__libc_free(p);
}
END
cat >"$tmp/unsound.c" <<'END'
const char *slabmalloc_check(void) { return "two free buddies coexist"; }
END
cat >"$tmp/talks.c" <<'END'
#include <unistd.h>
__attribute__((constructor)) static void say(void) { write(2, "slabmalloc: hm\n", 15); }
END

count=0
# soak_says STATUS WORDS NAME SOAK-ARGUMENT...
soak_says() {
	local expected=$1 words=$2 name=$3 status
	shift 3
	count=$((count + 1))
	timeout 500 python3 "$top_srcdir/test/soak/soak" --build "$top_builddir" --jobs 1 "$@" >"$tmp/out" 2>&1
	status=$?
	if [ "$status" -eq "$expected" ] && grep -q -- "$words" "$tmp/out"; then
		echo "ok $count - $name"
	else
		echo "not ok $count - $name (status $status)"
		sed 's/^/# /' "$tmp/out"
	fi
}

for library in leaks unsound talks; do
	$CC -O1 -shared -fPIC -w -o "$tmp/$library.so" "$tmp/$library.c" || exit 99
done
soak_says 0 ' 0 findings' "nothing is found where nothing is wrong" \
	--library "$SLABMALLOC_LIB" --only churn-burst --only bash --turns 16
soak_says 1 'finding: churn-burst: resident memory grows' "memory that grows is found" \
	--library "$tmp/leaks.so" --only churn-burst --turns 16
soak_says 1 'finding: churn-burst: ended with status 1: .*two free buddies' "a broken invariant is found" \
	--library "$tmp/unsound.so" --only churn-burst --turns 16
soak_says 1 'finding: bash: differs from the run without the library' "a difference is found" \
	--library "$tmp/talks.so" --only bash --turns 1
echo "1..$count"
