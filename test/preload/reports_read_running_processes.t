#!/bin/bash
# slabmalloc report PID: the heap of a running process from outside, as it would report itself; while it allocates in
# several threads; and what cannot be read is said.
. "$(dirname "$0")/lib.sh"

[ -n "${SLABMALLOC_CMD:-}" ] && [ -x "$SLABMALLOC_CMD" ] || skip_all "SLABMALLOC_CMD names no launcher"
[ "$subject" = slabmalloc ] || skip_all "the library under test is another"
need python3
# The interpreter itself: python3 may be a script that starts others.
python=$(python3 -c 'import sys; print(sys.executable)')
kinds="slab buddy pagetype zone json"
target=$(prog report_target)

pid=
at_exit 'stop'
# start COMMAND...: in the background, with the library, until its input ends; it says "ready".
start() {
	mkfifo "$tmp/input" 2>/dev/null
	LD_PRELOAD=$SLABMALLOC_LIB "$@" <"$tmp/input" >"$tmp/said" 2>&1 &
	pid=$!
	exec 8>"$tmp/input"
	for _ in $(seq 200); do
		grep -q ready "$tmp/said" && return 0
		kill -0 "$pid" 2>/dev/null || return 1
		sleep 0.05
	done
	return 1
}
# stop: the process's own status.
stop() {
	[ -n "$pid" ] || return 0
	exec 8>&-
	wait "$pid"
	local status=$?
	pid=
	return "$status"
}
report() {
	timeout -k 5 "$limit" "$SLABMALLOC_CMD" report "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
	code=$?
}
verdict() {
	local what=$1
	shift
	check "$what" "$@" || { note "status $code"; note_file "$tmp/out" 5 | cut -c 1-200; note_file "$tmp/err" 5 | cut -c 1-200; }
}
silent() { [ "$code" -eq 0 ] && [ ! -s "$tmp/err" ]; }
is_report() { [ "$code" -eq 0 ] && "$python" "$here/check_report.py" "$1" "$tmp/out" 2>>"$tmp/err"; }
# refused STATUS WORDS: nothing on stdout, one line on stderr with the words.
refused() { [ "$code" -eq "$1" ] && [ ! -s "$tmp/out" ] && [ "$(wc -l <"$tmp/err")" -eq 1 ] && grep -qF -- "$2" "$tmp/err"; }

# A process that stands still: byte for byte what it says of itself.
mkdir "$tmp/own"
start "$target" still "$tmp/own"
ok $? "a program reports its own heap" || note_file "$tmp/said"
for kind in $kinds; do
	report "--$kind" "$pid"
	verdict "$kind from outside is what the process says itself" cmp -s "$tmp/own/$kind" "$tmp/out"
	verdict "$kind has the format its readers expect" is_report "$kind"
	verdict "$kind: nothing to complain of" silent
done
report --slab "$pid"
verdict "object caches have a line" grep -qE '^first_cache +50 ' "$tmp/out"
report --json --slab "$pid"
verdict "two reports have titles" grep -qx '==> json <==' "$tmp/out"
report "$pid"
verdict "without an option: the four tables" test "$(grep -c '^==> .*info <==$' "$tmp/out")" -eq 4
for errno in 38 1; do
	timeout "$limit" "$target" filtered $errno "$SLABMALLOC_CMD" report --json "$pid" >"$tmp/out" 2>"$tmp/err"
	code=$?
	if [ "$code" -eq 77 ]; then
		skip "without process_vm_readv (errno $errno)" "no seccomp here"
	else
		verdict "without process_vm_readv (errno $errno) the same" cmp -s "$tmp/own/json" "$tmp/out"
	fi
done
before=$(awk '/^(VmRSS|voluntary_ctxt)/ {print $2}' "/proc/$pid/status")
for _ in 1 2 3 4 5; do report --json "$pid"; done
check "the process does not run for it, nor grow" test "$before" = "$(awk '/^(VmRSS|voluntary_ctxt)/ {print $2}' "/proc/$pid/status")"
timeout "$limit" "$SLABMALLOC_CMD" report --slab "$pid" >/dev/full 2>"$tmp/err"
code=$?
verdict "to a full device it fails" test "$code" -eq 1 -a -s "$tmp/err"
check "the process ends well" stop

# Malloc as SLOB: boot pages, pages of small blocks.
used() { "$python" -c 'import json, sys; print(json.load(sys.stdin)["stats"]["used_bytes"])' <"$tmp/out"; }
export SLABMALLOC_CONF=heap:slob
start "$target" still "$tmp/own"
ok $? "a program whose malloc is SLOB reports its own heap" || note_file "$tmp/said"
report --json "$pid"
verdict "SLOB: json from outside is what the process says itself" cmp -s "$tmp/own/json" "$tmp/out"
check "SLOB: something is in use" test "$(used)" -gt 0
check "SLOB: the process ends well" stop
unset SLABMALLOC_CONF

