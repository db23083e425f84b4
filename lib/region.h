/*
 * region.h: address space from the kernel in whole pageblocks, and back.
 *
 * A region is one stretch of private anonymous memory, aligned to a pageblock. It is never populated here:
 * pages appear when they are first touched. Small heaps are kept off huge pages (MADV_NOHUGEPAGE), so that a
 * host with THP=always does not bloat them; big heaps ask for them before the first touch.
 *
 * No lock: everything here works on memory the caller alone holds (fresh or isolated).
 */
#ifndef SLABMALLOC_REGION_H
#define SLABMALLOC_REGION_H

#include "base.h"

struct region {
    uintptr_t pfn;
    size_t npages; /* 0: no memory */
    bool huge;     /* advised for huge pages */
};

/*
 * Maps WANTED bytes from the hugetlb pool if it has them, else less, down to LEAST, as region_map; populated, since
 * what is merely reserved may be refused at the touch, by a signal. The pool's page is options.pool_shift; both sizes
 * are rounded up to it.
 */
struct region region_map_pool(size_t wanted, size_t least, unsigned bind);

/*
 * Lays pages from the hugetlb pool over the start of [P, P + BYTES), which is fresh and aligned to such a page: as many
 * whole ones as the pool has. *LAID says how many bytes they are. False: the pages cannot be moved there; the memory at
 * P is gone, and its bytes are no longer accounted for.
 */
bool region_lay_pool(void *p, size_t bytes, size_t *laid);

/* Unmaps [PFN, PFN + NPAGES) but for NHOLE pages at HOLE, which may be another's since a move to there was refused; no
 * byte of it is accounted for any more. */
void region_unmap_around(uintptr_t pfn, size_t npages, uintptr_t hole, size_t nhole);

/*
 * Maps WANTED bytes if the kernel grants them, else less, down to LEAST (both multiples of BLOCK_BYTES), with the
 * page map covering it. BIND: node + 1 to prefer before the first touch, 0 for no binding.
 */
struct region region_map(size_t wanted, size_t least, bool huge, unsigned bind);

/* Maps BYTES (a multiple of a page) aligned to ALIGN (a power of two >= a page), page map covering it. */
void *region_map_aligned(size_t bytes, size_t align);

/* Gives mapped pages back with their addresses; false: refused, nothing changed. */
bool region_unmap(uintptr_t pfn, size_t npages);

/* The pages' memory goes back to the kernel. True: they read zero from now on. False: refused, as always for pages of
 * the hugetlb pool: it has no use for a part of one, and a whole one that is touched again may not be there. */
bool region_purge(uintptr_t pfn, size_t npages);

/* This thread is giving memory back, and holds slabs or isolated blocks for it. In a fork child these are not orphans.
 */
extern __thread bool region_purging __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* Bytes mapped for user memory (zones and own mappings) at this moment. */
size_t region_footprint(void);
void region_account(ptrdiff_t bytes);

#endif
