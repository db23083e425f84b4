/*
 * buddy_model.h: a buddy and a model of it that must agree after every step.
 *
 * The model is two bits a page, free or out, fresh or not, and a group a pageblock. Because two free buddies never
 * coexist, these alone say which free blocks there must be: the largest aligned all-free ones. No memory is needed,
 * only page structs, so the pages have made-up addresses, and lie across the border of two page map leaves.
 */
#ifndef SLABMALLOC_TEST_BUDDY_MODEL_H
#define SLABMALLOC_TEST_BUDDY_MODEL_H

#include "buddy.h"
#include "pagemap.h"
#include "util.h"

#define BLOCKS 4
#define NPAGES (BLOCKS * BLOCK_PAGES)
#define FIRST (((uintptr_t)5 << LEAF_SHIFT) - BLOCKS / 2 * BLOCK_PAGES)
#define NOT_A_HEAD 255

static struct buddy buddy;

static struct model {
    bool free[NPAGES], fresh[NPAGES];
    uint8_t order[NPAGES];   /* of the free block that begins here, or NOT_A_HEAD */
    uint16_t ndirty[NPAGES]; /* in it */
    size_t nblocks[NORDERS];
    enum buddy_group group[BLOCKS];
} model;

static inline void buddy_model_setup(void) {
    require(pagemap_cover(FIRST, NPAGES));
}

static inline void give_block(unsigned block) {
    buddy_add_block(&buddy, FIRST + block * BLOCK_PAGES);
    for (size_t i = 0; i < BLOCK_PAGES; i++) {
        model.free[block * BLOCK_PAGES + i] = model.fresh[block * BLOCK_PAGES + i] = true;
    }
}

/* Fills in order, ndirty and nblocks for the aligned block at PAGE. */
static inline void model_divide(size_t page, unsigned order) {
    size_t npages = (size_t)1 << order, nfree = 0, nfresh = 0;
    for (size_t i = page; i < page + npages; i++) {
        nfree += model.free[i];
        nfresh += model.fresh[i];
    }
    if (nfree == npages) {
        model.order[page] = (uint8_t)order;
        model.ndirty[page] = (uint16_t)(npages - nfresh);
        model.nblocks[order]++;
    } else if (nfree) {
        model_divide(page, order - 1);
        model_divide(page + npages / 2, order - 1);
    }
}

static inline void model_update(void) {
    memset(model.order, NOT_A_HEAD, sizeof model.order);
    memset(model.nblocks, 0, sizeof model.nblocks);
    for (unsigned block = 0; block < BLOCKS; block++) {
        model_divide(block * BLOCK_PAGES, MAX_ORDER);
    }
}

static inline void must_agree(unsigned long step) {
    const char *broken = buddy_check(&buddy);
    require(!broken, "step %lu: %s", step, broken);
    model_update();
    size_t free_pages = 0, dirty_pages = 0;
    for (size_t i = 0; i < NPAGES; i++) {
        const struct page *page = pagemap_page(FIRST + i);
        bool head = model.order[i] != NOT_A_HEAD;
        require((page->state == PAGE_FREE) == head, "step %lu, page %zu", step, i);
        require(!head || page->order == model.order[i], "step %lu, page %zu", step, i);
        require(buddy_is_fresh(FIRST + i) == model.fresh[i], "step %lu, page %zu", step, i);
        free_pages += model.free[i];
        dirty_pages += model.free[i] && !model.fresh[i];
    }
    for (unsigned order = 0; order < NORDERS; order++) {
        require(buddy.area[order].nr_free == model.nblocks[order], "step %lu, order %u", step, order);
    }
    require(buddy.free_pages == free_pages, "step %lu", step);
    require(buddy.dirty_pages == dirty_pages, "step %lu", step);
}

/* Every change goes through these four, which keep the model. */

static inline void model_take(uintptr_t pfn, size_t npages) {
    size_t page = pfn - FIRST;
    require(pfn >= FIRST && page + npages <= NPAGES && page % BLOCK_PAGES + npages <= BLOCK_PAGES);
    for (size_t i = page; i < page + npages; i++) {
        require(model.free[i], "page %zu was handed out twice", i);
        model.free[i] = false;
    }
}

static inline uintptr_t take_for(enum buddy_group group, size_t npages, unsigned align_order) {
    uintptr_t pfn = buddy_alloc(&buddy, npages, align_order, group);
    if (pfn) {
        bool whole = true;
        size_t block = (pfn - FIRST) / BLOCK_PAGES;
        for (size_t i = 0; i < BLOCK_PAGES; i++) {
            whole &= model.free[block * BLOCK_PAGES + i];
        }
        model.group[block] = whole ? group : model.group[block];
        model_take(pfn, npages);
    }
    return pfn;
}

static inline uintptr_t take(size_t npages, unsigned align_order) {
    return take_for(GROUP_SLAB, npages, align_order);
}

static inline void give(uintptr_t pfn, size_t npages, size_t ntouched) {
    buddy_free(&buddy, pfn, npages, ntouched);
    for (size_t i = 0; i < npages; i++) {
        model.free[pfn - FIRST + i] = true;
        model.fresh[pfn - FIRST + i] &= i >= ntouched;
    }
}

static inline bool claim(uintptr_t pfn, size_t npages) {
    bool done = buddy_claim(&buddy, pfn, npages);
    if (done) {
        model_take(pfn, npages);
    }
    return done;
}

static inline void mark_fresh(uintptr_t pfn, size_t npages) {
    buddy_mark_fresh(pfn, npages);
    memset(model.fresh + (pfn - FIRST), true, npages);
}

#endif
