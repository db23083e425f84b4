#!/bin/bash
# exported_symbols.sh [--update]: the library exports the names in symbols.list
# and no other, unversioned, and needs no library but libc.
#
# The library is $SLABMALLOC_LIB. --update rewrites symbols.list from it.
set -u
here=$(cd "$(dirname "$0")" && pwd)
: "${SLABMALLOC_LIB:?path of the built libslabmalloc.so}"
list=$here/symbols.list
export LC_ALL=C

exported() { nm -D --defined-only "$SLABMALLOC_LIB" | awk '{ print $NF }' | sort -u; }

case ${1:-} in
--help | -h) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit ;;
--update) exported >"$list"; exit ;;
esac

count=0
# ok NAME [DETAIL]: passes when DETAIL is empty, and prints it otherwise.
ok() {
	count=$((count + 1))
	if [ -z "${2:-}" ]; then
		echo "ok $count - $1"
	else
		echo "not ok $count - $1"
		sed 's/^/# /' <<<"$2"
	fi
}

ok "every listed name is exported" "$(comm -23 "$list" <(exported))"
ok "no other name is exported" "$(comm -13 "$list" <(exported))"
ok "the list is sorted" "$(sort -cu "$list" 2>&1)"
ok "needs no library but libc" \
	"$(objdump -p "$SLABMALLOC_LIB" | awk '$1 == "NEEDED" && $2 !~ /^(libc|ld-linux.*)\.so/')"
dynamic=$(readelf -dW "$SLABMALLOC_LIB")
ok "is bound at load, is never unloaded, has no text relocation" "$(
	for flag in NOW NODELETE; do
		grep -q "FLAGS.*\b$flag\b" <<<"$dynamic" || echo "no flag $flag"
	done
	grep TEXTREL <<<"$dynamic")"
ok "has no executable stack" "$(readelf -lW "$SLABMALLOC_LIB" | grep 'GNU_STACK.*E')"
ok "reaches its thread-local data without a call" \
	"$(nm -D "$SLABMALLOC_LIB" | grep __tls_get_addr)"
echo "1..$count"
