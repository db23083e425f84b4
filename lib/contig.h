/*
 * contig.h: more pages in a row than a pageblock has: adjacent pageblocks of one zone.
 *
 * The buddy knows no larger block than a pageblock, and needs none: the head of the list of free pageblocks is tried
 * as the beginning, then the next one, until all pages that follow are free. The last pageblock need only begin with
 * free pages, so that 2.1 pageblocks cost 2.1. What is not found makes the zone grow by a region of that length.
 *
 * Lock: the zone's.
 */
#ifndef SLABMALLOC_CONTIG_H
#define SLABMALLOC_CONTIG_H

#include "zone.h"

/* The first of NPAGES pages in a row, taken for GROUP; 0: there are none. */
uintptr_t contig_take(struct zone *zone, size_t npages, enum buddy_group group);

#endif
