#include "mapping.h"

#include <errno.h>
#include <string.h>

#include "expose.h"
#include "lock.h"
#include "options.h"
#include "pagemap.h"
#include "region.h"
#include "sys.h"
#include "zone.h"

#define CACHE_SLOTS 32

/* With large blocks in use the cache may hold this share of them, if that is more than options.map_cache: what is freed
 * next to them is likely to be asked for again, and new memory costs more than anything else they do. */
#define CACHE_SHARE 2

/* A block that grows to no more than this is copied into a cached extent that is large enough: that costs a fraction of
 * the page faults of growing, and the extent is resident anyway. Larger ones are never copied. */
#define COPY_MAX_PAGES (((size_t)32 << 20) >> PAGE_SHIFT)

/* A rest smaller than this stays with the request rather than in the cache. */
#define SPLIT_LEAST_PAGES (((size_t)128 << 10) >> PAGE_SHIFT)

/* The kernel moves no hugetlb pages (before Linux 5.16, or seccomp): own mappings do without the pool from then on. */
static _Atomic bool no_move;

/* What is behind an extent; extents of different backing are never one. */
enum backing {
    BACKING_SMALL,
    BACKING_THP,  /* advised for transparent huge pages */
    BACKING_POOL, /* begins with pages of the hugetlb pool: see extent_lay_pool */
};

struct extent {
    uintptr_t pfn;
    size_t npages;     /* 0: free slot */
    uint64_t freed_at; /* ms */
    enum backing backing;
    unsigned node; /* home of the thread that got it, whose node its pages are most likely on */
};

static struct {
    struct lock lock;
    struct extent slot[CACHE_SLOTS];
    size_t pages; /* in all slots: see counter_read */
    size_t live_pages, live_count, peak_pages, peak_count;
} cache;

EXPOSE(MAPPING_LIVE_PAGES, cache.live_pages);
EXPOSE(MAPPING_LIVE_COUNT, cache.live_count);
EXPOSE(MAPPING_PEAK_PAGES, cache.peak_pages);
EXPOSE(MAPPING_PEAK_COUNT, cache.peak_count);
EXPOSE(MAPPING_CACHED_PAGES, cache.pages);

static void live_count(ptrdiff_t npages, ptrdiff_t count) {
    lock_take(&cache.lock);
    cache.live_pages += (size_t)npages;
    cache.live_count += (size_t)count;
    cache.peak_pages = max_size(cache.peak_pages, cache.live_pages);
    cache.peak_count = max_size(cache.peak_count, cache.live_count);
    lock_drop(&cache.lock);
}

static void *mapping_mark(struct extent extent) {
    struct page *page = pagemap_page(extent.pfn);
    page_mark(page, PAGE_MAPPING, extent.npages);
    page->extra = (extent.node << 2 | (unsigned)extent.backing) & 0xffff;
    pagemap_set_tag(extent.pfn, TAG_MAPPING);
    return pfn_pointer(extent.pfn);
}

static struct extent mapping_extent(const void *p) {
    const struct page *page = pagemap_page(pointer_pfn(p));
    ASSERT(page->state == PAGE_MAPPING);
    return (struct extent){
        .pfn = pointer_pfn(p), .npages = page->link, .backing = page->extra & 3, .node = page->extra >> 2};
}

static void mapping_unmark(const void *p) {
    pagemap_set_tag(pointer_pfn(p), TAG_FREED);
}

size_t mapping_npages(const void *p) {
    return mapping_extent(p).npages;
}

/* Of NODE's, the smallest extent of at least NPAGES that starts at ALIGN, else the largest one. With the lock. */
static struct extent *cache_find(size_t npages, size_t align, unsigned node) {
    struct extent *fit = NULL, *largest = NULL;
    for (struct extent *e = cache.slot; e < cache.slot + CACHE_SLOTS; e++) {
        if (!e->npages || e->node != node || e->backing == BACKING_POOL || (e->pfn << PAGE_SHIFT) & (align - 1)) {
            continue;
        }
        if (e->npages >= npages && (!fit || e->npages < fit->npages)) {
            fit = e;
        }
        if (!largest || e->npages > largest->npages) {
            largest = e;
        }
    }
    return fit ? fit : largest;
}

