#!/bin/bash
# fork, vfork and posix_spawn from a process whose threads are inside malloc.
. "$(dirname "$0")/lib.sh"

tap_both fork_busy
tap_both spawn
done_testing
