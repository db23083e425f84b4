/*
 * slob_boot.h: the first 4 MiB of a process whose malloc is SLOB, before there are zones.
 *
 * A zone, its page map and its page structs take some ten pages: more than a small program's whole heap. So the first
 * pages come from one mapping, lowest address first. The page structs of its first pages lie in the page of the
 * library's initialized data, which is written to anyway, those of the others behind it. Only what has no room here
 * starts the zones. (The kernel does the same before its page allocator runs: memblock.)
 *
 *      .data          mapping
 *      [ page 0.. ]   [ page 0 | page 1 | ...                        | page 1023 | struct pages from 160 on ]
 *
 * Lock: that of the process's SLOB heap, which alone uses it.
 */
#ifndef SLABMALLOC_SLOB_BOOT_H
#define SLABMALLOC_SLOB_BOOT_H

#include "base.h"
#include "pagemap.h"

#define BOOT_PAGES ((size_t)1024)
#define BOOT_PAGES_FIRST ((size_t)160) /* with their page structs in .data */

struct slob_boot {
    uintptr_t pfn; /* 0: not mapped yet, or refused; set once, before the first pointer into it leaves */
    size_t ndirty; /* free pages that may be resident: see counter_read */
    uint64_t used[BOOT_PAGES / 64];
    uint64_t dirty[BOOT_PAGES / 64]; /* may be resident */
    struct page page[BOOT_PAGES_FIRST];
};

extern struct slob_boot slob_boot;

/* Once, before anything else here. Refused: there are no boot pages. */
void slob_boot_init(void);

static inline bool slob_boot_has(uintptr_t pfn) {
    return pfn - slob_boot.pfn < BOOT_PAGES && slob_boot.pfn;
}

static inline struct page *slob_boot_page(uintptr_t pfn) {
    size_t index = pfn - slob_boot.pfn;
    return index < BOOT_PAGES_FIRST
               ? &slob_boot.page[index]
               : (struct page *)pfn_pointer(slob_boot.pfn + BOOT_PAGES) + (index - BOOT_PAGES_FIRST);
}

/* NPAGES in a row; *FRESH: all of them read zero. 0: no room. */
uintptr_t slob_boot_take(size_t npages, bool *fresh);

/* Takes [PFN, PFN + NPAGES) if they are boot pages and free. */
bool slob_boot_claim(uintptr_t pfn, size_t npages);

/* Gives pages back; PURGED: they read zero again. */
void slob_boot_give(uintptr_t pfn, size_t npages, bool purged);

/* Takes free pages in a row that may be resident, to be given back purged; 0: there are none. */
uintptr_t slob_boot_take_dirty(size_t *npages);

#endif