/* The first NPAGES of the cached extent E. With the lock. */
static struct extent cut_head(struct extent *e, size_t npages) {
    struct extent head = *e;
    head.npages = npages;
    e->pfn += npages;
    e->npages -= npages;
    counter_sub(&cache.pages, npages);
    return head;
}

/* Takes an extent of NODE's out for a request of NPAGES: the head of a large enough one, or, if SMALLER, all of one of
 * half the size at least: growing a shorter one saves less than it costs. */
static struct extent cache_take(size_t npages, size_t align, unsigned node, bool smaller) {
    struct extent taken = {0};
    lock_take(&cache.lock);
    struct extent *e = cache_find(npages, align, node);
    if (e && (e->npages >= npages || (smaller && e->npages >= npages / 2))) {
        taken = cut_head(e, e->npages >= npages + SPLIT_LEAST_PAGES ? npages : e->npages);
    }
    lock_drop(&cache.lock);
    return taken;
}

/* Takes what EXTENT lacks to NPAGES from a cached extent that follows it; false: none follows, or it is too short. */
static bool cache_take_next(struct extent extent, size_t npages) {
    size_t more = npages - extent.npages;
    bool done = false;
    lock_take(&cache.lock);
    for (struct extent *e = cache.slot; e < cache.slot + CACHE_SLOTS && !done; e++) {
        done = e->npages >= more && e->pfn == extent.pfn + extent.npages && e->backing == extent.backing &&
               e->backing != BACKING_POOL && e->node == extent.node;
        if (done) {
            cut_head(e, more);
        }
    }
    lock_drop(&cache.lock);
    return done;
}

/* Merges EXTENT with neighbours in the cache. With the lock. */
static struct extent absorb_neighbours(struct extent extent) {
    for (struct extent *e = cache.slot; e < cache.slot + CACHE_SLOTS; e++) {
        if (!e->npages || e->backing != extent.backing || e->node != extent.node) {
            continue;
        }
        bool before = e->pfn + e->npages == extent.pfn, after = extent.pfn + extent.npages == e->pfn;
        if (before || after) {
            extent.pfn = before ? e->pfn : extent.pfn;
            extent.npages += e->npages;
            counter_sub(&cache.pages, e->npages);
            e->npages = 0;
        }
    }
    return extent;
}

/* A free slot, or that of the extent freed first, which then is to be unmapped. With the lock. */
static struct extent *oldest_slot(void) {
    struct extent *oldest = cache.slot;
    for (struct extent *e = cache.slot; e < cache.slot + CACHE_SLOTS; e++) {
        if (!e->npages) {
            return e;
        }
        if (e->freed_at < oldest->freed_at) {
            oldest = e;
        }
    }
    return oldest;
}

/* Pages that may stay cached. With the lock. */
static size_t cache_limit(void) {
    size_t least = options.map_cache >> PAGE_SHIFT;
    return least ? max_size(least, cache.live_pages / CACHE_SHARE) : 0;
}

/* Puts EXTENT in; returns an extent that must leave for it (npages 0: none). */
static struct extent cache_put(struct extent extent) {
    lock_take(&cache.lock);
    /* The pool's pages are for whoever needs them next, in this process or in another. */
    if (extent.npages > cache_limit() || extent.backing == BACKING_POOL) {
        lock_drop(&cache.lock);
        return extent;
    }
    extent = absorb_neighbours(extent);
    struct extent *slot = oldest_slot(), out = *slot;
    *slot = extent;
    counter_add(&cache.pages, extent.npages - out.npages);
    lock_drop(&cache.lock);
    return out;
}

