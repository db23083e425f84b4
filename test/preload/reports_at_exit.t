#!/bin/bash
# SLABMALLOC_CONF=report_exit:...,report_file:...: reports when a program exits, where they were asked for.
. "$(dirname "$0")/lib.sh"

[ "$subject" = slabmalloc ] || skip_all "the library under test is another"
need python3
# The interpreter itself: python3 may be a script that starts others.
python=$(python3 -c 'import sys; print(sys.executable)')

# run CONF COMMAND...
run() {
	local conf=$1
	shift
	preloaded env SLABMALLOC_CONF="$conf" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
	code=$?
}
verdict() {
	local what=$1
	shift
	check "$what" "$@" || { note "status $code"; note_file "$tmp/err" 5 | cut -c 1-200; }
}
is_report() { "$python" "$here/check_report.py" "$1" "$2"; }
busy='x = [bytes(i % 900) for i in range(20000)]'

for kind in slab buddy pagetype zone json; do
	run "report_exit:$kind" "$python" -c "$busy"
	verdict "$kind at exit" is_report "$kind" "$tmp/err"
done
run report_exit:slab+json "$python" -c "$busy"
verdict "two of them have titles" test "$(grep -c '^==> ' "$tmp/err")" -eq 2
run report_exit:slab "$python" -c "$busy; print('word'); import sys; sys.exit(7)"
verdict "output and status are the program's own" test "$code" -eq 7 -a "$(cat "$tmp/out")" = word
run report_exit:slab ls -d /
verdict "of a program that closes standard error before" is_report slab "$tmp/err"
run report_exit:slab "$python" -c "import os; os.closerange(2, 1000); os.open('$tmp/mine', os.O_RDWR | os.O_CREAT); [os.dup(2) for i in range(200)]"
verdict "never into a file that the program opened in its place" test -f "$tmp/mine" -a ! -s "$tmp/mine"
run report_exit:slab "$python" -c "import os; os._exit(0)"
verdict "_exit is no exit" test "$code" -eq 0 -a ! -s "$tmp/err"

run "report_exit:json,report_file:$tmp/report" "$python" -c "$busy"
verdict "to a file" is_report json "$tmp/report"
verdict "and not to standard error" test ! -s "$tmp/err"
run "report_exit:json,report_file:$tmp/report" "$python" -c "$busy"
verdict "which is appended to" test "$(wc -l <"$tmp/report")" -eq 2
run "report_exit:json,report_file:$tmp/each.%p.json" "$python" -c "$busy
import os, sys
print(os.getpid(), flush=True)
if not os.fork(): print(os.getpid(), flush=True); sys.exit(0)
os.wait()"
each() {
	local pid
	[ "$(wc -l <"$tmp/out")" -eq 2 ] || return 1
	while read -r pid; do
		is_report json "$tmp/each.$pid.json" && grep -q "\"pid\":$pid," "$tmp/each.$pid.json" || return 1
	done <"$tmp/out"
}
verdict "%p: a file for parent and child" each
: >"$tmp/aim"
ln -s "$tmp/aim" "$tmp/link"
run "report_exit:json,report_file:$tmp/link" "$python" -c "$busy"
verdict "a symbolic link is not followed, which is said" test ! -s "$tmp/aim" -a "$(grep -c "$tmp/link" "$tmp/err")" -eq 1
run "report_exit:json,report_file:$tmp/none/there" "$python" -c "$busy"
verdict "a file that cannot be made is named, and no more happens" test "$code" -eq 0 -a "$(grep -c "$tmp/none/there" "$tmp/err")" -eq 1
mkfifo "$tmp/fifo"
run "report_exit:json,report_file:$tmp/fifo" timeout 20 "$python" -c "$busy"
verdict "a FIFO that nobody reads is not waited for" test "$code" -eq 0 -a "$(grep -c "$tmp/fifo" "$tmp/err")" -ge 1
timeout 20 cat "$tmp/fifo" >"$tmp/read" &
sleep 0.5
run "report_exit:json,report_file:$tmp/fifo" "$python" -c "$busy"
wait $!
verdict "a FIFO's reader gets the report" is_report json "$tmp/read"
# The reader of stderr is gone; the library's report is all that is written there.
run "" "$python" -c "
import os, subprocess, sys
ends = os.pipe()
os.close(ends[0])
os.environ['SLABMALLOC_CONF'] = 'report_exit:slab'
print(subprocess.run([sys.executable, '-c', 'import os, signal; signal.signal(signal.SIGPIPE, signal.SIG_DFL)'], stderr=ends[1], restore_signals=True).returncode)"
verdict "a reader of stderr that is gone leaves the exit status alone" test "$(cat "$tmp/out")" = 0
for bad in report_exit: report_exit:slabs report_exit:slab+ report_exit:slab+x report_file:; do
	run "$bad" "$python" -c "$busy"
	# slab+ is slab: a trailing + is nothing.
	if [ "$bad" = report_exit:slab+ ]; then
		verdict "$bad is slab" is_report slab "$tmp/err"
	else
		verdict "$bad is named and ignored" test "$code" -eq 0 -a "$(grep -c "bad value in '$bad'" "$tmp/err")" -eq 1 -a "$(wc -l <"$tmp/err")" -eq 1
	fi
done
run report_file:/nowhere "$python" -c "$busy"
verdict "a file alone asks for nothing" test "$code" -eq 0 -a ! -s "$tmp/err"
done_testing
