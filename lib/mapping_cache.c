#include "mapping_cache.h"

#include "expose.h"
#include "lock.h"
#include "mapping.h"
#include "options.h"
#include "pagemap.h"
#include "region.h"
#include "sys.h"

/* What is put together from several extents is as many map areas, at worst one a pageblock, and a process may have only
 * so many (65,530 unless the host says otherwise): nothing is beyond this size of all mappings, 8192 pageblocks. */
#define COMPOSE_TOTAL_PAGES (((size_t)16 << 30) >> PAGE_SHIFT)

/* A rest smaller than this stays with the request in any case. */
#define SPLIT_LEAST_PAGES (((size_t)128 << 10) >> PAGE_SHIFT)

#define SLOTS 64

static struct {
    struct lock lock;
    struct extent slot[SLOTS];
    size_t pages; /* in all slots: see counter_read */
    size_t live_pages, live_count, peak_pages, peak_count;
    size_t live_thp_pages; /* of live_pages, those of BACKING_THP */
} cache;

EXPOSE(MAPPING_LIVE_PAGES, cache.live_pages);
EXPOSE(MAPPING_LIVE_COUNT, cache.live_count);
EXPOSE(MAPPING_PEAK_PAGES, cache.peak_pages);
EXPOSE(MAPPING_PEAK_COUNT, cache.peak_count);
EXPOSE(MAPPING_CACHED_PAGES, cache.pages);
EXPOSE(MAPPING_THP_PAGES, cache.live_thp_pages);

void mapping_cache_count(enum backing backing, ptrdiff_t npages, ptrdiff_t count) {
    lock_take(&cache.lock);
    cache.live_pages += (size_t)npages;
    cache.live_thp_pages += backing == BACKING_THP ? (size_t)npages : 0;
    cache.live_count += (size_t)count;
    cache.peak_pages = max_size(cache.peak_pages, cache.live_pages);
    cache.peak_count = max_size(cache.peak_count, cache.live_count);
    lock_drop(&cache.lock);
}

static struct extent *free_slot(void) {
    for (struct extent *e = cache.slot; e < cache.slot + SLOTS; e++) {
        if (!e->npages) {
            return e;
        }
    }
    return NULL;
}

/* Cuts [PFN, PFN + NPAGES) out of E; what is before and behind it stays. Npages 0: there is no slot for one of the two.
 * With the lock. */
static struct extent cut(struct extent *e, uintptr_t pfn, size_t npages) {
    struct extent taken = *e, rest = *e;
    taken.pfn = pfn;
    taken.npages = npages;
    rest.pfn = pfn + npages;
    rest.npages = e->pfn + e->npages - rest.pfn;
    size_t before = pfn - e->pfn;
    if (before && rest.npages) {
        struct extent *slot = free_slot();
        if (!slot) {
            return (struct extent){0};
        }
        *slot = rest;
    }
    if (before) {
        e->npages = before;
    } else {
        *e = rest;
    }
    counter_sub(&cache.pages, npages);
    return taken;
}

static size_t lead(const struct extent *e, size_t align) {
    return (round_up(e->pfn << PAGE_SHIFT, align) >> PAGE_SHIFT) - e->pfn;
}

/* Of what E has from an aligned start on, AVAILABLE pages, those that a request of NPAGES takes. */
static size_t share_of(size_t available, size_t npages) {
    size_t little = max_size(npages / MAPPING_WASTE_SHARE, SPLIT_LEAST_PAGES);
    return available - npages < little ? available : mapping_cache_round(npages);
}

struct extent mapping_cache_take(size_t npages, size_t align, unsigned node) {
    struct extent *fit = NULL, taken = {0};
    lock_take(&cache.lock);
    for (struct extent *e = cache.slot; e < cache.slot + SLOTS; e++) {
        bool serves = e->npages && e->node == node && e->backing != BACKING_POOL && e->npages >= npages &&
                      e->npages - npages >= lead(e, align);
        if (serves && (!fit || e->npages < fit->npages)) {
            fit = e;
        }
    }
    if (fit) {
        size_t before = lead(fit, align);
        taken = cut(fit, fit->pfn + before, share_of(fit->npages - before, npages));
    }
    lock_drop(&cache.lock);
    return taken;
}

