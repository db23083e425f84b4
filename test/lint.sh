#!/bin/bash
# clang-tidy (with .clang-tidy) and cppcheck find nothing in the library. Both
# see the assertions: these tell them what cannot be. "make lint" runs it alone.
set -u
: "${top_srcdir:?}" "${top_builddir:?}"
config=$(cd "$top_builddir" && pwd)/config.h
cd "$top_srcdir" || exit 99

count=0
# finds_nothing NAME COMMAND...
finds_nothing() {
	local name=$1 output
	shift
	count=$((count + 1))
	if [ "${SLABMALLOC_CHECK:-}" = quick ]; then
		echo "ok $count - $name # SKIP the quick tests leave it out"
	elif ! command -v "$1" >/dev/null; then
		echo "ok $count - $name # SKIP $1 is not installed"
	elif output=$("$@" 2>&1); then
		echo "ok $count - $name"
	else
		echo "not ok $count - $name"
		sed 's/^/# /' <<<"$output"
	fi
}

# Not the launcher: a single-threaded program with stdio, of which the checks
# for libraries find much.
finds_nothing "clang-tidy finds nothing" clang-tidy --quiet lib/*.c preload/glibc.c preload/malloc.c -- \
	-std=gnu17 -include "$config" -DSLABMALLOC_DEBUG -Ilib
# missingIncludeSystem: the C library's headers are none of its business.
finds_nothing "cppcheck finds nothing" cppcheck --quiet --std=c11 --language=c \
	--enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
	--suppress=missingIncludeSystem -DSLABMALLOC_DEBUG "--include=$config" -Ilib lib/*.c preload/*.c
echo "1..$count"
