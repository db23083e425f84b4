#!/bin/bash
# What bench/compare makes of samples and of workload files. Nothing is measured here: the samples are made up, so that
# every verdict is known.
set -u
export LC_ALL=C
: "${top_srcdir:?}"
compare=$top_srcdir/bench/compare

command -v python3 >/dev/null || { echo "1..0 # SKIP python3 is not installed"; exit 0; }
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT

count=0
check() { # NAME COMMAND...
	local name=$1
	shift
	count=$((count + 1))
	if "$@" >"$tmp/check" 2>&1; then
		echo "ok $count - $name"
	else
		echo "not ok $count - $name"
		sed 's/^/# /' "$tmp/check"
	fi
}

# samples FILE: one workload slabmalloc loses on time to "fast" in every round, one it wins, one it wins and loses in
# turn, and one where "fast" failed. "lean" is slow but has the lowest peak.
samples() {
	python3 - "$1" <<'SCRIPT'
import json, sys

def runs(walls, mib):
    return [{"wall_s": w, "cpu_s": w, "maxrss_kib": mib * 1024} for w in walls]

own = [1.0, 1.1, 1.0, 1.2, 1.0, 1.1]
samples = {
    "lost": {"slabmalloc": runs(own, 20), "fast": runs([w / 1.5 for w in own], 40), "lean": runs([9] * 6, 10)},
    "won": {"slabmalloc": runs(own, 20), "fast": runs([w * 2 for w in own], 40), "lean": runs([9] * 6, 10)},
    "even": {"slabmalloc": runs(own, 20), "lean": runs([9] * 6, 10),
             "fast": runs([w * (1.2, 0.8)[i % 2] for i, w in enumerate(own)], 40)},
    "failed": {"slabmalloc": runs(own, 20), "fast": runs(own[:5], 40) + [None], "lean": runs([9] * 6, 10)},
}
json.dump({"libraries": {"slabmalloc": "", "fast": "", "lean": ""}, "samples": samples, "real": ["won"],
           "host": {"processor": "none", "cpus": 1, "kernel": "0", "libc": "none", "thp": "never"}},
          open(sys.argv[1], "w"))
SCRIPT
}

# row WORKLOAD METRIC LIBRARY FIELD VALUE: a cell of ratios.tsv (4 ratio, 5 low, 6 high, 7 verdict, 8 best).
row() {
	awk -F '\t' -v workload="$1" -v metric="$2" -v library="$3" -v field="$4" -v value="$5" '
		$1 == workload && $2 == metric && $3 == library { print; found = 1; good = $field == value }
		END { exit !(found && good) }' "$tmp/out/ratios.tsv"
}

no_row() { ! grep -q "^$1	.*	$2	" "$tmp/out/ratios.tsv"; }

in_output() { grep -qE -- "$1" "$tmp/report" || { cat "$tmp/report"; false; }; }

samples "$tmp/samples.json"
check "made-up samples are reported" python3 "$compare" --from "$tmp/samples.json" --out "$tmp/out"
cp "$tmp/check" "$tmp/report"

check "a ratio is the median of the per-round ratios" row lost wall_s fast 4 1.5000
check "a ratio above 1 in every round is a loss" row lost wall_s fast 7 loss
check "a ratio below 1 in every round is a win" row won wall_s fast 7 win
check "a ratio on both sides of 1 is undecided" row even wall_s fast 7 undecided
check "time and memory are judged apart" row lost maxrss_kib fast 7 win
check "the best library is the one with the lowest median" row lost wall_s fast 8 best
check "... and another one for memory" row lost maxrss_kib lean 8 best
check "a library that failed once has no ratio there" no_row failed fast
check "... and the others keep theirs" row failed wall_s lean 7 win
check "a geometric mean is taken over the workloads both finished" row "(geometric mean)" maxrss_kib fast 4 0.5000
check "a bound that is missed is called so" in_output "worst  *1\.500  <= 1\.30  MISSED lost against fast"
check "a bound that is kept is called so" in_output "real programs alone, against the best peer  *0\.500  <= 0\.98  kept"
check "charts are well-formed" python3 -c '
import sys
from xml.dom import minidom
for path in sys.argv[1:]:
    assert minidom.parse(path).documentElement.tagName == "svg"' "$tmp"/out/{time,rss,means}.svg
check "a chart has one bar a workload" test "$(grep -cE '<rect .*class="(win|loss|undecided)"/>$' "$tmp/out/time.svg")" -eq $((4 + 3))

cat >"$tmp/workloads" <<'FILE'
# a comment
first: VARIABLE=1 /bin/echo 'two words'
    stdin input
    rate ([0-9]+) a second
    fixed-duration
second: /bin/true
    real
FILE
check "a workload file is read" python3 "$compare" --workloads "$tmp/workloads" --list
cp "$tmp/check" "$tmp/report"
check "... with its quoted words and without its environment" in_output "^first  *benchmark  */bin/echo 'two words'$"

refused() { # FILE TEXT: status 2 and a message that names the line
	python3 "$compare" --workloads "$1" --list
	[ $? -eq 2 ] && python3 "$compare" --workloads "$1" --list 2>&1 | grep -qF "$2"
}
printf 'only words\n' >"$tmp/bad"
check "a line without a colon is refused" refused "$tmp/bad" "$tmp/bad:1"
printf 'a: true\n    time no group\n' >"$tmp/bad"
check "a figure without a group is refused" refused "$tmp/bad" "$tmp/bad:2"
printf 'a: true\n    unheard-of\n' >"$tmp/bad"
check "an unknown attribute is refused" refused "$tmp/bad" "$tmp/bad:2"
printf 'a: true\na: false\n' >"$tmp/bad"
check "a second workload of the same name is refused" refused "$tmp/bad" "$tmp/bad:2"
echo "1..$count"
