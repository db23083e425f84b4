/*
 * mapping_cache.h: freed mappings that wait for a request, and the count of live ones, which bounds them.
 *
 * An extent is a stretch of mapped pages. Freed ones wait here, at most options.map_cache bytes or as much as the live
 * ones: their pages are resident, and touching new ones costs more than anything else a large block does. A request
 * takes the smallest extent that is large enough, and the rest stays; what no single extent serves is put together from
 * the whole pageblocks of several, whose page tables are moved (extent_compose in mapping.c). Neighbours are one entry.
 *
 * Map areas: the kernel moves page tables of one map area at a time, so nothing is cut or joined such that two areas
 * meet inside a pageblock: extents are mapped at pageblock boundaries, and moved in whole pageblocks. An extent that
 * came together from others says so (pieces): it may be several areas.
 *
 * It lies between regions and zones: a zone empties it of what is idle before its peak grows (zone_shed).
 *
 * Lock: one; never held across a system call: entries are taken out first.
 */
#ifndef SLABMALLOC_MAPPING_CACHE_H
#define SLABMALLOC_MAPPING_CACHE_H

#include "base.h"

/* A request may get this share more than it asked for, rather than leave pages that serve nobody: up to the next
 * pageblock, since only whole ones can be moved, or to the end of the extent. */
#define MAPPING_WASTE_SHARE 8

/* NPAGES, or all of its last pageblock if that is little more. */
static inline size_t mapping_cache_round(size_t npages) {
    size_t blocks = round_up(npages, BLOCK_PAGES);
    return blocks - npages <= npages / MAPPING_WASTE_SHARE ? blocks : npages;
}

/* What is behind an extent; extents of different backing are never one. */
enum backing {
    BACKING_SMALL,
    BACKING_THP,  /* advised for transparent huge pages */
    BACKING_POOL, /* begins with pages of the hugetlb pool: see lay_pool in mapping.c; never cached */
};

struct extent {
    uintptr_t pfn;
    size_t npages;     /* 0: none */
    uint64_t freed_at; /* ms */
    enum backing backing;
    unsigned node; /* home of the thread that got it, whose node its pages are most likely on */
    bool pieces;   /* may be several map areas, which meet at pageblock boundaries */
};

/* Live mappings have NPAGES more, backed as said, and are COUNT more; or fewer. */
void mapping_cache_count(enum backing backing, ptrdiff_t npages, ptrdiff_t count);

/* Takes an extent of NODE's with NPAGES or a little more that starts at ALIGN; npages 0: there is none. */
struct extent mapping_cache_take(size_t npages, size_t align, unsigned node);

/* Takes what EXTENT lacks to NPAGES from an extent that follows it; false: none follows, or it is too short. */
bool mapping_cache_take_next(struct extent extent, size_t npages);

/* Takes whole pageblocks of the backing and node of LIKE, NPAGES at most, from the extent that has most of them; none
 * if the process has so many large blocks that their map areas must stay few. */
struct extent mapping_cache_take_blocks(size_t npages, const struct extent *like);

/* Puts EXTENT in; returns an extent that must leave for it, itself perhaps (npages 0: none). */
struct extent mapping_cache_put(struct extent extent);

/* Unmaps EXTENT. False: refused; its memory goes back all the same, and its addresses wait in the cache. */
bool mapping_cache_unmap(struct extent extent);

/* Unmaps what was freed before BEFORE_MS, and what is over the limit; returns its bytes. */
size_t mapping_cache_decay(uint64_t before_ms);

#endif
