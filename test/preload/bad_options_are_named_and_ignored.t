#!/bin/bash
# SLABMALLOC_CONF: an unknown key or a bad value is named once on stderr and has no other effect.
. "$(dirname "$0")/lib.sh"

program=$(prog conf_probe)

run_with() {
	preloaded env SLABMALLOC_CONF="$1" "$program" >"$tmp/out" 2>"$tmp/err" </dev/null
	code=$?
}

runs_well() { [ "$code" -eq 0 ] && grep -qx "works" "$tmp/out"; }
silent() { runs_well && [ ! -s "$tmp/err" ]; }
# One line for each of the words, in which it stands, and no other lines.
names_once() {
	local word
	runs_well || return 1
	[ "$(wc -l <"$tmp/err")" -eq $# ] || return 1
	[ "$(grep -c '^slabmalloc: ' "$tmp/err")" -eq $# ] || return 1
	for word; do
		[ "$(grep -cF -- "$word" "$tmp/err")" -eq 1 ] || return 1
	done
}
verdict() {
	local name=$1
	shift
	check "$name" "$@" || { note "status $code, stderr:"; note_file "$tmp/err"; }
}

run_with ""
verdict "an empty SLABMALLOC_CONF is silent" silent
run_with "hugepages:auto,decay_ms:100,map_cache:8M"
verdict "good keys are silent" silent
run_with ",,hugepages:auto,,"
verdict "empty elements are silent" silent
run_with "nonsense:1,hugepages:auto"
verdict "an unknown key is named once" names_once nonsense
run_with "hugepages:auto,nonsense:1"
verdict "an unknown key at the end is named once" names_once nonsense
run_with "nonsense:1,hugepages:auto,gibberish:2"
verdict "two unknown keys are both named" names_once nonsense gibberish
run_with "nonsense"
verdict "a key without a value is named once" names_once nonsense
run_with "hugepages:sideways"
verdict "a bad value is named once" names_once sideways
run_with "decay_ms:sideways,hugepages:auto"
verdict "a bad value before a good one is named once" names_once sideways
run_with "hugepages:"
verdict "an empty value is named once" names_once hugepages
run_with ":1"
verdict "an empty key makes one line" names_once slabmalloc:
run_with "hugepagesx:auto"
verdict "a key that begins like another is unknown" names_once hugepagesx
run_with "hugepage:auto"
verdict "a key cut short is unknown" names_once hugepage
run_with "$(printf 'x%.0s' {1..20000}):1"
verdict "a key of 20,000 characters is survived" runs_well
run_with "$(printf 'hugepages:%05000d' 7)"
verdict "a value of 5,000 characters is survived" runs_well
run_with "$(printf '%%s%%n%%d:1')"
verdict "a key of printf formats is named as it is" names_once '%s%n%d'
run_with "$(printf 'key\x01\x80\xff:1')"
verdict "a key of control and high bytes is survived" runs_well

preloaded env SLABMALLOC_CONF=nonsense:1 bash -c 'exec 2>&-; exec "$0"' "$program" >"$tmp/out" 2>"$tmp/err" </dev/null
code=$?
verdict "with stderr closed the program runs on" runs_well
done_testing
