#!/bin/bash
# Every operator new and delete: sized, aligned, nothrow, array; bad_alloc and new_handler.
. "$(dirname "$0")/lib.sh"

tap_both family_cxx
done_testing
