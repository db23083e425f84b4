#!/bin/bash
# Right after 100 MiB were freed a program may do all it may do at any time: whatever gives the memory back goes unnoticed.
. "$(dirname "$0")/lib.sh"

tap_both after_free
tap_both sandbox
done_testing