/* Takes the extent freed first out if the cache is over its limit or the extent was freed before BEFORE_MS. */
static struct extent cache_evict(uint64_t before_ms) {
    struct extent out = {0};
    lock_take(&cache.lock);
    struct extent *oldest = NULL;
    for (struct extent *e = cache.slot; e < cache.slot + CACHE_SLOTS; e++) {
        if (e->npages && (!oldest || e->freed_at < oldest->freed_at)) {
            oldest = e;
        }
    }
    if (oldest && (cache.pages > cache_limit() || oldest->freed_at < before_ms)) {
        out = *oldest;
        counter_sub(&cache.pages, out.npages);
        oldest->npages = 0;
    }
    lock_drop(&cache.lock);
    return out;
}

/* Puts EXTENT in whatever the limit says; false: no free slot. */
static bool cache_keep(struct extent extent) {
    lock_take(&cache.lock);
    extent = absorb_neighbours(extent);
    struct extent *slot = oldest_slot();
    bool kept = !slot->npages;
    if (kept) {
        *slot = extent;
        counter_add(&cache.pages, extent.npages);
    }
    lock_drop(&cache.lock);
    return kept;
}

/* False: refused (the cut would need one map area too many). The memory goes back all the same, and the addresses wait
 * in the cache for a request or for the next eviction; they are given up only if that has no slot left. */
static bool extent_unmap(struct extent extent) {
    if (region_unmap(extent.pfn, extent.npages)) {
        return true;
    }
    region_purge(extent.pfn, extent.npages);
    extent.freed_at = sys_now_ms();
    if (!cache_keep(extent)) {
        region_account(-(ptrdiff_t)(extent.npages << PAGE_SHIFT));
    }
    return false;
}

static size_t evict_all(uint64_t before_ms) {
    size_t total = 0;
    struct extent out;
    /* Not more often than there are slots: what is refused comes back. */
    for (unsigned i = 0; i < CACHE_SLOTS && (out = cache_evict(before_ms)).npages; i++) {
        total += extent_unmap(out) ? out.npages : 0;
    }
    return total << PAGE_SHIFT;
}

/* Says what is behind the pageblocks of EXTENT: the pool's pages behind the first NPOOL pages. */
static void set_pool_shift(struct extent extent, size_t npool) {
    for (size_t at = 0; at < extent.npages; at += BLOCK_PAGES) {
        block_set_pool_shift(pagemap_block(extent.pfn + at), at < npool ? options.pool_shift : 0);
    }
}

/* After EXTENT was mapped further, to NPAGES at the same address. */
static struct extent grown_in_place(struct extent extent, size_t npages) {
    size_t more = npages - extent.npages;
    if (!pagemap_cover(extent.pfn, npages)) {
        sys_unmap(pfn_pointer(extent.pfn + extent.npages), more << PAGE_SHIFT);
        return (struct extent){0};
    }
    region_account((ptrdiff_t)(more << PAGE_SHIFT));
    zone_shed(more);
    extent.npages = npages;
    set_pool_shift(extent, 0);
    return extent;
}

/* EXTENT with NPAGES > its own, in place or with its page tables moved; npages 0: refused, nothing changed. */
static struct extent extent_grow(struct extent extent, size_t npages) {
    if (extent.backing == BACKING_POOL) {
        return (struct extent){0};
    }
    size_t old_bytes = extent.npages << PAGE_SHIFT, bytes = npages << PAGE_SHIFT;
    int refused = sys_grow(pfn_pointer(extent.pfn), old_bytes, bytes);
    if (!refused) {
        return grown_in_place(extent, npages);
    }
    /* Page tables move whole, and huge pages stay huge, only between aligned addresses. */
    char *to = refused == -ENOMEM ? region_map_aligned(bytes, BLOCK_BYTES) : NULL;
    if (!to) {
        return (struct extent){0};
    }
    if (!sys_move(pfn_pointer(extent.pfn), old_bytes, bytes, to)) {
        /* What is left of the mapping at TO is unknown, and its addresses may be another thread's by now: give them up.
         */
        region_account(-(ptrdiff_t)bytes);
        return (struct extent){0};
    }
    region_account(-(ptrdiff_t)old_bytes);
    zone_shed(npages - extent.npages);
    extent.pfn = pointer_pfn(to);
    extent.npages = npages;
    set_pool_shift(extent, 0);
    return extent;
}

