#!/bin/bash
# Without descriptors, without /proc, under seccomp, before unshare: what a sandbox takes away is not needed.
. "$(dirname "$0")/lib.sh"

tap_both confined fds
tap_both confined no-fds
tap_both confined seccomp
tap_both confined unshare
if [ "$(id -u)" -eq 0 ]; then
	tap_both confined chroot
	rmdir /tmp/slabmalloc-root-?????? 2>/dev/null
else
	skip "empty root directory" "needs root"
fi
done_testing
