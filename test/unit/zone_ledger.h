/*
 * zone_ledger.h: pages taken from zones and given back by the book, so that every page can be accounted for.
 *
 * Nothing is purged behind a test's back (decay_ms:-1), and nothing is huge, unless the test is about that.
 */
#ifndef SLABMALLOC_TEST_ZONE_LEDGER_H
#define SLABMALLOC_TEST_ZONE_LEDGER_H

#include "options.h"
#include "pagemap.h"
#include "util.h"
#include "zone.h"

#define MIB ((size_t)1 << 20)

static size_t out_pages; /* handed out to the test and not given back */

static inline void zone_ledger_setup(void) {
    zone_init();
    options.decay_ms = -1;
    options.hugepages = false;
    for (struct zone *zone = zone_next(NULL); zone; zone = zone_next(zone)) {
        out_pages += zone->mapped_pages - zone->buddy.free_pages;
    }
}

static inline void must_be_sound(void) {
    size_t mapped = 0, free_pages = 0;
    for (struct zone *zone = zone_next(NULL); zone; zone = zone_next(zone)) {
        const char *broken = buddy_check(&zone->buddy);
        require(!broken, "%s", broken);
        require(zone->isolated_pages == 0 && !lock_held(&zone->lock));
        mapped += zone->mapped_pages;
        free_pages += zone->buddy.free_pages;
    }
    require(mapped == free_pages + out_pages, "%zu mapped, %zu free, %zu out", mapped, free_pages, out_pages);
}

static inline uintptr_t take_from(enum zone_kind kind, size_t npages) {
    uintptr_t pfn = zone_alloc(0, kind, GROUP_RUN, npages, 0);
    out_pages += pfn ? npages : 0;
    return pfn;
}

static inline uintptr_t take(size_t npages) {
    return take_from(ZONE_NORMAL, npages);
}

static inline void give(uintptr_t pfn, size_t npages, size_t ntouched) {
    zone_free(pfn, npages, ntouched);
    out_pages -= npages;
}

static inline size_t dirty_pages(void) {
    size_t dirty = 0;
    for (struct zone *zone = zone_next(NULL); zone; zone = zone_next(zone)) {
        dirty += zone->buddy.dirty_pages;
    }
    return dirty;
}

static inline size_t resident(uintptr_t pfn, size_t npages) {
    return resident_pages(pfn_pointer(pfn), npages << PAGE_SHIFT) * (size_t)sysconf(_SC_PAGESIZE) / PAGE_BYTES;
}

static inline void touch(uintptr_t pfn, size_t npages) {
    memset(pfn_pointer(pfn), 0x5a, npages << PAGE_SHIFT);
}

/* NBLOCKS pageblocks of resident memory in the free lists. */
static inline void make_dirty(size_t nblocks) {
    static uintptr_t pfn[256];
    for (size_t i = 0; i < nblocks; i++) {
        require((pfn[i] = take(BLOCK_PAGES)));
        touch(pfn[i], BLOCK_PAGES);
    }
    for (size_t i = 0; i < nblocks; i++) {
        give(pfn[i], BLOCK_PAGES, BLOCK_PAGES);
    }
}

#endif
