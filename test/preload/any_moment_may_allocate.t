#!/bin/bash
# Memory may be had and given back at any moment: before main, as a thread's first call, in thread-exit destructors, in
# exit handlers and after them.
. "$(dirname "$0")/lib.sh"

tap_both first_call
tap_both cxx_lifetime
done_testing
