#!/bin/bash
# Every test and helper program in the tree is named in test/local.mk, and
# every benchmark in bench/local.mk: what no list names, nobody runs.
set -u
: "${top_srcdir:?}" "${SLABMALLOC_TESTS:?}"
cd "$top_srcdir" || exit 99

# all_listed NAME FILE...
count=0
all_listed() {
	local what=$1 file name missing=
	shift
	for file; do
		case $file in
		*'*'* | test/numa/lib.sh | test/preload/lib.sh | test/unit/no_criterion.sh) continue ;;
		*.c | *.cc) name=${file%.*} ;;
		*) name=$file ;;
		esac
		[[ " $SLABMALLOC_TESTS " == *[[:space:]]"$name"[[:space:]]* ]] || missing+=" $name"
	done
	count=$((count + 1))
	if [ -z "$missing" ]; then
		echo "ok $count - $what are listed"
	else
		echo "not ok $count - $what are listed; these are not:$missing"
	fi
}

all_listed "unit tests" test/unit/*.c
all_listed "preload tests" test/preload/*.t test/preload/*.sh
all_listed "preload programs" test/preload/progs/*.c test/preload/progs/*.cc
all_listed "NUMA tests" test/numa/*.t test/numa/*.c
all_listed "tutorial programs" doc/tutorial/*.c
all_listed "soak programs" test/soak/*.c
all_listed "build tests" test/*.sh test/abi/*.sh test/golden/*.sh test/soak/*.sh
all_listed "fuzzing tests" test/fuzz/*.t
all_listed "model tests" test/model/*.t
all_listed "benchmarks" bench/workloads/*.c
echo "1..$count"
