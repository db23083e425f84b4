#!/bin/bash
# SLABMALLOC_CONF=heap:slob: real programs print the same with malloc as one SLOB heap as without the library; misuse
# ends with one line; the malloc family keeps its rules.
. "$(dirname "$0")/lib.sh"

[ "$subject" = slabmalloc ] || skip_all "the option is slabmalloc's"
export SLABMALLOC_CONF=heap:slob

# Without this the rest would say nothing about SLOB: its blocks have 12 or 28 usable bytes, those of slabs 16 or 32.
cat >"$tmp/usable.c" <<'END'
#include <malloc.h>
#include <stdio.h>
int main(void) { return printf("%zu\n", malloc_usable_size(malloc(10))) < 0; }
END
$CC -o "$tmp/usable" "$tmp/usable.c" || exit 99
check "malloc is a SLOB heap" [ "$(preloaded "$tmp/usable")" = 12 ]

# What every process writes to at its start is one page, boot pages' page structs included.
written_at_start_is_one_page() {
	readelf -SW "$SLABMALLOC_LIB" | sed 's/\[ */[/' | awk '$2 == ".data" { from = "0x" $4 }
		$2 == ".data" || $2 == "slabmalloc_exposed" { to = "0x" $4; bytes = "0x" $6 }
		END { print from, to, bytes }' >"$tmp/sections"
	read -r from to bytes <"$tmp/sections" && [ $((from / 4096)) -eq $(((to + bytes - 1) / 4096)) ]
}
if [ -n "${SLABMALLOC_SANITIZE:-}" ] || grep -q __gcov_ "$SLABMALLOC_LIB" || ! command -v readelf >/dev/null; then
	skip "initialized data is one page" "instrumented, or no readelf"
else
	check "initialized data is one page" written_at_start_is_one_page
fi

mkdir -p "$tmp/tree"
for i in $(seq 60); do
	mkdir -p "$tmp/tree/directory $i"
	printf '%s\n' "$i" >"$tmp/tree/directory $i/a rather long name of a file, number $((i * i))"
done
find "$tmp/tree" -depth -exec touch -d '2020-02-02 02:02:02' {} +
export tree=$tmp/tree

same "ls -lR, find, sort, sed, awk" <<'SCRIPT'
cd "$tree" && ls -lR && find . | sort -r | sed 's/a/b/g' && seq 30000 | awk '{ n[$1 % 97] = n[$1 % 97] $1 } END { for (i in n) t += length(n[i]); print t }'
seq 100000 | sort -R --random-source=/bin/true | sort -n | md5sum
SCRIPT
same "sh and bash" <<'SCRIPT'
sh -c 'i=0; while [ $i -lt 500 ]; do i=$((i+1)); eval "v$i=\"some text $i\""; done; echo "$v77"; (exit 3); echo $?; echo a | cat | tr a b'
declare -A t; for i in {1..3000}; do t[k$i]=$i; done; for i in {1..3000..3}; do unset "t[k$i]"; done; echo ${#t[@]}
text=$(printf 'x%.0s' {1..50000}); text=${text//x/yz}; echo ${#text}
for i in {1..10}; do (echo $((i * i))) & done | sort -n; wait
SCRIPT

for lua in lua lua5.4 lua5.3; do
	command -v $lua >/dev/null && break
done
if command -v "$lua" >/dev/null; then
	export lua
	same "$lua" <<'SCRIPT'
$lua -e 'local t = {} for i = 1, 20000 do t[i % 5000] = { i, "text " .. i, { i } } end
	local s = 0 for k, v in pairs(t) do s = s + v[1] + #v[2] end print(s)
	local parts = {} for i = 1, 3000 do parts[#parts + 1] = string.rep("x", i % 100) end print(#table.concat(parts))'
SCRIPT
else
	skip "lua" "lua is not installed"
fi
if command -v /usr/bin/python3 >/dev/null; then
	same "python3, with threads and processes" <<'SCRIPT'
PYTHONMALLOC=malloc /usr/bin/python3 -c '
import json, re, subprocess, threading, zlib
data = [{"n": i, "s": "text " * (i % 9)} for i in range(4000)]
print(zlib.crc32(json.dumps(data).encode()))
print(len(re.findall("t(ex)t", "text and text" * 1000)))
sums = []
def work(k): sums.append(sum(len(str(i) * k) for i in range(20000)))
threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
print(sorted(sums))
print(subprocess.run(["echo", "child"], capture_output=True).stdout)'
SCRIPT
else
	skip "python3" "python3 is not installed"
fi
printf '%s\n' '#include <stdio.h>' 'int main(void) { return puts("compiled") < 0; }' >"$tmp/hello.c"
export CC tmp
same "the compiler" <<'SCRIPT'
$CC -O2 -Wall -o "$tmp/hello" "$tmp/hello.c" && "$tmp/hello"
SCRIPT

tap_of preloaded family
tap_of preloaded family_aligned
tap_of preloaded family_rules
tap_of preloaded stress 2 small
tap_of preloaded stress 2 large

# dies WHAT CODE: the program aborts with the library's one line.
dies() {
	printf '#include <stdlib.h>\nint main(void) { char *volatile p = malloc(100); (void)p; %s; return 0; }\n' "$2" >"$tmp/bad.c"
	$CC -w -o "$tmp/bad" "$tmp/bad.c" || return 1
	(ulimit -c 0; preloaded "$tmp/bad") 2>"$tmp/err"
	[ "$(grep -c '' "$tmp/err")" -ge 1 ] && grep -q "^slabmalloc: fatal: $1: 0x" "$tmp/err"
}
check "a double free is noticed" dies "double free" 'free(p); free(p)'
check "a double free of a block that was merged is noticed" dies "double free" \
	'char *volatile q = malloc(100); free(q); free(p); free(q)'
check "a pointer inside a block is noticed" dies "free of a pointer inside an object" 'free(p + 16)'
check "a pointer into the stack is noticed" dies "free of a pointer that was not allocated here" 'char b[64]; free(b + 16)'
done_testing