bool mapping_cache_take_next(struct extent extent, size_t npages) {
    size_t more = npages - extent.npages;
    bool done = false;
    lock_take(&cache.lock);
    for (struct extent *e = cache.slot; e < cache.slot + SLOTS; e++) {
        if (e->npages >= more && e->pfn == extent.pfn + extent.npages && e->backing == extent.backing &&
            e->backing != BACKING_POOL && e->node == extent.node) {
            done = cut(e, e->pfn, more).npages;
            break;
        }
    }
    lock_drop(&cache.lock);
    return done;
}

/* Whole pageblocks in E, in pages. */
static size_t whole_blocks(const struct extent *e) {
    size_t before = lead(e, BLOCK_BYTES);
    return e->npages > before ? (e->npages - before) & ~(size_t)(BLOCK_PAGES - 1) : 0;
}

struct extent mapping_cache_take_blocks(size_t npages, const struct extent *like) {
    struct extent *most = NULL, taken = {0};
    lock_take(&cache.lock);
    bool may = cache.live_pages + cache.pages <= COMPOSE_TOTAL_PAGES;
    for (struct extent *e = cache.slot; e < cache.slot + SLOTS; e++) {
        bool alike = may && e->npages && e->backing == like->backing && e->node == like->node;
        if (alike && whole_blocks(e) > (most ? whole_blocks(most) : 0)) {
            most = e;
        }
    }
    if (most) {
        taken = cut(most, most->pfn + lead(most, BLOCK_BYTES), min_size(whole_blocks(most), npages));
    }
    lock_drop(&cache.lock);
    return taken;
}

/* Merges EXTENT with neighbours in the cache. With the lock. */
static struct extent absorb_neighbours(struct extent extent) {
    for (struct extent *e = cache.slot; e < cache.slot + SLOTS; e++) {
        if (!e->npages || e->backing != extent.backing || e->node != extent.node) {
            continue;
        }
        bool before = e->pfn + e->npages == extent.pfn, after = extent.pfn + extent.npages == e->pfn;
        if (before || after) {
            extent.pfn = before ? e->pfn : extent.pfn;
            extent.npages += e->npages;
            extent.pieces = true;
            counter_sub(&cache.pages, e->npages);
            e->npages = 0;
        }
    }
    return extent;
}

/* Of all, or of those freed before BEFORE_MS. With the lock. NULL: none. */
static struct extent *freed_first(uint64_t before_ms) {
    struct extent *oldest = NULL;
    for (struct extent *e = cache.slot; e < cache.slot + SLOTS; e++) {
        if (e->npages && e->freed_at < before_ms && (!oldest || e->freed_at < oldest->freed_at)) {
            oldest = e;
        }
    }
    return oldest;
}

/* Pages that may stay cached: as many as the live ones, if that is more than options.map_cache, since what is freed
 * next to large blocks is likely to be asked for again, and new memory costs more than anything else they do. With the
 * lock.
 */
static size_t limit(void) {
    size_t least = options.map_cache >> PAGE_SHIFT;
    return least ? max_size(least, cache.live_pages) : 0;
}

struct extent mapping_cache_put(struct extent extent) {
    lock_take(&cache.lock);
    /* The pool's pages are for whoever needs them next, in this process or in another. */
    if (extent.npages > limit() || extent.backing == BACKING_POOL) {
        lock_drop(&cache.lock);
        return extent;
    }
    extent = absorb_neighbours(extent);
    struct extent *slot = free_slot();
    slot = slot ? slot : freed_first(UINT64_MAX);
    struct extent out = *slot;
    *slot = extent;
    counter_add(&cache.pages, extent.npages - out.npages);
    lock_drop(&cache.lock);
    return out;
}

