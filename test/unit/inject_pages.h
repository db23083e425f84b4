/* inject_pages.h: what the fault injection walks through, of the page allocator. */
#ifndef SLABMALLOC_TEST_INJECT_PAGES_H
#define SLABMALLOC_TEST_INJECT_PAGES_H

#include "inject_workloads.h"
#include "slabmalloc/pages.h"

/* Blocks of the page allocator: from its caches, by growing zones, past watermarks. */
#define PAGE_BLOCKS 36

static struct block_of_pages {
    char *p;
    size_t bytes;
    unsigned order; /* UINT32_MAX: exact */
} of_pages[PAGE_BLOCKS];

WORKLOAD static void take_pages(size_t i, unsigned flags, unsigned order, size_t bytes) {
    struct block_of_pages *b = &of_pages[i];
    const struct slabmalloc_zone list[] = {{0, SLABMALLOC_ZONE_DMA}, {0, SLABMALLOC_ZONE_HIGHMEM}};
    *b = (struct block_of_pages){.bytes = bytes ? bytes : PAGE_BYTES << order, .order = bytes ? UINT32_MAX : order};
    errno = ERRNO_BEFORE;
    if (bytes) {
        b->p = slabmalloc_alloc_pages_exact(flags, bytes);
    } else if (i % 5) {
        b->p = slabmalloc_alloc_pages(flags, order);
    } else {
        b->p = slabmalloc_alloc_pages_zonelist(list, COUNT_OF(list), flags & SLABMALLOC_PAGE_ZERO, order);
    }
    checked(b->p);
    if (b->p) {
        MUST(!(flags & SLABMALLOC_PAGE_ZERO) || all_bytes_are(b->p, b->bytes, 0));
        fill(b->p, b->bytes, i);
    }
}

WORKLOAD static void drop_pages(size_t i) {
    struct block_of_pages *b = &of_pages[i];
    MUST(!b->p || holds(b->p, b->bytes, b->bytes, i));
    errno = ERRNO_BEFORE;
    if (b->order == UINT32_MAX) {
        slabmalloc_free_pages_exact(b->p, b->bytes);
    } else {
        slabmalloc_free_pages(b->p, b->order);
    }
    MUST(errno == ERRNO_BEFORE);
    b->p = NULL;
}

WORKLOAD static void blocks_of_pages(void) {
    static const unsigned flags[] = {0, SLABMALLOC_PAGE_HIGHMEM, SLABMALLOC_PAGE_ZERO, SLABMALLOC_PAGE_DMA,
                                     SLABMALLOC_PAGE_HIGHMEM | SLABMALLOC_PAGE_ZERO | SLABMALLOC_PAGE_NORETRY};
    const struct slabmalloc_zone zone = {0, SLABMALLOC_ZONE_HIGHMEM};
    struct slabmalloc_watermarks marks, usual;
    usual_options();
    MUST(!slabmalloc_zone_watermarks(zone, &usual));
    marks = (struct slabmalloc_watermarks){.min = 64, .low = 64, .high = 700};
    for (unsigned round = 0; round < 2; round++) {
        for (size_t i = 0; i < PAGE_BLOCKS; i++) {
            take_pages(i, flags[i % COUNT_OF(flags)], i % 12, i % 6 == 3 ? (i * 37 % 900 + 1) * PAGE_BYTES : 0);
        }
        for (size_t i = round; i < PAGE_BLOCKS; i += 2) {
            drop_pages(i);
            take_pages(i, SLABMALLOC_PAGE_ZERO, i % 5, 0);
        }
        MUST(!slabmalloc_zone_set_watermarks(zone, round ? &usual : &marks));
        for (size_t i = 0; i < PAGE_BLOCKS; i++) {
            drop_pages(i);
        }
        slabmalloc_trim();
    }
}

#endif
