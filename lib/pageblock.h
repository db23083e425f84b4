/*
 * pageblock.h: free pages by pageblock, for requests that need so many in a row at any address.
 *
 *      free bitmap     | 1 1 0 0 0 1 1 1 1 0 1 ... |   bit set: the page is in a free block of the buddy
 *                              longest: 4
 *      bin[longest / 8] -> pageblock <-> pageblock     partly free ones, of one group
 *
 * A buddy block begins at a multiple of its size, so a hole of 25 pages at an odd address is four blocks and none of
 * them serves a second request of 25. Here the same pages are one range. A request takes the smallest range that is
 * long enough from the pageblock whose longest range is just long enough, so long ranges last, and full pageblocks
 * fill up while sparse ones drain. (The idea is that of Google tcmalloc's huge page filler.)
 *
 * The bitmap repeats what the free lists say; buddy.c keeps both. Lock: the zone's.
 */
#ifndef SLABMALLOC_PAGEBLOCK_H
#define SLABMALLOC_PAGEBLOCK_H

#include "base.h"
#include "pagemap.h"

#define PAGEBLOCK_BIN_PAGES 8
#define PAGEBLOCK_BINS (BLOCK_PAGES / PAGEBLOCK_BIN_PAGES)

/* The partly free pageblocks of one group. */
struct pageblock_index {
    uintptr_t bin[PAGEBLOCK_BINS]; /* pfn of the first pageblock; 0: none */
    uint64_t bins;                 /* bit set: that bin is not empty */
};
_Static_assert(PAGEBLOCK_BINS <= 64, "one word says which bins are empty");

/* The NPAGES pages at PFN, inside one pageblock, became free or are free no longer. INDEX is that of the group the
 * pageblock belongs to; a wholly free one is in no index. */
void pageblock_give(struct pageblock_index *index, uintptr_t pfn, size_t npages);
void pageblock_take(struct pageblock_index *index, uintptr_t pfn, size_t npages);

/* The first page of the range to take NPAGES from; 0: no range is long enough. */
uintptr_t pageblock_find(const struct pageblock_index *index, size_t npages);

/* All NPAGES pages at PFN, inside one pageblock, are free. */
bool pageblock_is_free(uintptr_t pfn, size_t npages);

/* Names the first broken rule, else NULL. */
const char *pageblock_check(const struct pageblock_index *index, unsigned group);

#endif
