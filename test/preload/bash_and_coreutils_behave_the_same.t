#!/bin/bash
# bash, coreutils, find, sed, awk, grep, diff and tar print the same with the library as without it.
. "$(dirname "$0")/lib.sh"

need find sed awk tar sort

# A tree with fixed contents and times, once for all scripts.
tree=$tmp/tree
mkdir -p "$tree"
for i in $(seq 40); do
	mkdir -p "$tree/directory $i/inner"
	for k in $(seq 20); do
		printf '%s\n' "file $k of $i" "$((i * k * 7919 % 1000))" >"$tree/directory $i/inner/file-$k"
	done
	ln -s "inner/file-1" "$tree/directory $i/link"
done
find "$tree" -depth -exec touch -h -d '2020-02-02 02:02:02' {} +
export tree

same "ls -lR" <<'SCRIPT'
cd "$tree" && ls -lR | md5sum && ls -lARt --full-time | md5sum && ls -1 | tail -n 3 && ls -d */ | wc -l
SCRIPT
same "find, xargs, du" <<'SCRIPT'
cd "$tree" && find . -type f -name '*7' -size -2 | sort | md5sum
find . -type f -print0 | sort -z | xargs -0 -n 50 -P 4 cksum | sort | md5sum
du -ab . | sort | md5sum && du -s --apparent-size .
find . -depth -printf '%p %s %y\n' | sort | tail -n 2
SCRIPT
same "sed and grep" <<'SCRIPT'
cd "$tree" && cat */inner/file-* | sed -e 's/file \([0-9]*\)/\1 elif/; y/of/fo/; $!N; P; D' | md5sum
cat */inner/file-* | sed -n 'H; ${x; s/\n/,/g; p}' | md5sum
grep -rE '^[0-9]{3}$' . | sort | md5sum
grep -rhow '[a-z]*' . | sort | uniq -c
SCRIPT
same "awk" <<'SCRIPT'
seq 200000 | awk '{ n[$1 % 1009] += $1; s = s substr($1, 1, 1); if (length(s) > 5000) s = "" }
	END { for (i = 0; i < 1009; i++) t = t " " n[i]; print length(t), substr(t, 1, 100), s }'
seq 20000 | awk '{ key = sprintf("%s-%d", $1 % 7, $1); a[key] = a[key] key } END { n = 0; for (k in a) { n += length(a[k]); delete a[k] } print n }'
SCRIPT
same "tar and gzip" <<'SCRIPT'
tar -cf all.tar --sort=name -C "$tree" . && md5sum <all.tar && tar -tvf all.tar | md5sum
gzip -9nk all.tar && md5sum <all.tar.gz && mkdir out && tar -xzf all.tar.gz -C out && diff -r "$tree" out && ls out | wc -l
SCRIPT
same "bash: strings, arrays, functions, subshells, traps" <<'SCRIPT'
declare -A table
for i in {1..5000}; do table[key$i]=$((i * i)); list+=("$i"); done
for i in {1..5000..2}; do unset "table[key$i]"; done
echo "${#table[@]} ${#list[@]} ${table[key4000]}"
text=$(printf 'x%.0s' {1..100000}); text=${text//x/yz}; echo "${#text} ${text:5:10}"
fib() { (($1 < 2)) && echo "$1" || echo $(($(fib $(($1 - 1))) + $(fib $(($1 - 2))))); }
fib 9
trap 'echo trapped' USR1; kill -USR1 $$
(exit 7); echo $?
mapfile -t lines < <(seq 10000); echo "${lines[9999]}"
read -r a b <<<"$(seq -s ' ' 3)"; echo "$a/$b"
coproc cat; echo through >&"${COPROC[1]}"; read -r word <&"${COPROC[0]}"; echo "$word"
kill "$COPROC_PID"; wait 2>/dev/null
printf '%(%Y)T\n' 0
for i in {1..20}; do (echo $((i % 3))) & done | sort -n | uniq -c; wait
SCRIPT
same "bash: an error message and a bad status" <<'SCRIPT'
cd "$tree"
ls /nonexistent; echo $?
nonexistent-command; echo $?
{ (ulimit -c 0; kill -SEGV $BASHPID); } 2>/dev/null; echo $?
cat < /nonexistent; true
SCRIPT
same "shuf, split, join, paste, comm, tr, od, base64, factor" <<'SCRIPT'
seq 50000 >numbers
shuf --random-source=numbers numbers | md5sum
split -l 997 numbers part. && cat part.* | cmp - numbers && ls part.* | wc -l
sort numbers >sorted; sed -n '1~3p' sorted >third
join sorted third | md5sum; comm -12 sorted third | wc -l; paste -d: sorted third | md5sum
tr 0-9 a-j <numbers | od -c | md5sum
base64 numbers | base64 -d | cmp - numbers
seq 100000000 7 100002000 | factor | md5sum
expr 123456789123456789 '*' 987654321987654321
SCRIPT

if quick; then
	skip "sort of a big file" "heavy: left out by SLABMALLOC_CHECK=quick"
else
	same "sort of a big file, in one thread, in several, and merging" <<'SCRIPT'
awk 'BEGIN { x = 12345; for (i = 0; i < 300000; i++) { x = (x * 1103515245 + 12345) % 2147483648; print x, i % 100, "some text that makes the line longer " x % 977 } }' >big
sort --parallel=1 big | md5sum
sort --parallel=4 -S 64M big | md5sum
sort --parallel=2 -S 2M -T . big | md5sum
sort -k2,2n -k1,1nr --parallel=4 big | md5sum
sort -u -k2,2 big | wc -l
sort -R --random-source=/bin/true big | sort | md5sum
wc big
SCRIPT
fi
done_testing
