#!/bin/bash
# Threads allocate, reallocate, align and free each other's blocks of 1 byte to 8 MiB; every byte is checked.
. "$(dirname "$0")/lib.sh"

seconds=8
quick && seconds=2
for sizes in small large; do
	tap_of plain stress 1 "$sizes"
	tap_of preloaded stress "$seconds" "$sizes"
done
done_testing
