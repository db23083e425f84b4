#!/bin/bash
# The man pages say what the headers say: every function has its page, with the prototype that the header has; examples
# compile, every key of SLABMALLOC_CONF is described. man and mandoc find nothing to warn of.
set -u
: "${top_srcdir:?}" "${CC:=gcc}"
cd "$top_srcdir" || exit 99
export LC_ALL=C.UTF-8

count=0
# check NAME COMMAND...: its output is shown when it fails.
check() {
	local name=$1 log
	shift
	count=$((count + 1))
	if log=$("$@" 2>&1); then
		echo "ok $count - $name"
	else
		echo "not ok $count - $name"
		sed 's/^/# /' <<<"$log" | head -n 20
	fi
}
skip() {
	count=$((count + 1))
	echo "ok $count - $1 # SKIP $2"
}

pages=(doc/man/*.[1-9])

# What the headers declare, a line each without blanks. kmem.h has inline functions with names of the kernel's.
in_headers() {
	local header
	for header in lib/slabmalloc/*.h; do
		[ "$header" = lib/slabmalloc/kmem.h ] || sed 's,//.*,,; /^#/d; /\\$/d; /^extern "C"/d' "$header"
	done | tr '\n' ' ' | sed 's,/\*,\x01,g; s,\*/,\x02,g; s,\x01[^\x02]*\x02,,g' | tr ';{}' '\n' |
		grep '\<slabmalloc_[a-z0-9_]*(.*)' | tr -d ' ' | sort
}

# What the pages' synopses say, in the same form.
in_pages() {
	awk '
		/^\.Sh/ { synopsis = /SYNOPSIS/ }
		synopsis && /^\.Ft/ { type = substr($0, 5) }
		synopsis && /^\.Fn/ {
			line = substr($0, 5)
			name = line; sub(/ .*/, "", name)
			arguments = ""
			rest = substr(line, length(name) + 2)
			while (match(rest, /^ *("[^"]*"|[^ "]+)/)) {
				word = substr(rest, RSTART, RLENGTH); rest = substr(rest, RSTART + RLENGTH)
				gsub(/["]/, "", word)
				arguments = arguments (arguments ? "," : "") word
			}
			print type name "(" arguments ")"
		}' doc/man/*.3 | tr -d ' ' | sort
}

same_prototypes() { [ "$(in_headers | wc -l)" -gt 50 ] && diff <(in_headers) <(in_pages); }
check "the pages have the prototypes of the headers" same_prototypes

# man finds a page by the names in its first section.
named() {
	local unnamed
	unnamed=$(comm -23 <(sed -n 's/^\.Fn \([a-z0-9_]*\).*/\1/p' doc/man/*.3 | sort -u) \
		<(sed -n '/^\.Sh NAME/,/^\.Nd/s/^\.Nm \([a-z0-9_]*\).*/\1/p' doc/man/*.3 | sort -u))
	[ -z "$unnamed" ] || { echo "in no NAME section: $unnamed"; false; }
}
check "every function a page tells of is among the names of one" named

refer_to_each_other() {
	local name section
	grep -h '^\.\(Xr\|It Xr\) slabmalloc' "${pages[@]}" | sed 's/.*Xr //' | sort -u | {
		while read -r name section _; do
			[ -f "doc/man/$name.$section" ] || { echo "no page $name($section)"; exit 1; }
		done
	}
}
check "pages of ours that are referred to exist" refer_to_each_other

installed() {
	local page
	for page in "${pages[@]}"; do
		grep -q "\<$page\>" lib/local.mk || { echo "$page is not in dist_man_MANS"; return 1; }
	done
}
check "every page is installed" installed

# keys_in FILE PATTERN: each key that options.c knows stands there, PATTERN with KEY in its place.
keys_in() {
	local key missing='' keys
	keys=$(sed -n 's/^    {"\([a-z_]*\)", parse_.*/\1/p' lib/options.c)
	for key in $keys; do
		grep -q "${2//KEY/$key}" "$1" || missing+=" $key"
	done
	[ -n "$keys" ] && [ -z "$missing" ] || { echo "missing:$missing"; false; }
}
check "the README lists every key of SLABMALLOC_CONF" keys_in README.md '^| `KEY:'
check "so does slabmalloc(1)" keys_in doc/man/slabmalloc.1 '^\.It Cm KEY :'
check "so does options.h" keys_in lib/options.h '^ \*   KEY '

# An example's first part, up to an empty line, is a function; the rest, or all of it, stands in one.
example_compiles() {
	{
		printf '#include <%s>\n' pthread.h stdio.h stdlib.h unistd.h
		sed -n 's/^\.In \(.*\)/#include <\1>/p' "$1"
		echo 'struct session { pthread_mutex_t lock; };'
		awk '
			/^\.Bd -literal/ { inside = 1; next }
			/^\.Ed/ { inside = 0 }
			inside && /^$/ { before = text; text = "" }
			inside { gsub(/\\e/, "\\"); text = text $0 "\n" }
			END { print before "void example(void);\nvoid example(void) {\n" text "}" }' "$1"
	} | $CC -std=gnu17 -Wall -Wno-unused-variable -Werror -Ilib -fsyntax-only -xc -
}
for page in doc/man/*.3; do
	check "the example of $page compiles" example_compiles "$page"
done

# silent COMMAND...: it has nothing to say on standard error.
silent() {
	local words
	words=$("$@" 2>&1 >/dev/null) && [ -z "$words" ] || { echo "$words"; false; }
}
# An image without manuals may have a man that only says so.
for page in "${pages[@]}"; do
	if [[ $(man --version 2>/dev/null) == "man "[0-9]* ]]; then
		check "man has no warnings about $page" silent man --warnings -E UTF-8 -l "$page"
	else
		skip "man has no warnings about $page" "man is not installed"
	fi
	if command -v mandoc >/dev/null; then
		check "mandoc has no warnings about $page" mandoc -T lint -W warning "$page"
	else
		skip "mandoc has no warnings about $page" "mandoc is not installed"
	fi
done
echo "1..$count"
