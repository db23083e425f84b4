#!/bin/bash
# atomics.sh: every atomic operation in lib/, one a line: FILE:FUNCTION, tab, the operation with its memory orders.
# The order is that of the source, so that moving code does not matter but within a file.
set -u
cd "${top_srcdir:-$(dirname "$0")/../..}" || exit 99

for file in lib/*.[ch]; do
	awk -v file="${file#lib/}" '
	function flush_call() {
		gsub(/[ \t]+/, " ", call)
		sub(/^ /, "", call)
		printf "%s:%s\t%s\n", file, name, call
		call = ""
	}
	# Takes one character at a time from S, into an operation or on the way to the next.
	function scan(s,   i, c) {
		for (i = 1; i <= length(s); i++) {
			if (!depth && match(substr(s, i), /^(atomic_[a-z_]+|__atomic_[a-z_]+)\(/) &&
			    (i == 1 || substr(s, i - 1, 1) !~ /[A-Za-z0-9_]/)) {
				call = substr(s, i, RLENGTH)
				i += RLENGTH - 1
				depth = 1
				continue
			}
			if (!depth)
				continue
			c = substr(s, i, 1)
			call = call c
			depth += c == "("
			depth -= c == ")"
			if (!depth)
				flush_call()
		}
		if (depth)
			call = call " "
	}
	/^[a-z_].*\(/ && !/;$/ {
		name = $0
		sub(/\(.*/, "", name)
		sub(/.*[ *]/, "", name)
	}
	{ sub(/\/\*.*\*\//, ""); scan($0) }' "$file"
done
