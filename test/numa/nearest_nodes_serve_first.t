#!/bin/bash
# Four nodes with unequal distances: when one is full, or the library can get no more of it, the nearest other one is
# next, which is not the one that follows in number.
. "$(dirname "$0")/lib.sh"

#      0  1  2  3
#  0  10 21 14 31
#  1  21 10 26 16
#  2  14 26 10 18
#  3  31 16 18 10
in_guest 1:224 1:96 1:96 1:96 0:1:21 0:2:14 0:3:31 1:2:26 1:3:16 2:3:18 <<'END'
placed local
placed beyond 0 2 1 3
placed beyond 1 3 0 2
placed beyond 2 0 3 1
placed beyond 3 1 2 0
placed exhausted 2 2 0
placed exhausted 1 1 3
END
done_testing