static bool pool_serves(void) {
    return options.pool_shift && !atomic_load_explicit(&no_move, memory_order_relaxed);
}

/* Pages of the hugetlb pool behind the first part of an extent: as many whole ones as there are. The rest is as any
 * other memory, so a block just above 2 MiB does not cost 4. Returns the pages they are; SIZE_MAX: the extent is gone.
 */
static size_t lay_pool(struct extent extent) {
    size_t laid = 0;
    if (pool_serves() && !region_lay_pool(pfn_pointer(extent.pfn), extent.npages << PAGE_SHIFT, &laid)) {
        atomic_store_explicit(&no_move, true, memory_order_relaxed);
        return SIZE_MAX;
    }
    set_pool_shift(extent, laid >> PAGE_SHIFT);
    return laid >> PAGE_SHIFT;
}

static size_t pool_align(size_t bytes, size_t align) {
    size_t page = pool_serves() ? (size_t)1 << options.pool_shift : 0;
    return bytes >= page ? max_size(align, page) : align;
}

static struct extent extent_fresh(size_t npages, size_t align, bool zero, unsigned node) {
    size_t bytes = npages << PAGE_SHIFT;
    struct extent extent;
    size_t npool;
    char *p;
    do { /* a second time at most: without the pool nothing is lost */
        p = region_map_aligned(bytes, pool_align(bytes, align));
        if (!p) {
            return (struct extent){0};
        }
        zone_shed(npages);
        extent = (struct extent){.pfn = pointer_pfn(p), .npages = npages, .node = node};
        npool = lay_pool(extent);
    } while (npool == SIZE_MAX);
    /* Memory asked for as zero is often touched here and there only: leave it to ordinary pages. */
    bool huge = !zero && zone_wants_huge();
    if (npool < npages) {
        size_t laid = npool << PAGE_SHIFT;
        sys_advise(p + laid, bytes - laid, huge ? SYS_HUGEPAGE : SYS_NOHUGEPAGE);
        numa_place_mapping(p + laid, bytes - laid);
    }
    extent.backing = npool ? BACKING_POOL : huge ? BACKING_THP : BACKING_SMALL;
    return extent;
}

void *mapping_alloc(size_t bytes, size_t align, bool zero) {
    size_t npages = pages_of(bytes);
    unsigned node = numa_home();
    align = max_size(align, BLOCK_BYTES);
    struct extent extent = cache_take(npages, align, node, true);
    size_t dirty = min_size(extent.npages, npages);
    if (extent.npages && extent.npages < npages) {
        struct extent grown = align == BLOCK_BYTES ? extent_grow(extent, npages) : (struct extent){0};
        if (!grown.npages) {
            extent_unmap(extent);
        }
        extent = grown;
    }
    if (!extent.npages) {
        dirty = 0;
        extent = extent_fresh(npages, align, zero, node);
    }
    if (!extent.npages) {
        return NULL;
    }
    live_count((ptrdiff_t)extent.npages, 1);
    void *p = mapping_mark(extent);
    return zero && dirty ? memset(p, 0, min_size(bytes, dirty << PAGE_SHIFT)) : p;
}

/* EXTENT, which nobody uses any more, waits in the cache. */
static void extent_release(struct extent extent) {
    live_count(-(ptrdiff_t)extent.npages, -1);
    extent.freed_at = sys_now_ms();
    struct extent out = cache_put(extent);
    if (out.npages) {
        extent_unmap(out);
    }
    evict_all(0);
}

void mapping_free(void *p) {
    struct extent extent = mapping_extent(p);
    mapping_unmark(p);
    extent_release(extent);
}