# Real programs.
start "$python" -c 'import sys
kept = [bytes(i % 3000) for i in range(50000)]
print("ready", flush=True)
sys.stdin.read()'
ok $? "python3 runs"
for kind in $kinds; do
	report "--$kind" "$pid"
	verdict "python3: $kind" is_report "$kind"
done
check "python3: 50,000 objects of 1.5 KB on average are seen in use" test "$(used)" -gt 75000000
check "python3 ends well" stop
if command -v redis-server >/dev/null && command -v redis-cli >/dev/null; then
	LD_PRELOAD=$SLABMALLOC_LIB redis-server --port 0 --unixsocket "$tmp/redis" --save '' --daemonize no >"$tmp/said" 2>&1 &
	redis=$!
	at_exit 'kill "$redis" 2>/dev/null; wait "$redis" 2>/dev/null'
	for _ in $(seq 100); do
		[ "$(redis-cli -s "$tmp/redis" ping 2>/dev/null)" = PONG ] && break
		sleep 0.1
	done
	for kind in $kinds; do
		report "--$kind" "$redis"
		verdict "redis-server: $kind" is_report "$kind"
	done
else
	skip "redis-server" "it is not installed"
fi

# While threads allocate.
start "$target" churn 4
ok $? "four threads allocate"
times=200
quick && times=20
"$python" - "$SLABMALLOC_CMD" "$pid" "$times" "$here" "$tmp" >"$tmp/log" 2>&1 <<'PYTHON'
import subprocess, sys
command, pid, times, here, tmp = sys.argv[1:]
sys.path.insert(0, here)
sys.argv = ["check", "churn"]
import check_report
kinds = list(check_report.CHECKS)
for i in range(int(times)):
    kind = kinds[i % len(kinds)]
    done = subprocess.run([command, "report", "--" + kind, pid], capture_output=True, text=True, timeout=60)
    if done.returncode or not done.stdout:
        sys.exit(f"report {i}: status {done.returncode}, {done.stderr}")
    check_report.CHECKS[kind](done.stdout)
PYTHON
ok $? "$times reports while they do" || note_file "$tmp/log"
report --json "$pid"
verdict "a report of a busy process says so, or is of one moment" \
	test "$(grep -c '"consistent":true' "$tmp/out")" -ne "$(grep -c 'different moments' "$tmp/err")"
check "and the process ends well" stop

# What cannot be read.
sleep 1000 &
plain=$!
at_exit 'kill "$plain"'
report "$plain"
verdict "a process without the library" refused 1 "does not run slabmalloc"
cp "$SLABMALLOC_LIB" "$tmp/data"
"$python" -c 'import mmap, sys
file = open(sys.argv[1], "rb")
data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
print("ready", flush=True)
sys.stdin.read()' "$tmp/data" <"$tmp/input" >"$tmp/said" 2>&1 &
pid=$!
exec 8>"$tmp/input"
for _ in $(seq 100); do grep -q ready "$tmp/said" && break; sleep 0.05; done
report "$pid"
verdict "a process that only reads the library's file" refused 1 "does not run slabmalloc"
stop
sh -c 'exit 0' &
gone=$!
wait "$gone"
report "$gone"
verdict "a process that is gone" refused 1 "no such process"
"$python" -c 'import os, sys, time
child = os.fork()
if not child: os._exit(0)
print(child, flush=True)
sys.stdin.read()' <"$tmp/input" >"$tmp/said" 2>&1 &
pid=$!
exec 8>"$tmp/input"
for _ in $(seq 100); do [ -s "$tmp/said" ] && break; sleep 0.05; done
zombie=$(cat "$tmp/said")
for _ in $(seq 100); do grep -q '^State:.Z' "/proc/$zombie/status" && break; sleep 0.05; done
report "$zombie"
verdict "a process that has ended but is still listed" refused 1 "it has ended"
stop
if other=$(plugin other_version); then
	LD_PRELOAD=$other sleep 1000 &
	stranger=$!
	at_exit 'kill "$stranger"'
	sleep 0.3
	report "$stranger"
	verdict "another version of the library is named" refused 1 "it runs slabmalloc 9.8.7?[31m?,"
fi
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
	chmod 755 "$tmp"
	cp "$SLABMALLOC_CMD" "$tmp/launcher"
	for real in "$builddir/.libs/slabmalloc" "$SLABMALLOC_CMD"; do
		[ -x "$real" ] && cp "$real" "$tmp/launcher" && break
	done
	# One built for coverage would complain that it may not write its counters.
	mkdir -m 777 "$tmp/counters"
	GCOV_PREFIX=$tmp/counters timeout "$limit" setpriv --reuid 65534 --regid 65534 --clear-groups "$tmp/launcher" report "$plain" >"$tmp/out" 2>"$tmp/err"
	code=$?
	verdict "another user's process" refused 1 "no permission"
else
	skip "another user's process" "needs root and setpriv"
fi
for arguments in "" "--slab" "x" "-1" "0" "1 2" "--nonsense 1" "12x" "99999999999999"; do
	# shellcheck disable=SC2086
	report $arguments
	verdict "wrong usage: report $arguments" refused 2 "slabmalloc --help"
done
done_testing
