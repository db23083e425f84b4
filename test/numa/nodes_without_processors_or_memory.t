#!/bin/bash
# Node 2 has a processor and no memory: its threads get memory of the nearest node. Node 3 has memory and no processor:
# it is used when asked for, when it is the nearest, or when nearer nodes are full. (The kernel numbers it after all that
# have processors.)
. "$(dirname "$0")/lib.sh"

#      0  1  2  3
#  0  10 20 40 17
#  1  20 10 25 28
#  2  40 25 10 15
#  3  17 28 15 10
in_guest 1:224 1:96 1:0 0:96 0:1:20 0:2:40 0:3:17 1:2:25 1:3:28 2:3:15 <<'END'
placed local
placed all_on 2 3
placed beyond 0 3 1
SLABMALLOC_CONF=numa:node=3 placed all_on 0 3
SLABMALLOC_CONF=numa:node=2 placed all_on 0 3
SLABMALLOC_CONF=numa:node=3 placed exhausted 0 3 0
placed exhausted 1 1 0
placed hugetlb
END
done_testing
