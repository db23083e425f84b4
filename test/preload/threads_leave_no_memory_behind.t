#!/bin/bash
# 10,000 threads come and go; blocks of dead threads are freed by others: resident memory stays bounded.
. "$(dirname "$0")/lib.sh"

tap_both threads_end ends
done_testing
