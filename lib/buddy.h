/*
 * buddy.h: ten free_area lists of blocks of 2^k contiguous pages, split and coalesced (Knowlton 1965; the words
 * and the order rules are those of Linux mm/page_alloc.c).
 *
 *   - The buddy of a block of order k differs from it in bit k of the page frame number. Two free buddies of one order
 *     never coexist: freeing merges them, up to a pageblock (order 9), never across pageblocks.
 *   - The first page of a free block says PAGE_FREE and the order; no other page of it says PAGE_FREE.
 *   - A request need not be a power of two: the tail is given back at once (exact sizes).
 *   - Each free_area keeps blocks with a page that may be resident (dirty) apart from those without (fresh). Dirty
 *     ones are taken first, whatever their order: reusing memory beats touching new memory.
 *   - A pageblock in use serves one group of requests as long as there is another way: user space cannot move
 *     pages, so keeping slabs and page runs apart is what leaves whole blocks free later (the kernel's migrate types).
 *     A free pageblock belongs to no group; the first request that splits it gives it its own.
 *   - Of the blocks that would do for an aligned request, some are looked at for the one in the tightest pageblock.
 *   - What no single block can serve may still lie in several adjacent ones: pageblock.h finds such ranges. Page runs
 *     are always placed that way, packed tightly; slabs when their own pageblocks have no block for them.
 *
 *   - Pageblocks from the hugetlb pool are resident always, and purged never: the pool takes whole pages back, by
 * munmap. Whatever their pages hold, they count and are listed as fresh.
 *
 * No lock of its own: the zone's lock covers a buddy and the page structs of its free pages.
 */
#ifndef SLABMALLOC_BUDDY_H
#define SLABMALLOC_BUDDY_H

#include "base.h"
#include "pageblock.h"

struct free_list {
    uintptr_t head, tail; /* pfn; 0: empty */
    size_t count;         /* so that reports need not walk it */
};

enum buddy_group { GROUP_SLAB, GROUP_RUN, GROUPS };

enum buddy_kind { KIND_DIRTY, KIND_FRESH, KINDS };

struct free_area {
    struct free_list list[GROUPS][KINDS]; /* free pageblocks: all under group 0 */
    size_t nr_free;
};

struct buddy {
    struct free_area area[NORDERS];
    uint32_t orders[GROUPS][KINDS]; /* bit k: that list of area[k] is not empty */
    size_t free_pages;              /* counters: see counter_read */
    size_t dirty_pages;             /* of free_pages, those that may be resident and can be purged */
    size_t pool_pages;              /* of free_pages, those of free pageblocks from the hugetlb pool */
    uint64_t splits, merges;
    size_t fresh_taken; /* pages taken so far that were not resident: what the heap's peak grows by */
    struct pageblock_index index[GROUPS];
};

/* NPAGES (1..BLOCK_PAGES) pages aligned to 2^align_order pages for GROUP; 0: no block large enough. The fresh bits
 * stay as they are until the pages are given back (buddy_is_fresh may read them without the lock). */
uintptr_t buddy_alloc(struct buddy *buddy, size_t npages, unsigned align_order, enum buddy_group group);

/* Takes the pages [PFN, PFN + NPAGES) of one pageblock, which are free. */
void buddy_take(struct buddy *buddy, uintptr_t pfn, size_t npages, enum buddy_group group);

/* The number of pages to ask for where NPAGES, halved any number of times down to LEAST, would do: the most that dirty
 * memory can serve, else NPAGES. Many small slabs in memory that is resident beat one large slab in memory that is not.
 */
size_t buddy_fit(const struct buddy *buddy, size_t npages, size_t least, enum buddy_group group);

/* Gives back any run of pages inside one pageblock, of which the first NTOUCHED may have been written to. */
void buddy_free(struct buddy *buddy, uintptr_t pfn, size_t npages, size_t ntouched);

/* Takes [PFN, PFN + NPAGES) out of the free lists if PFN begins a free block and all pages are free; false: nothing
 * changed. */
bool buddy_claim(struct buddy *buddy, uintptr_t pfn, size_t npages);

/* Takes the dirty free block that has been unused longest among those of the highest order >= MIN_ORDER out of the
 * lists, for purging; 0: none. Its struct page keeps order and extra (dirty pages). */
uintptr_t buddy_take_dirty(struct buddy *buddy, unsigned min_order, unsigned *order);

/* Pages that are zero and not resident again. */
void buddy_mark_fresh(uintptr_t pfn, size_t npages);

bool buddy_is_fresh(uintptr_t pfn);

/* The fresh bits of up to 64 pages in one pageblock, bit 0 for PFN. Reading is as buddy_is_fresh; writing takes the
 * zone's lock, and pages that are out. */
uint64_t buddy_fresh_mask(uintptr_t pfn, size_t npages);
void buddy_set_fresh_mask(uintptr_t pfn, size_t npages, uint64_t fresh);

/* Takes a free pageblock that is not from the hugetlb pool out for good; 0: none. */
uintptr_t buddy_remove_block(struct buddy *buddy);

/* Takes the free pageblocks of one page of the hugetlb pool out for good (or one, if it is larger): its first pfn, and
 * how many. 0: no page of the pool is free. */
uintptr_t buddy_remove_pool(struct buddy *buddy, size_t *nblocks);

/* Takes the pageblock at PFN out for good if it is free; false: it is not. */
bool buddy_remove_this(struct buddy *buddy, uintptr_t pfn);

/* Adds a pageblock nobody has used. It reads zero. */
void buddy_add_block(struct buddy *buddy, uintptr_t pfn);

/* Invariants above hold? Names the first broken one, else NULL. */
const char *buddy_check(const struct buddy *buddy);

#endif
