#!/bin/bash
# A driver-like program, with slabmalloc/kmem.h as its only header for memory, compiles unchanged and works, whatever
# malloc's heap is.
. "$(dirname "$0")/lib.sh"

[ "$subject" = slabmalloc ] || skip_all "the interface is slabmalloc's"

cat >"$tmp/expected" <<'END'
disk0: queued 1500, done 1500, constructed once each: 1
bulk 64 of size 40
zeroed 1
zeroed in bulk 64 1
shrink 0
constructed: zeroed 0, bulk 8, bad 0
vmalloc aligned 1, zeroed 1, of nothing 0
pages 1 1 1 order 2
krealloc keeps 99, overflow gives 0
krealloc to nothing gives 1 1
kvzalloc 1 copied
END

# compile STANDARD
compile() {
	$CC -std="$1" -O2 -Wall -Wextra -Wshadow -Werror -I"$top_srcdir/lib" -o "$tmp/driver" \
		"$here/plugins/kmem_driver.c" "$SLABMALLOC_LIB" -Wl,-rpath,"$(dirname "$SLABMALLOC_LIB")"
}

runs() {
	SLABMALLOC_CONF=$1 timeout "$limit" "$tmp/driver" >"$tmp/out" 2>&1 && diff "$tmp/expected" "$tmp/out"
}

for standard in gnu11 gnu17; do
	check "compiles as $standard without a warning" compile "$standard"
done
check "runs" runs ""
check "runs where malloc is SLOB" runs heap:slob
echo '#include <slabmalloc/kmem.h>' >"$tmp/header.cc"
check "is a C++ header too" $CXX -std=c++17 -fsyntax-only -Wall -Wextra -Werror -I"$top_srcdir/lib" "$tmp/header.cc"
done_testing
