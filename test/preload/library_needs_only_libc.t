#!/bin/bash
# What the library brings into every process: libc and nothing else. (What it exports: test/abi.)
. "$(dirname "$0")/lib.sh"

need ldd
ldd "$SLABMALLOC_LIB" | sed 's/^[[:space:]]*//; s/ .*//; s|.*/||' | sort >"$tmp/needed"
check "ldd shows libc only" test -z "$(grep -vE '^(linux-vdso\.so.*|libc\.so\..*|ld-linux.*|linux-gate.*)$' "$tmp/needed")" || note_file "$tmp/needed"

preloaded cat /proc/self/maps >"$tmp/maps" 2>"$tmp/err"
check "the library is mapped into a preloaded program" grep -qF "${SLABMALLOC_LIB##*/}" "$tmp/maps"
for library in libstdc++ libgcc_s libhugetlbfs libnuma libpthread libdl; do
	check "a preloaded cat does not load $library" test -z "$(grep -F "$library" "$tmp/maps")"
done
check "no mapping is writable and executable" test -z "$(awk '$2 ~ /wx/' "$tmp/maps")"

if command -v readelf >/dev/null; then
	readelf -dW "$SLABMALLOC_LIB" >"$tmp/dynamic"
	check "no text relocations" test -z "$(grep TEXTREL "$tmp/dynamic")"
	check "no RPATH or RUNPATH" test -z "$(grep -E 'R(UN)?PATH' "$tmp/dynamic")"
	stdio=$(readelf --dyn-syms -W "$SLABMALLOC_LIB" | awk '$7 == "UND" && $8 ~ /s(n|)printf/')
	check "numbers are not written by stdio, which may allocate" test -z "$stdio" || note "$stdio"
	# Thread-local storage in the static block is taken from a small surplus when the library is opened late.
	size=$(readelf -lW "$SLABMALLOC_LIB" | awk '$1 == "TLS" {print $6}')
	check "its thread-local storage is at most 64 bytes (${size:-0})" test $((${size:-0})) -le 64
fi

done_testing
