#!/bin/bash
# doc/tutorial.md: what its programs print is what it shows, and the code it shows is theirs.
. "$(dirname "$0")/lib.sh"

[ "$subject" = slabmalloc ] || skip_all "the programs are linked with slabmalloc"
grep -qx '#define SLABMALLOC_PAGE_SHIFT 12' "$builddir/config.h" ||
	skip_all "the tutorial's numbers are those of 4 KiB pages"

# Each fenced block to a file of its own, block.N.LANGUAGE.
awk -v folder="$tmp" '
	/^```./ && !file { file = folder "/block." ++n "." substr($0, 4); printf "" >file; next }
	/^```$/ { close(file); file = ""; next }
	file { print >file }
' "$top_srcdir/doc/tutorial.md"

# What follows the command in a console block is what it prints. Reports end lines in a space, documents do not. On a busy
# machine a program may take so long that memory would be given back by the clock while it counts.
prints() {
	SLABMALLOC_CONF=decay_ms:-1,background:off timeout "$limit" "$builddir/$1" >"$tmp/out" 2>"$tmp/err" </dev/null || return 1
	[ ! -s "$tmp/err" ] && sed 's/ *$//' "$tmp/out" | diff <(tail -n +2 "$2") - >"$tmp/diff"
}

shown=" "
for block in "$tmp"/block.*.console; do
	program=$(sed -n '1s/^\$ //p' "$block")
	shown+="$program "
	: >"$tmp/diff"
	check "$program prints what the tutorial shows" prints "$program" "$block" || {
		note_file "$tmp/diff"
		note_file "$tmp/err"
	}
done

is_shown() { [[ $shown == *" doc/tutorial/$1 "* ]]; }
for source in "$top_srcdir"/doc/tutorial/*.c; do
	name=$(basename "$source" .c)
	check "the tutorial shows $name" is_shown "$name"
done

in_a_source() {
	local source
	for source in "$top_srcdir"/doc/tutorial/*.[ch]; do
		[[ $(<"$source") == *"$(<"$1")"* ]] && return
	done
	return 1
}
for block in "$tmp"/block.*.c; do
	check "the code of ${block##*/} is in a program's source" in_a_source "$block" || note_file "$block"
done
done_testing
