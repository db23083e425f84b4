#!/bin/bash
# What "make install" puts where, and that a program can be built against it:
# through pkg-config, with the header alone, in C and C++, shared and static.
set -u
: "${top_builddir:?}"
: "${CC:=gcc}" "${CXX:=g++}" "${PKG_CONFIG:=pkg-config}" "${MAKE:=make}"
# make hands its job server down through these; the inner make has none of it.
unset MAKEFLAGS MFLAGS MAKELEVEL

root=$(mktemp -d) || exit 99
trap 'rm -rf "$root"' EXIT

count=0
# check NAME COMMAND...: its output is shown when it fails.
check() {
	local name=$1 log
	shift
	count=$((count + 1))
	if log=$("$@" 2>&1); then
		echo "ok $count - $name"
	else
		echo "not ok $count - $name"
		sed 's/^/# /' <<<"$log" | tail -n 20
	fi
}

check "make install DESTDIR=... works" \
	"$MAKE" -C "$top_builddir" install DESTDIR="$root" prefix=/opt/slab

base=$root/opt/slab
libdir=$(cd "$base" 2>/dev/null && find . -name libslabmalloc.so -printf '%h\n' | sed 's,^\./,,')
for file in bin/slabmalloc "$libdir/libslabmalloc.so" "$libdir/libslabmalloc.so.0" \
	"$libdir/libslabmalloc.a" "$libdir/pkgconfig/slabmalloc.pc" include/slabmalloc/slabmalloc.h \
	include/slabmalloc/dma.h include/slabmalloc/kmalloc.h include/slabmalloc/kmem.h include/slabmalloc/kmem_cache.h \
	include/slabmalloc/pages.h include/slabmalloc/report.h include/slabmalloc/slob.h share/man/man1/slabmalloc.1 \
	share/man/man3/slabmalloc.3 share/man/man3/slabmalloc_dma.3; do
	check "$file is installed" test -s "$base/$file"
done
check "no private header is installed" \
	test "$(find "$base/include" -name '*.h' | grep -vc '/include/slabmalloc/')" = 0

export PKG_CONFIG_PATH=$base/$libdir/pkgconfig
flags() { "$PKG_CONFIG" --define-variable=prefix="$base" "$@" slabmalloc; }
cat >"$root/use.c" <<'C'
#include <slabmalloc/kmem_cache.h>
#include <slabmalloc/pages.h>
#include <slabmalloc/report.h>
#include <slabmalloc/slabmalloc.h>
#include <stdlib.h>
int main(void) { void *p = malloc(100); free(p); return !p; }
C
cp "$root/use.c" "$root/use.cc"
# Through the pkg-config flags as a user would; the words split on purpose.
build() { "$@" $(flags --cflags --libs) -o "$root/use"; }
build_static() { "$@" $(flags --cflags) "$base/$libdir/libslabmalloc.a" -pthread -o "$root/use"; }
run() { LD_LIBRARY_PATH=$base/$libdir "$root/use"; }

check "pkg-config knows the version" "$PKG_CONFIG" --exact-version="$(
	sed -n 's/^#define PACKAGE_VERSION "\(.*\)"/\1/p' "$top_builddir/config.h")" slabmalloc
for std in c99 c17; do
	check "the header is clean $std" "$CC" -std=$std -Wall -Wextra -Wpedantic -Werror \
		$(flags --cflags) -fsyntax-only "$root/use.c"
done
check "the header is clean C++11" "$CXX" -std=c++11 -Wall -Wextra -Wpedantic -Werror \
	$(flags --cflags) -fsyntax-only "$root/use.cc"
check "a C program links" build "$CC" "$root/use.c"
check "and runs" run
check "a C++ program links" build "$CXX" "$root/use.cc"
check "and runs" run
check "a program links libslabmalloc.a" build_static "$CC" "$root/use.c"
check "and runs" run
check "a static program links" build_static "$CC" -static "$root/use.c"
check "and runs" run
check "make uninstall leaves nothing" bash -c '
	"$1" -C "$2" uninstall DESTDIR="$3" prefix=/opt/slab &&
	! find "$3/opt" -type f -o -type l | grep .' sh "$MAKE" "$top_builddir" "$root"
echo "1..$count"
