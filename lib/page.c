#include "page.h"

#include <string.h>

#include "expose.h"
#include "fault.h"
#include "meta.h"
#include "owner.h"
#include "pagemap.h"
#include "place.h"

static _Atomic size_t pages_out;

EXPOSE(PAGES_OUT, pages_out);

size_t page_pages_out(void) {
    return atomic_load_explicit(&pages_out, memory_order_relaxed);
}

static void count_out(ptrdiff_t npages) {
    atomic_fetch_add_explicit(&pages_out, (size_t)npages, memory_order_relaxed);
}

/* The block's first page in each of its pageblocks says whose it is. */
static void mark(uintptr_t pfn, size_t npages) {
    page_mark(pagemap_page(pfn), PAGE_BLOCK, npages);
    for (size_t at = BLOCK_PAGES; unlikely(at < npages); at += BLOCK_PAGES) {
        page_mark(pagemap_page(pfn + at), PAGE_BLOCK_ON, pfn);
    }
}

/* A block whose tag says that it is freed goes back to its zone. */
static void release(uintptr_t pfn, size_t npages) {
    for (size_t at = 0; at < npages; at += BLOCK_PAGES) {
        page_mark(pagemap_page(pfn + at), PAGE_BODY, 0);
    }
    count_out(-(ptrdiff_t)npages);
    for (size_t at = 0; at < npages; at += BLOCK_PAGES) {
        size_t n = min_size(npages - at, BLOCK_PAGES);
        zone_free(pfn + at, n, n);
    }
}

/* --- An owner's page cache --- */

static bool lock_owner(struct owner *owner, bool nowait) {
    if (unlikely(nowait)) {
        return owner_try_lock(owner);
    }
    owner_lock(owner);
    return true;
}

/* With the lock. */
static uintptr_t cache_pop(struct page_cache *cache, unsigned order) {
    if (!cache || !cache->count[order]) {
        return 0;
    }
    cache->pages -= (size_t)1 << order;
    cache->hits++;
    cache->idle = false;
    return cache->slot[order][--cache->count[order]];
}

static uintptr_t cache_take(struct owner *owner, unsigned order, bool nowait) {
    if (!lock_owner(owner, nowait)) {
        return 0;
    }
    uintptr_t pfn = cache_pop(owner->page_cache, order);
    owner_unlock(owner);
    return pfn;
}

/* Blocks of orders, from the memory that the owner's requests come from first. */
static bool is_cacheable(const struct owner *owner, const struct zone *zone, size_t npages, unsigned align_order) {
    return owner && zone == zone_find(owner->node, ZONE_NORMAL) && npages <= BLOCK_PAGES &&
           npages == (size_t)1 << align_order;
}

static struct page_cache *cache_of(struct owner *owner) {
    struct page_cache *made = NULL;
    if (likely(owner->page_cache != NULL) || !(made = meta_alloc(sizeof *made))) {
        return owner->page_cache;
    }
    owner_lock(owner); /* readers from other threads hold it */
    owner->page_cache = made;
    owner_unlock(owner);
    return made;
}

static bool cache_put(struct owner *owner, uintptr_t pfn, unsigned order) {
    struct page_cache *cache = cache_of(owner);
    size_t npages = (size_t)1 << order;
    if (!cache) {
        return false;
    }
    owner_lock(owner);
    bool room = cache->count[order] < PAGE_CACHE_SLOTS && cache->pages + npages <= PAGE_CACHE_PAGES;
    if (room) {
        cache->slot[order][cache->count[order]++] = pfn;
        cache->pages += npages;
        pagemap_set_tag(pfn, TAG_BLOCK_CACHED);
    }
    owner_unlock(owner);
    return room;
}

/* The block of the highest order; 0: the cache is empty. */
static uintptr_t cache_evict(struct owner *owner, unsigned *order) {
    uintptr_t pfn = 0;
    owner_lock(owner);
    struct page_cache *cache = owner->page_cache;
    for (*order = NORDERS; cache && cache->pages && !pfn;) {
        --*order;
        if (cache->count[*order]) {
            pfn = cache->slot[*order][--cache->count[*order]];
            cache->pages -= (size_t)1 << *order;
        }
    }
    owner_unlock(owner);
    return pfn;
}

size_t page_cache_flush(struct owner *owner) {
    size_t total = 0;
    unsigned order;
    for (uintptr_t pfn; (pfn = cache_evict(owner, &order));) {
        pagemap_set_tag(pfn, TAG_FREED);
        release(pfn, (size_t)1 << order);
        total += (size_t)1 << order;
    }
    return total;
}

