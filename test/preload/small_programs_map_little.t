#!/bin/bash
# What every program runs lies together in the library's file (lib/startup.ld): a small program has no more of it in memory.
. "$(dirname "$0")/lib.sh"

need readelf
readelf -SW "$SLABMALLOC_LIB" | grep -q '\.text\.start' || skip_all "this linker took no lib/startup.ld, or the library is another one"
[ "$(getconf PAGESIZE)" -eq 4096 ] || skip_all "limits are for pages of 4 KiB"

# resident FLAGS-REGEX: KiB of the library's file in a preloaded cat, in mappings with such rights.
resident() {
	awk -v library="${SLABMALLOC_LIB##*/}" -v rights="$1" '
		/^[0-9a-f]+-/ { ours = index($0, library) && $2 ~ rights }
		ours && $1 == "Rss:" { kib += $2 }
		ours && $1 == "Anonymous:" { kib -= $2 }
		END { print kib + 0 }' "$tmp/smaps"
}
SLABMALLOC_LIB=$(readlink -f "$SLABMALLOC_LIB")
preloaded cat /proc/self/smaps >"$tmp/smaps"
code=$(resident x)
all=$(resident .)
note "$code KiB of code, $all KiB of the file"
check "code is resident" test "$code" -gt 0
check "at most 48 KiB of code are resident" test "$code" -le 48
check "at most 72 KiB of the file are resident" test "$all" -le 72

# A name in the list that no function has any more is a line nobody needs.
if command -v nm >/dev/null && nm "$SLABMALLOC_LIB" 2>/dev/null | grep -q ' t heap_begin$'; then
	nm "$SLABMALLOC_LIB" | awk '{ sub(/@.*/, "", $3); print $3 }' | sort -u >"$tmp/symbols"
	grep -o '\*(\.text\.[A-Za-z_0-9]*' "$here/../../lib/startup.ld" | sed 's/.*\.text\.//' | grep -v '^startup$' | sort -u >"$tmp/listed"
	gone=$(grep -v '^rest$' "$tmp/listed" | while read -r name; do
		grep -q "^$name\(\.part\.[0-9]*\|\.isra\.[0-9]*\|\.constprop\.[0-9]*\)*$" "$tmp/symbols" || echo "$name"
	done)
	check "every function listed exists" test -z "$gone" || note "$gone"
fi
done_testing
