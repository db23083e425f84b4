# driver.sh: sourced by the real-program workloads. Each is called by bench/compare as
#
#     sh NAME.sh prepare DIR [ARGUMENT]   generates inputs in DIR, once, unmeasured; exit 77: program not installed
#     sh NAME.sh run DIR [ARGUMENT]       one measured run; standard output must not depend on the allocator
#
# with BENCH_MEASURE (the program bench/measure), BENCH_PRELOAD (library, may be empty) and BENCH_RESULT (file).

set -eu
verb=$1
dir=$2
here=$(dirname "$0")

# The measured program is the only one that gets the library. Its exit status is ours.
driver_measure() {
    "$BENCH_MEASURE" -p "$BENCH_PRELOAD" -o "$BENCH_RESULT" -- "$@"
}

driver_require() {
    for program in "$@"; do
        command -v "$program" > /dev/null || { echo "$program is not installed"; exit 77; }
    done
}

driver_unknown() {
    echo "$0: unknown verb '$verb': prepare or run" >&2
    exit 2
}
