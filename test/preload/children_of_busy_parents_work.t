#!/bin/bash
# fork, vfork and posix_spawn from a process whose threads are inside malloc.
. "$(dirname "$0")/lib.sh"

forks=200
quick && forks=40
tap_both fork_busy "$forks"
tap_both spawn
done_testing