/* Puts EXTENT in whatever the limit says; false: no free slot. */
static bool keep(struct extent extent) {
    lock_take(&cache.lock);
    extent = absorb_neighbours(extent);
    struct extent *slot = free_slot();
    if (slot) {
        *slot = extent;
        counter_add(&cache.pages, extent.npages);
    }
    lock_drop(&cache.lock);
    return slot;
}

/* Takes the extent freed first out if the cache is over its limit or the extent was freed before BEFORE_MS. */
static struct extent evict(uint64_t before_ms) {
    struct extent out = {0};
    lock_take(&cache.lock);
    struct extent *oldest = freed_first(cache.pages > limit() ? UINT64_MAX : before_ms);
    if (oldest) {
        out = *oldest;
        counter_sub(&cache.pages, out.npages);
        oldest->npages = 0;
    }
    lock_drop(&cache.lock);
    return out;
}

/* The kernel does not unmap EXTENT (the cut would need one map area too many). The memory goes back all the same, and
 * the addresses wait in the cache for a request or for the next eviction; they are given up only if that has no slot
 * left. */
static void keep_refused(struct extent extent) {
    region_purge(extent.pfn, extent.npages);
    extent.freed_at = sys_now_ms();
    if (!keep(extent)) {
        region_account(-(ptrdiff_t)(extent.npages << PAGE_SHIFT));
    }
}

bool mapping_cache_unmap(struct extent extent) {
    bool unmapped = region_unmap(extent.pfn, extent.npages);
    if (!unmapped) {
        keep_refused(extent);
    }
    return unmapped;
}

/* What is refused stays out until the end, so that it is tried once and does not stand before the others. */
size_t mapping_cache_decay(uint64_t before_ms) {
    struct extent refused[SLOTS], out;
    size_t total = 0, nrefused = 0;
    while (nrefused < SLOTS && (out = evict(before_ms)).npages) {
        if (region_unmap(out.pfn, out.npages)) {
            total += out.npages;
        } else {
            refused[nrefused++] = out;
        }
    }
    while (nrefused) {
        keep_refused(refused[--nrefused]);
    }
    return total << PAGE_SHIFT;
}

size_t mapping_cached_bytes(void) {
    return counter_read(&cache.pages) << PAGE_SHIFT;
}

struct mapping_totals mapping_totals(void) {
    lock_take(&cache.lock);
    struct mapping_totals totals = {
        .live_bytes = cache.live_pages << PAGE_SHIFT,
        .live_count = cache.live_count,
        .cached_bytes = cache.pages << PAGE_SHIFT,
        .peak_bytes = cache.peak_pages << PAGE_SHIFT,
        .peak_count = cache.peak_count,
        .thp_bytes = cache.live_thp_pages << PAGE_SHIFT,
    };
    lock_drop(&cache.lock);
    return totals;
}

static bool overlaps_another(const struct extent *extent) {
    for (struct extent *e = cache.slot; e < cache.slot + SLOTS; e++) {
        if (e != extent && e->npages && e->pfn < extent->pfn + extent->npages && extent->pfn < e->pfn + e->npages) {
            return true;
        }
    }
    return false;
}

/* With the lock. */
static const char *check_cache(void) {
    size_t npages = 0;
    for (struct extent *e = cache.slot; e < cache.slot + SLOTS; e++) {
        if (!e->npages) {
            continue;
        }
        if (overlaps_another(e)) {
            return "two cached mappings overlap";
        }
        if (pagemap_tag(pfn_pointer(e->pfn)) == TAG_MAPPING) {
            return "a cached mapping has the tag of a live one";
        }
        npages += e->npages;
    }
    return npages == cache.pages ? NULL : "the mapping cache's pages differ from its sum";
}

const char *mapping_check(void) {
    lock_take(&cache.lock);
    const char *broken = check_cache();
    lock_drop(&cache.lock);
    return broken;
}

struct lock *mapping_lock(void) {
    return &cache.lock;
}
