#include <errno.h>

#include "dma.h"
#include "sys.h"

/* A word of /proc/self/pagemap (Linux Documentation/admin-guide/mm/pagemap.rst). */
#define WORD_PRESENT ((uint64_t)1 << 63)
#define WORD_SWAP ((uint64_t)1 << 62)
#define WORD_FRAME (((uint64_t)1 << 55) - 1)

/* Words read at a time: a page of them. */
#define BATCH 512

/* Looks at a page that is about to move, at most. Each waits for the kernel to have moved it. */
#define LOOKS_MAX 16

/* A page that is there may have no entry: it is being moved (WORD_SWAP), or it is shared, and the kernel tried in vain
 * to page it out. A touch brings the entry back. Of memory that is not ours, only what has been touched is touched. */
static uint64_t word_again(void *page, uint64_t word, bool ours) {
    for (unsigned i = 0; i < LOOKS_MAX && !(word & WORD_PRESENT) && (ours || word & WORD_SWAP); i++) {
        sys_advise(page, sys_page_bytes(), SYS_FAULT_IN);
        if (sys_pagemap(page, &word, 1)) {
            return 0;
        }
    }
    return word;
}

/* The kernel shows frame 0, which no user page has, to those who may not know. */
static int frame_of(void *page, uint64_t word, bool ours, uint64_t *frame) {
    word = word_again(page, word, ours);
    *frame = word & WORD_FRAME;
    return !(word & WORD_PRESENT) ? -EINVAL : *frame ? 0 : -EPERM;
}

/* Calls VISIT for each kernel page of [ADDRESS, ADDRESS + BYTES) until it returns other than 0. OURS: DMA memory. */
static int each_page(uintptr_t address, size_t bytes, bool ours,
                     int (*visit)(uintptr_t page, uint64_t frame, void *arg), void *arg) {
    uint64_t words[BATCH];
    size_t page_bytes = sys_page_bytes();
    uintptr_t page = address & ~(page_bytes - 1);
    for (size_t left = (address + bytes - page + page_bytes - 1) / page_bytes; left;) {
        size_t n = min_size(left, BATCH);
        int result = sys_pagemap((void *)page, words, n);
        for (size_t i = 0; i < n && !result; i++, page += page_bytes) {
            uint64_t frame;
            result = frame_of((void *)page, words[i], ours, &frame);
            result = result ? result : visit(page, frame, arg);
        }
        if (result) {
            return result;
        }
        left -= n;
    }
    return 0;
}

static int note_frame(uintptr_t page, uint64_t frame, void *arg) {
    (void)page;
    *(uint64_t *)arg = frame;
    return 0;
}

int dma_virt_to_phys(const void *p, bool ours, uint64_t *phys) {
    uint64_t frame = 0;
    int result = each_page((uintptr_t)p, 1, ours, note_frame, &frame);
    if (!result) {
        *phys = frame * sys_page_bytes() + (uintptr_t)p % sys_page_bytes();
    }
    return result;
}

static int note_highest(uintptr_t page, uint64_t frame, void *arg) {
    uint64_t *highest = arg, last = (frame + 1) * sys_page_bytes() - 1;
    (void)page;
    *highest = last > *highest ? last : *highest;
    return 0;
}

int dma_highest(const void *address, size_t bytes, uint64_t *highest) {
    *highest = 0;
    return each_page((uintptr_t)address, bytes, true, note_highest, highest);
}

/* --- Scatter-gather lists --- */

struct gather {
    struct slabmalloc_dma_sg *list;
    int n, max;
    uintptr_t from, to; /* the bytes wanted */
    uint64_t boundary;  /* 0: none */
};

/* Appends physically contiguous bytes, to the last entry if they follow it. */
static int append(struct gather *gather, uintptr_t va, uint64_t phys, size_t len) {
    struct slabmalloc_dma_sg *last = gather->n ? &gather->list[gather->n - 1] : NULL;
    bool follows = last && last->phys + last->len == phys;
    if (follows && !(gather->boundary && !(phys & (gather->boundary - 1)))) {
        last->len += len;
        return 0;
    }
    if (gather->n == gather->max) {
        return -ENOSPC;
    }
    gather->list[gather->n++] = (struct slabmalloc_dma_sg){(void *)va, phys, len};
    return 0;
}

/* One page, cut where a boundary below the page's size goes through it. */
static int gather_page(uintptr_t page, uint64_t frame, void *arg) {
    struct gather *gather = arg;
    size_t page_bytes = sys_page_bytes();
    uintptr_t from = max_size(page, gather->from), to = min_size(page + page_bytes, gather->to);
    size_t step = gather->boundary ? min_size(gather->boundary, page_bytes) : page_bytes;
    int result = 0;
    while (from < to && !result) {
        size_t len = min_size(to - from, step - from % step);
        result = append(gather, from, frame * page_bytes + (from - page), len);
        from += len;
    }
    return result;
}

static bool in_one_buffer(const void *p, size_t bytes) {
    struct slabmalloc_dma_info info;
    if (!bytes || dma_info(p, &info)) {
        return false;
    }
    size_t offset = (uintptr_t)p - (uintptr_t)info.base;
    return bytes <= info.bytes - offset;
}

int dma_map_sg(const void *p, size_t bytes, size_t boundary, struct slabmalloc_dma_sg *list, int max) {
    if ((boundary && !is_pow2(boundary)) || max < 0 || !in_one_buffer(p, bytes)) {
        return -EINVAL;
    }
    struct gather gather = {
        .list = list, .max = max, .from = (uintptr_t)p, .to = (uintptr_t)p + bytes, .boundary = boundary};
    int result = each_page((uintptr_t)p, bytes, true, gather_page, &gather);
    return result ? result : gather.n;
}
