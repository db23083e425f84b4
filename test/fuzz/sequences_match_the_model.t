#!/bin/bash
# Operation sequences of several threads, recorded and random ones, against the
# model in test/fuzz/model.h. More: fuzz_ops --random --ops 10000000.
set -u
: "${top_srcdir:?}" "${top_builddir:?}"
program=$top_builddir/test/fuzz/fuzz_ops

nops=200000
case ${SLABMALLOC_CHECK:-} in quick) nops=20000 ;; esac
case ${SLABMALLOC_SANITIZE:-} in
*thread*) nops=$((nops / 10)) ;;
?*) nops=$((nops / 4)) ;;
esac

count=0
# runs NAME ARGUMENT...
runs() {
	local name=$1 output
	shift
	count=$((count + 1))
	if output=$("$program" "$@" 2>&1); then
		echo "ok $count - $name"
	else
		echo "not ok $count - $name"
	fi
	sed 's/^/# /' <<<"$output"
}

runs "recorded sequences" "$top_srcdir/test/fuzz/corpus"
runs "recorded sequences, all threads at once" --mode free "$top_srcdir/test/fuzz/corpus"
runs "$nops random operations, one thread at a time" --mode ordered --random --ops "$nops"
runs "$nops random operations, all threads at once" --mode free --random --ops "$nops"
echo "1..$count"
