/*
 * mapping.h: own mappings, for requests above a pageblock.
 *
 * A mapping is pageblock aligned; its first page has the tag and the length, so the page map needs a leaf for it
 * but no zone. realloc grows into a cached extent that follows, by a copy to a cached one that is large enough (up to
 * 32 MiB), else in place or by moving page tables (mremap).
 *
 * Freed mappings wait in a cache (mapping_cache.h) for the next request: it takes the smallest that is large enough and
 * leaves the rest, or is put together from the pageblocks of several. What nobody took for options.decay_ms is
 * unmapped.
 *
 * Lock: the cache's alone.
 */
#ifndef SLABMALLOC_MAPPING_H
#define SLABMALLOC_MAPPING_H

#include "base.h"

/* BYTES > RUN_MAX, or ALIGN (a power of two) > BLOCK_BYTES. ZERO: reads zero. NULL: no memory. */
void *mapping_alloc(size_t bytes, size_t align, bool zero);

/* P is the start of a live mapping (its tag said so). */
void mapping_free(void *p);

size_t mapping_npages(const void *p);

/* The mapping with room for BYTES, moved if it must be; NULL: the kernel refuses (no memory; the block spans two map
 * areas), nothing changed. */
void *mapping_resize(void *p, size_t bytes);

/* Unmaps what has been in the cache for the decay interval; returns its bytes. */
size_t mapping_decay(uint64_t now_ms);

/* Bytes in the cache: an estimate, without the lock. */
size_t mapping_cached_bytes(void);

/* Unmaps the whole cache; returns its bytes. */
size_t mapping_trim(void);

/* Live mappings, now and at most so far; bytes in the cache. */
struct mapping_totals {
    size_t live_bytes, live_count, cached_bytes, peak_bytes, peak_count;
    size_t thp_bytes; /* of live_bytes, advised for transparent huge pages */
};
struct mapping_totals mapping_totals(void);

/* The cache's extents are disjoint, dead and add up? Names the first broken rule, else NULL. */
const char *mapping_check(void);

struct lock *mapping_lock(void);

#endif
