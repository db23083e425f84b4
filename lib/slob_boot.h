/*
 * slob_boot.h: the first 768 KiB of a process whose malloc is SLOB, before there are zones.
 *
 * A zone, its page map and its page structs take some ten pages: more than a small program's whole heap. So the first
 * pages come from one mapping, lowest address first, and its page structs lie in the page of the library's initialized
 * data, which is written to anyway. Only what has no room here starts the zones. (The kernel does the same before its
 * page allocator runs: memblock.)
 *
 * Lock: that of the process's SLOB heap, which alone uses it.
 */
#ifndef SLABMALLOC_SLOB_BOOT_H
#define SLABMALLOC_SLOB_BOOT_H

#include "base.h"
#include "pagemap.h"

#define BOOT_PAGES ((size_t)192)

struct slob_boot {
    uintptr_t pfn; /* 0: not mapped yet, or refused; set once, before the first pointer into it leaves */
    size_t ndirty; /* free pages that may be resident: see counter_read */
    uint64_t used[BOOT_PAGES / 64];
    uint64_t dirty[BOOT_PAGES / 64]; /* may be resident */
    struct page page[BOOT_PAGES];
};

extern struct slob_boot slob_boot;

/* Once, before anything else here. Refused: there are no boot pages. */
void slob_boot_init(void);

static inline bool slob_boot_has(uintptr_t pfn) {
    return pfn - slob_boot.pfn < BOOT_PAGES && slob_boot.pfn;
}

static inline struct page *slob_boot_page(uintptr_t pfn) {
    return &slob_boot.page[pfn - slob_boot.pfn];
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
