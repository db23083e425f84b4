#!/bin/bash
# Threads allocate, reallocate, align and free each other's blocks of 1 byte to 1 MiB; every byte is checked.
. "$(dirname "$0")/lib.sh"

seconds=8
quick && seconds=2
tap_of plain stress 1
tap_of preloaded stress "$seconds"
done_testing
