#!/bin/bash
# A setuid program ignores SLABMALLOC_CONF: it must not listen to the user who started it.
#
# ld.so drops LD_PRELOAD in a secure execution, so the program is linked to the library instead.  Secure mode comes from
# a setuid copy that belongs to nobody and is run by root.
. "$(dirname "$0")/lib.sh"

need_root "to make a setuid program of another user"
need "$CC"

chmod 755 "$tmp"
cp "$SLABMALLOC_LIB" "$tmp/" || exit 99
# The library's soname need not be its file's name.
soname=$(readelf -d "$SLABMALLOC_LIB" 2>/dev/null | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
[ -z "$soname" ] || [ -e "$tmp/$soname" ] || cp "$SLABMALLOC_LIB" "$tmp/$soname"
if ! $CC -O2 -o "$tmp/linked" "$here/progs/conf_probe.c" -Wl,--no-as-needed "$tmp/${SLABMALLOC_LIB##*/}" -Wl,-rpath,"$tmp" 2>"$tmp/err"; then
	note_file "$tmp/err"
	skip_all "cannot link a program to the library"
fi
cp "$tmp/linked" "$tmp/setuid"
chown 65534:65534 "$tmp/setuid" && chmod 4755 "$tmp/setuid" || skip_all "cannot make a setuid file here"
[ "$("$tmp/setuid" | head -n 1)" = secure ] || skip_all "a setuid program is not a secure execution here (nosuid mount?)"

SLABMALLOC_CONF=nonsense:1 "$tmp/linked" >"$tmp/out" 2>"$tmp/err"
check "an ordinary copy complains of the bad key" grep -q nonsense "$tmp/err"
SLABMALLOC_CONF=nonsense:1 "$tmp/setuid" >"$tmp/out" 2>"$tmp/err"
ok $? "a setuid copy runs"
check "and does not read SLABMALLOC_CONF" [ ! -s "$tmp/err" ] || note_file "$tmp/err"
check "its memory works" grep -qx works "$tmp/out"
done_testing
