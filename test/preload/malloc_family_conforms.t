#!/bin/bash
# malloc, calloc, realloc, reallocarray, free and the aligned forms keep the contract of C, POSIX and glibc.
. "$(dirname "$0")/lib.sh"

tap_both family
tap_both family_aligned
tap_both family_rules
done_testing
