#!/bin/bash
# malloc_trim, mallopt, mallinfo, mallinfo2, malloc_info, malloc_stats, cfree, free_sized and the __libc_ forms.
. "$(dirname "$0")/lib.sh"

tap_of plain family_extras
tap_of preloaded family_extras "$tmp/malloc_info.xml"
if command -v xmllint >/dev/null; then
	check "malloc_info writes well-formed XML" xmllint --noout "$tmp/malloc_info.xml"
else
	skip "malloc_info writes well-formed XML" "xmllint is not installed"
fi
done_testing
