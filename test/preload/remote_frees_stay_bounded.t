#!/bin/bash
# Threads that free what others allocated, among them one that never allocates: resident memory stays bounded.
. "$(dirname "$0")/lib.sh"

tap_both threads_end remote
done_testing
