#!/bin/bash
# free() and realloc() of a pointer that is not the start of a live block end the process by SIGABRT, with one line on
# stderr that names the fault and the pointer: slabmalloc: fatal: WHAT: POINTER.  Not a hang, not silence.
. "$(dirname "$0")/lib.sh"

# Seconds: the whole of a case takes far less; a hang in the error path is one of the faults looked for.
limit=60
program=$(prog bad_free)

# aborts NAME MODE
aborts() {
	local pointer status=0 lines
	preloaded "$program" "$2" >"$tmp/out" 2>"$tmp/err.all" </dev/null
	local code=$?
	# The shell's own word about the dead child is not the library's.
	grep -v 'lib\.sh: line' "$tmp/err.all" >"$tmp/err"
	lines=$(wc -l <"$tmp/err")
	pointer=$(grep -oE '0x[0-9a-f]+' "$tmp/err" | tail -n 1)
	if [ "$code" -ne 134 ]; then
		status=1
		note "exit status $code instead of 134 (SIGABRT)$(grep -x survived "$tmp/out")"
	elif [ "$lines" -ne 1 ]; then
		status=1
		note "$lines lines on stderr instead of 1"
	elif ! grep -qE '^slabmalloc: fatal: .+: 0x[0-9a-f]+$' "$tmp/err"; then
		status=1
		note "not of the form 'slabmalloc: fatal: WHAT: POINTER'"
	elif ! grep -qxF -- "$pointer" "$tmp/out"; then
		status=1
		note "$pointer is not a pointer that the program misused"
	fi
	ok "$status" "$1" || note_file "$tmp/err" 5
}

aborts "a small wild pointer" wild-low
aborts "the pointer 1" wild-one
aborts "a wild pointer in the middle of user space" wild-middle
aborts "a pointer that is not canonical" wild-noncanonical
aborts "a kernel pointer" wild-kernel
aborts "the pointer -1" wild-minus-one
aborts "a pointer into the stack" stack
aborts "a pointer to static data" static
aborts "a pointer to code" code
aborts "the program's own mapping" own-mapping
aborts "realloc of a pointer into the stack" realloc-stack
aborts "realloc of a pointer that is not canonical" realloc-wild
aborts "realloc of a pointer into a 1 MiB block" realloc-interior-large

for size in 1 16 100 1000 4096 8000 20000 32768 40000 100000 262144 300000 1048576 2097152 5000000 67108864; do
	aborts "immediate double free of $size bytes" "twice:$size"
done
aborts "immediate double free of 100 bytes aligned to 64" twice-aligned:100@64
aborts "immediate double free of 100 bytes aligned to 64 KiB" twice-aligned:100@65536
aborts "immediate double free of 100 bytes aligned to 16 MiB" twice-aligned:100@16777216
aborts "double free of a block that realloc moved away" twice-reallocated:1000

for size in 40000 200000 1048576 4194304 67108864; do
	for offset in 1 16 4096 32768; do
		aborts "interior pointer: block of $size bytes + $offset" "interior:$size+$offset"
	done
done
aborts "interior pointer: block of 8 MiB + 2 MiB" interior:8388608+2097152
aborts "interior pointer: block of 64 MiB + 32 MiB" interior:67108864+33554432
aborts "interior pointer: 100 bytes aligned to 4 MiB + 4096" interior-aligned:100000+4096

for case in 64+16 64+1 48+8 1000+512 4096+16 20000+4096 32768+16384; do
	aborts "interior pointers of 5000 blocks of ${case%+*} bytes + ${case#*+}" "interior-many:$case"
done
for size in 16 64 200 1000 4096 20000; do
	aborts "5000 blocks of $size bytes freed again" "twice-many:$size"
done
for size in 64 1000 20000; do
	aborts "5000 blocks of $size bytes freed by two threads" "remote-twice-many:$size"
	aborts "interior pointers of 5000 blocks of $size bytes freed by another thread" "remote-interior-many:$size"
	aborts "5000 blocks of $size bytes of a dead thread freed again" "dead-thread-twice-many:$size"
done
for size in 64 20000 100000 1048576; do
	aborts "immediate double free of $size bytes by another thread" "remote-twice:$size"
done

for size in 100 1048576; do
	preloaded "$program" "closed-stderr:$size" >"$tmp/out" 2>&1 </dev/null
	ok $(($? != 134)) "double free of $size bytes aborts although stderr is closed"
done
done_testing
