#!/bin/bash
# dlopen and dlclose of libraries that allocate, the library itself opened late, auditors, programs with their own malloc.
. "$(dirname "$0")/lib.sh"

if so=$(plugin plugin) && [ -e "$so" ]; then
	tap_both dlopen_plugin "$so"
else
	skip "a plugin that allocates" "$CC cannot make a shared object"
fi
if so_kmem=$(plugin kmem) && [ -e "$so_kmem" ]; then
	tap_of preloaded kmem_plugin "$so_kmem"
else
	skip "a plugin with an object cache" "$CC cannot make a shared object"
fi
tap_of plain late_load "$SLABMALLOC_LIB"

# glibc keeps 1664 bytes for libraries that are loaded late and want their TLS at a fixed offset.
hogs=()
for bytes in 1024 256 64 64; do
	hog=$tmp/hog${#hogs[@]}.so
	$CC -O2 -fPIC -shared -DHOG_BYTES=$bytes -o "$hog" "$here/plugins/tls_hog.c" 2>/dev/null && hogs+=("$hog")
done
tap_of plain late_load "$SLABMALLOC_LIB" "${hogs[@]}"
[ ! -e "${so:-}" ] || tap_of preloaded dlopen_plugin "$so" "${hogs[@]}"
tap_both own_malloc

if so=$(plugin audit) && [ -e "$so" ]; then
	same_audited() {
		timeout "$limit" env LD_AUDIT="$so" LD_PRELOAD="$SLABMALLOC_LIB" "$(prog conf_probe)" >"$tmp/out" 2>"$tmp/err"
	}
	check "with LD_AUDIT a preloaded program works" same_audited || note_file "$tmp/err"
	check "and prints what it should" grep -qx works "$tmp/out"
	check "and nothing else" [ ! -s "$tmp/err" ] || note_file "$tmp/err"
fi

# LD_PRELOAD of two things: the order must not matter to a harmless one.
libm=$(ldconfig -p 2>/dev/null | awk '/libm\.so\.6 .*x86-64/ {print $NF; exit}')
if [ -n "$libm" ]; then
	for order in "$libm:$SLABMALLOC_LIB" "$SLABMALLOC_LIB $libm"; do
		LD_PRELOAD=$order "$(prog conf_probe)" >"$tmp/out" 2>"$tmp/err"
		check "another library preloaded as well" grep -qx works "$tmp/out"
	done
fi
done_testing