/* The least number of pages from NPAGES on after which EXTENT can be cut: not inside a page of the pool. */
static size_t cut_after(struct extent extent, size_t npages) {
    unsigned shift = block_pool_shift(pagemap_block(extent.pfn + npages));
    return shift ? min_size(extent.npages, round_up(npages, max_size((size_t)1 << shift >> PAGE_SHIFT, BLOCK_PAGES)))
                 : npages;
}

/* The pages beyond NPAGES go back to the kernel at once: whoever shrinks a large block wants the memory. */
static void *mapping_shrink(void *p, struct extent extent, size_t npages) {
    npages = cut_after(extent, npages);
    if (npages == extent.npages) {
        return p;
    }
    extent_unmap(
        (struct extent){.pfn = extent.pfn + npages, .npages = extent.npages - npages, .backing = extent.backing});
    live_count((ptrdiff_t)npages - (ptrdiff_t)extent.npages, 0);
    extent.npages = npages;
    mapping_mark(extent);
    return p;
}

/* EXTENT, live at P, with NPAGES and its contents, from what the cache has; NULL: it has nothing that serves. */
static void *grow_from_cache(void *p, struct extent extent, size_t npages) {
    if (cache_take_next(extent, npages)) {
        live_count((ptrdiff_t)(npages - extent.npages), 0);
        extent.npages = npages;
        return mapping_mark(extent);
    }
    struct extent to =
        npages <= COPY_MAX_PAGES ? cache_take(npages, BLOCK_BYTES, numa_home(), false) : (struct extent){0};
    if (!to.npages) {
        return NULL;
    }
    live_count((ptrdiff_t)to.npages, 1);
    void *copy = memcpy(mapping_mark(to), p, extent.npages << PAGE_SHIFT);
    mapping_unmark(p);
    extent_release(extent);
    return copy;
}

void *mapping_resize(void *p, size_t bytes) {
    struct extent extent = mapping_extent(p);
    size_t npages = pages_of(bytes);
    if (npages <= extent.npages) {
        return npages < extent.npages ? mapping_shrink(p, extent, npages) : p;
    }
    void *grown_there = grow_from_cache(p, extent, npages);
    if (grown_there) {
        return grown_there;
    }
    mapping_unmark(p); /* before the address can become somebody else's */
    struct extent grown = extent_grow(extent, npages);
    if (!grown.npages) {
        mapping_mark(extent);
        return NULL;
    }
    live_count((ptrdiff_t)(npages - extent.npages), 0);
    return mapping_mark(grown);
}

size_t mapping_cached_bytes(void) {
    return counter_read(&cache.pages) << PAGE_SHIFT;
}

size_t mapping_decay(uint64_t now_ms) {
    bool due = options.decay_ms >= 0 && mapping_cached_bytes();
    return due ? evict_all(now_ms - min_size(now_ms, (size_t)options.decay_ms)) : 0;
}

size_t mapping_trim(void) {
    return evict_all(UINT64_MAX);
}

struct mapping_totals mapping_totals(void) {
    lock_take(&cache.lock);
    struct mapping_totals totals = {
        .live_bytes = cache.live_pages << PAGE_SHIFT,
        .live_count = cache.live_count,
        .cached_bytes = cache.pages << PAGE_SHIFT,
        .peak_bytes = cache.peak_pages << PAGE_SHIFT,
        .peak_count = cache.peak_count,
    };
    lock_drop(&cache.lock);
    return totals;
}

static bool overlaps_another(const struct extent *extent) {
    for (const struct extent *e = cache.slot; e < cache.slot + CACHE_SLOTS; e++) {
        if (e != extent && e->npages && e->pfn < extent->pfn + extent->npages && extent->pfn < e->pfn + e->npages) {
            return true;
        }
    }
    return false;
}

/* With the lock. */
static const char *check_cache(void) {
    size_t npages = 0;
    for (const struct extent *e = cache.slot; e < cache.slot + CACHE_SLOTS; e++) {
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
