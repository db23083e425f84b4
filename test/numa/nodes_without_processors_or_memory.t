#!/bin/bash
# Node 2 has memory and no processor: it is used when asked for, or when nearer nodes are full. Node 3 has a processor
# and no memory: its threads get memory of the nearest node.
. "$(dirname "$0")/lib.sh"

in_guest 1:224 1:96 0:96 1:0 0:1:20 0:2:17 0:3:40 1:2:28 1:3:25 2:3:15 <<'END'
placed local
placed all_on 3 2
placed beyond 1 0 2
SLABMALLOC_CONF=numa:node=2 placed all_on 0 2
SLABMALLOC_CONF=numa:node=3 placed all_on 0 2
SLABMALLOC_CONF=numa:node=2 placed exhausted 0 2 0
placed exhausted 1 1 0
placed hugetlb
END
done_testing
