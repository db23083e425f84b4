#!/bin/bash
# Python's own test suite, as Debian ships it: a module that fails under the library is run again without it, and only
# what passes there is a failure here.
. "$(dirname "$0")/lib.sh"

python=/usr/bin/python3
[ -x "$python" ] || skip_all "$python is not installed"
"$python" -c 'import test.test_dict' 2>/dev/null || skip_all "python's test suite is not installed (libpython3.11-testsuite)"

# The modules that lean on malloc: containers, buffers, threads, processes, C libraries with memory of their own.
modules="test_dict test_list test_set test_tuple test_bytes test_unicode test_array test_deque test_ordered_dict
	test_json test_pickle test_marshal test_gc test_weakref test_memoryview test_buffer test_mmap
	test_zlib test_ctypes test_xml_etree_c test_pyexpat test_re test_struct test_heapq
	test_threading test_threading_local test_thread test_queue test_fork1 test_subprocess test_posix test_dbm_gnu
	test_bufio test_fileio test_memoryio test_decimal test_hashlib test_bz2 test_lzma test_atexit test_context test_generators"
quick && modules="test_dict test_list test_json test_gc test_threading_local test_fork1 test_zlib"
if ! quick; then
	modules="$modules test_multiprocessing_fork test_multiprocessing_main_handling"
fi

present=()
for module in $modules; do
	"$python" -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('test.$module') is None)" 2>/dev/null && present+=("$module")
done

# run KIND MODULES...: each module in a process of its own (-j), so that one that dies does not take others along.
run() {
	local kind=$1
	shift
	rm -rf "$tmp/run"
	mkdir -p "$tmp/run"
	(cd "$tmp/run" && limit=800 && TMPDIR=$tmp/run "$kind" "$python" -m test -j2 --timeout 300 "$@") >"$tmp/$kind.log" 2>&1 </dev/null
}
# The modules that a run names as bad, one a line.  "failed" heads an indented list.
failed_in() {
	awk '/^[0-9]+ tests? failed:/ { on = 1; next } /^[^[:space:]]/ { on = 0 } on' "$1" | tr -s ' \t' '\n\n' | sed '/^$/d' | sort -u
}

# Some modules count references or memory exactly and react to any change of allocator settings; their plain result decides.
run preloaded "${present[@]}"
status=$?
failed_in "$tmp/preloaded.log" >"$tmp/bad"
if [ "$status" -ne 0 ] && [ ! -s "$tmp/bad" ]; then
	# No list of failed modules: the run as a whole went wrong.
	ok 1 "the test suite runs to its end"
	note "status $status"
	tail -n 20 "$tmp/preloaded.log" >"$tmp/detail"
	note_file "$tmp/detail"
fi
if [ -s "$tmp/bad" ]; then
	mapfile -t again <"$tmp/bad"
	run plain "${again[@]}"
	failed_in "$tmp/plain.log" >"$tmp/bad.plain"
	# Once more under the library: some of these tests race, with any malloc.
	run preloaded "${again[@]}"
	failed_in "$tmp/preloaded.log" >"$tmp/bad.again"
else
	: >"$tmp/bad.plain"
	: >"$tmp/bad.again"
fi
for module in "${present[@]}"; do
	if ! grep -qx "$module" "$tmp/bad"; then
		ok 0 "$module"
	elif grep -qx "$module" "$tmp/bad.plain"; then
		skip "$module" "fails without the library, too"
	elif ! grep -qx "$module" "$tmp/bad.again"; then
		ok 0 "$module (in the second run)"
	else
		ok 1 "$module"
		grep -aE -A 25 "^(FAIL|ERROR|Fatal|test $module (failed|crashed))" "$tmp/preloaded.log" >"$tmp/detail"
		note_file "$tmp/detail" 60
	fi
done
done_testing
