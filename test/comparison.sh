#!/bin/bash
# What bench/compare makes of samples and of workload files, which runs it does, and what bench/measure does before one.
# No figure is measured here: samples and times are made up, so that every verdict is known.
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
# turn, one where "fast" failed, and one of three times as many rounds, of which it wins the first third and loses the
# others. "lean" is slow but has the lowest peak.
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
    "longer": {"slabmalloc": runs([1] * 18, 20), "fast": runs([2] * 6 + [1 / 1.2] * 12, 40),
               "lean": runs([9] * 18, 10)},
    "failed": {"slabmalloc": runs(own, 20), "fast": runs(own[:5], 40) + [None], "lean": runs([9] * 6, 10)},
}
json.dump({"warm_up": True, "libraries": {"slabmalloc": "", "fast": "", "lean": ""}, "samples": samples, "real": ["won"],
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

in_report() { grep -qF -- "$1" "$tmp/out/report.md"; }

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
check "a workload's further rounds count in its ratio" row longer wall_s fast 4 1.2000
check "... and in its interval" row longer wall_s fast 6 1.2000
check "a report says how many rounds there were, and how" in_report \
	"6 interleaved rounds, up to 18 of what spreads; free memory is touched before each run"
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
check "a chart has one bar a workload" test "$(grep -cE '<rect .*class="(win|loss|undecided)"/>$' "$tmp/out/time.svg")" -eq $((5 + 3))

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

# --- Which runs it does: a stand-in for bench/measure logs each and answers with made-up figures ---

mkdir -p "$tmp/build/bench"
cat >"$tmp/build/bench/measure" <<SCRIPT
#!/bin/sh
# -p PRELOAD -o FILE -- /bin/echo WORKLOAD
library=\${2:+other}
echo "\$7 \${library:-glibc} \${BENCH_WARM_MIB:-none}" >>"$tmp/runs"
number=\$(grep -c "^\$7 \${library:-glibc} " "$tmp/runs")
seconds=\${library:+9} peak=102400
case \$6 in
*/latency)
	echo "latency \$2" >>"$tmp/runs"
	number=\$(grep -cFx "latency \$2" "$tmp/runs")
	[ "\$library" ] && tail=\$(((number * 2 % 3 + 1) * 100)) || tail=150
	free=100
	[ "\${2##*/}" != slow.so ] || tail=9000 free=9000
	echo "heap threads operation calls p50 p99 p99.9 max"
	echo "steady 2 malloc 1 20 20 \$tail 900"
	echo "steady 2 free 1 20 20 \$free 900"
	;;
esac
case \$7\$library in
two-speedsother | glibc-two-speeds) seconds=\$((1 + number % 2)) ;;
two-peaks) peak=\$((204800 - number % 2 * 102400)) ;;
one-odd) seconds=\$((1 + 8 * (number == 2))) ;;
esac
echo "{\"wall_s\": 1, \"user_s\": \${seconds:-1}, \"sys_s\": 0, \"maxrss_kib\": \$peak, \"exit\": 0}" >"\$4"
SCRIPT
chmod +x "$tmp/build/bench/measure"
for workload in steady one-odd two-speeds glibc-two-speeds two-peaks; do
	echo "$workload: /bin/echo $workload"
done >"$tmp/workloads"
libc=$(ldd /bin/sh | awk '/libc\.so/ { print $3 }')

compare_runs() { # OPTIONS...
	rm -f "$tmp/runs"
	python3 "$compare" --build "$tmp/build" --workloads "$tmp/workloads" --lib other="$libc" --libs other,glibc \
		--time cpu --json "$tmp/runs.json" "$@"
}

# rounds WORKLOAD NUMBER: of either library, run and in the JSON.
rounds() {
	python3 -c '
import json, sys
runs = json.load(open(sys.argv[1]))["samples"][sys.argv[2]]
print(runs)
sys.exit(any(len(runs[name]) != int(sys.argv[3]) for name in ("other", "glibc")))' "$tmp/runs.json" "$@" &&
		[ "$(grep -c "^$1 other" "$tmp/runs")" -eq "$2" ] && [ "$(grep -c "^$1 glibc" "$tmp/runs")" -eq "$2" ]
}

