/*
 * gather.h: a snapshot of this process's own heap, gathered by walking owners and zones under their locks, one at a
 * time. Each part is exact; the sum is, when no other thread allocates meanwhile.
 */
#ifndef SLABMALLOC_GATHER_H
#define SLABMALLOC_GATHER_H

#include "snapshot.h"

void snapshot_gather(struct snapshot *snapshot);

#endif
