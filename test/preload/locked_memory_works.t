#!/bin/bash
# mlockall(MCL_CURRENT | MCL_FUTURE), with and without RLIMIT_MEMLOCK.
. "$(dirname "$0")/lib.sh"

tap_both locked
tap_both locked 32
done_testing