void page_cache_reclaim(struct owner *owner, bool all) {
    owner_lock(owner);
    struct page_cache *cache = owner->page_cache;
    bool due = cache && cache->pages && (cache->idle || all);
    if (cache) {
        cache->idle = true;
    }
    owner_unlock(owner);
    if (due) {
        page_cache_flush(owner);
    }
}

void page_cache_forget(struct owner *owner) {
    if (owner->page_cache) {
        memset(owner->page_cache, 0, sizeof *owner->page_cache);
    }
}

size_t page_cache_pages(const struct owner *owner) {
    return owner->page_cache ? owner->page_cache->pages : 0;
}

uint64_t page_cache_hits(const struct owner *owner) {
    return owner->page_cache ? owner->page_cache->hits : 0;
}

static bool is_cached_block(uintptr_t pfn, unsigned order) {
    const struct page *page = pagemap_page(pfn);
    return pagemap_tag(pfn_pointer(pfn)) == TAG_BLOCK_CACHED && page->state == PAGE_BLOCK &&
           page->link == (uint64_t)1 << order;
}

const char *page_cache_check(const struct owner *owner) {
    const struct page_cache *cache = owner->page_cache;
    size_t npages = 0;
    for (unsigned order = 0; cache && order < NORDERS; order++) {
        for (unsigned i = 0; i < cache->count[order]; i++) {
            if (!is_cached_block(cache->slot[order][i], order)) {
                return "what is in a page cache is not marked so";
            }
        }
        npages += (size_t)cache->count[order] << order;
    }
    return npages == page_cache_pages(owner) ? NULL : "a page cache's pages differ from its sum";
}

/* --- Blocks --- */

static void zero_dirty_pages(uintptr_t pfn, size_t npages) {
    for (size_t i = 0; i < npages; i++) {
        if (!buddy_is_fresh(pfn + i)) {
            memset(pfn_pointer(pfn + i), 0, PAGE_BYTES);
        }
    }
}

static void *from_zones(const struct page_request *request) {
    size_t npages = request->pages.npages;
    uintptr_t pfn = request->list ? zonelist_alloc_from(request->list, request->nlist, &request->pages)
                                  : zonelist_alloc(request->node, &request->pages);
    if (!pfn) {
        return NULL;
    }
    count_out((ptrdiff_t)npages);
    if (request->zero) {
        zero_dirty_pages(pfn, npages);
    }
    mark(pfn, npages);
    pagemap_set_tag(pfn, TAG_BLOCK);
    return pfn_pointer(pfn);
}

void *page_alloc(struct owner *owner, const struct page_request *request) {
    const struct zone_request *pages = &request->pages;
    struct zone *first = request->list ? request->list[0] : zone_find(request->node, pages->kind);
    if (!is_cacheable(owner, first, pages->npages, pages->align_order)) {
        return from_zones(request);
    }
    uintptr_t pfn = cache_take(owner, pages->align_order, pages->nowait);
    if (!pfn) {
        return from_zones(request);
    }
    pagemap_set_tag(pfn, TAG_BLOCK);
    return request->zero ? memset(pfn_pointer(pfn), 0, pages->npages << PAGE_SHIFT) : pfn_pointer(pfn);
}

/* Nothing that may be freed as NPAGES pages begins at P. */
static void free_of_no_block(const void *p, size_t npages) __attribute__((noreturn, cold));

static void free_of_no_block(const void *p, size_t npages) {
    struct place place = place_of(p);
    uint32_t tag = pagemap_tag(p);
    if (place.state == PAGE_BLOCK && place.tag == TAG_BLOCK) {
        bool start = p == pfn_pointer(place.head);
        fault_pointer(start && place.npages != npages ? "free of a block of pages with the wrong order"
                                                      : "free of a page inside a block of pages",
                      p);
    }
    bool freed = tag == TAG_FREED || tag == TAG_BLOCK_CACHED;
    fault_pointer(freed ? "double free of a block of pages" : "free of pages that were not allocated as such", p);
}

void page_free(struct owner *owner, void *p, size_t npages) {
    uintptr_t pfn = pointer_pfn(p);
    if (unlikely((uintptr_t)p & (PAGE_BYTES - 1) || pagemap_tag(p) != TAG_BLOCK || pagemap_page(pfn)->link != npages ||
                 !pagemap_change_tag(pfn, TAG_BLOCK, TAG_FREED))) {
        free_of_no_block(p, npages);
    }
    unsigned order = order_of(min_size(npages, BLOCK_PAGES));
    if (is_cacheable(owner, zone_of(pfn), npages, order) && cache_put(owner, pfn, order)) {
        return;
    }
    release(pfn, npages);
}
