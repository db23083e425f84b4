/*
 * stats.h: totals of the heap, gathered by walking owners and zones under their locks, one at a time. Exact when no
 * other thread allocates meanwhile. Nothing is counted on the fast path.
 */
#ifndef SLABMALLOC_STATS_H
#define SLABMALLOC_STATS_H

#include "slabmalloc/slabmalloc.h"

void stats_gather(struct slabmalloc_stats *stats);

#endif
