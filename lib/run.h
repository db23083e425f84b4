/*
 * run.h: page runs, for requests above the slab classes up to a pageblock.
 *
 * A run is exactly the pages the request needs, from NORMAL. Its first page has the tag and the length; the
 * others look foreign. Each owner keeps a few freed runs of at most RUN_CACHE_ONE bytes for itself (the bounded page
 * cache that may hold uncoalesced buddies); they are given back when the owner's decay interval ends or its thread
 * exits.
 *
 * No lock of its own: the run cache is under the owner's lock, the rest under the zone's.
 */
#ifndef SLABMALLOC_RUN_H
#define SLABMALLOC_RUN_H

#include "base.h"

#define RUN_MAX BLOCK_BYTES
#define RUN_CACHE_ONE ((size_t)256 << 10)
#define RUN_CACHE_BYTES ((size_t)512 << 10)

struct owner;

/* NPAGES (1..BLOCK_PAGES) aligned to 2^align_order pages. ZERO: reads zero. OWNER may be NULL. NULL: no memory. */
void *run_alloc(struct owner *owner, size_t npages, unsigned align_order, bool zero);

/* P is the start of a live run (its tag said so). OWNER may be NULL. */
void run_free(struct owner *owner, void *p);

size_t run_npages(const void *p);

/* Makes the run at P NPAGES long without moving it; false: cannot, nothing changed. */
bool run_resize(void *p, size_t npages);

/* By any thread, without the owner's lock. */
void run_cache_flush(struct owner *owner);

/* What is in OWNER's run cache is what its tags and sum say? Names the first broken rule, else NULL. With its lock. */
const char *run_cache_check(const struct owner *owner);

#endif