check "runs are compared" compare_runs
check "a workload whose figures agree gets the rounds asked for, whoever wins" rounds steady 5
check "... and so does one with a single odd round" rounds one-odd 5
check "a workload whose time spreads gets twice as many further ones" rounds two-speeds 15
check "... whichever library it spreads under" rounds glibc-two-speeds 15
check "... and one whose peak spreads" rounds two-peaks 15
check "rounds that differ in number are reported again" python3 "$compare" --from "$tmp/runs.json" --out "$tmp/out"
check "... each with the one of the same round" row two-speeds cpu_s glibc 4 2.0000
check "further rounds of a number asked for" compare_runs --more 2
check "... are done" rounds two-speeds 7
check "further rounds that are not wanted" compare_runs --more 0
check "... are not done" rounds two-speeds 5
check "few rounds" compare_runs --rounds 4
check "... are not enough to see a spread" rounds two-speeds 4

# --- Memory is touched before each run ---

# warm WORKLOAD LIBRARY ROUND MIB
warm() { awk -v w="$1" -v l="$2" -v n="$3" -v mib="$4" '
	$1 == w && $2 == l && ++seen == n { print; good = $3 == mib } END { exit !good }' "$tmp/runs"; }

check "before a library's first run much memory is touched" warm two-peaks other 1 512
check "... under every library" warm two-peaks glibc 1 512
check "later as much as the workload's largest peak and a margin" warm two-peaks glibc 4 282
check "... whatever the library itself needs" warm two-peaks other 4 282
check "... and other workloads do not count" warm steady other 4 157
check "memory that is not to be touched" eval 'BENCH_WARM_MIB=9 compare_runs --no-warm-up'
check "... is not touched" warm steady other 1 none

measure() { # MIB COMMAND...: the figures are in $tmp/figures
	BENCH_WARM_MIB=$1 bench/measure -o "$tmp/figures" -- "${@:2}" && cat "$tmp/figures"
}
figure() { # NAME TEST NUMBER
	[ "$(sed "s/.*\"$1\": \([0-9]*\).*/\1/" "$tmp/figures")" "$2" "$3" ]
}

check "memory is touched before a command starts, and says nothing to it" measure 64 sh -c '[ -z "${BENCH_WARM_MIB+set}" ]'
check "... as much as was asked for" figure warm_mib -eq 64
check "... which is not in the command's peak" figure maxrss_kib -lt 32768
check "... nor among its page faults" figure minor_faults -lt 4096
check "no memory is touched unless asked" measure "" true
check "... and that is said" figure warm_mib -eq 0
check "a command's status is the measurement's" eval 'measure 4 sh -c "exit 7"; [ $? -eq 7 ]'

# --- Latency ---

touch "$tmp/build/bench/latency" && chmod +x "$tmp/build/bench/latency"
ln -s "$libc" "$tmp/slow.so"
check "latencies are compared" compare_runs --latency --rounds 3 --libs other,slow,glibc --lib slow="$tmp/slow.so" \
	--subject other --out "$tmp/out"
cp "$tmp/check" "$tmp/report"
check "... the median of each library's p99.9 with 1.1 times the lowest other's" in_output \
	"^malloc p99\.9, 2 threads, steady \(ns\)  *200\.0  *100\.0\.\.300\.0  *150\.0  *glibc  *1\.33  *MISSED$"
check "... which keeps what is no more" in_output "^free p99\.9, 2 threads, steady .* 100\.0  *glibc  *1\.00  *kept$"
check "... and the bound itself" in_output "^malloc p99\.9, 2 threads, steady  *ns  *<= 165  *200\.0!  *9000!  *150\.0 $"
check "... and no other quantile" eval '! grep -E "p50.*<=|p99,.*<=|max.*<=" "$tmp/report"'
check "... in the file too" grep -qF "| 1.33 | MISSED |" "$tmp/out/latency.md"

echo "1..$count"
