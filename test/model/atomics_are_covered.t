#!/bin/bash
# The model and the source agree: every atomic operation in lib/ stands in atomics.list with the rules that cover it,
# every rule there is one of the model's, and every function the model names is one of the library's.
set -u
: "${top_srcdir:?}" "${top_builddir:?}"
model=$top_srcdir/test/model
count=0

# ok STATUS NAME, with what standard input says as the reason.
ok() {
	count=$((count + 1))
	[ "$1" -eq 0 ] || printf 'not '
	printf 'ok %d - %s\n' "$count" "$2"
	sed -n 's/^./# &/p' | head -n 40
}

listed=$(grep -v '^#' "$model/atomics.list" | cut -f 1,2)
differs=$(diff <(echo "$listed") <("$model/atomics.sh") | grep '^[<>]')
[ -z "$differs" ]
ok $? "every atomic operation is in atomics.list" <<<"$differs"

unknown=$(grep -v '^#' "$model/atomics.list" | cut -f 3 | grep -o '\<[A-Z][A-Z0-9]*_[A-Z0-9_]*\>' | sort -u |
	comm -23 - <("$top_builddir/test/model/model" --list | cut -d ' ' -f 1 | sort))
[ -z "$unknown" ]
ok $? "every rule in atomics.list is one of the model's" <<<"$unknown"

uncovered=$(grep -v '^#' "$model/atomics.list" | awk -F '\t' 'NF != 3 || $3 == ""')
[ -z "$uncovered" ]
ok $? "every atomic operation has a rule or a reason" <<<"$uncovered"

missing=$(cat "$model"/*.[ch] | grep -o '[a-z_]*\.[ch]:[a-z_][a-z_]*' | sort -u | while IFS=: read -r file name; do
	grep -qE "^([a-z].*[ *])?$name\(" "$top_srcdir/lib/$file" || echo "$file:$name"
done)
[ -z "$missing" ]
ok $? "every function that the model names is in lib/" <<<"$missing"

echo "1..$count"
