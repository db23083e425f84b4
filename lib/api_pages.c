/* api_pages.c: the functions of pages.h. Arguments, errno, the second try; no policy. */
#include <errno.h>
#include <string.h>

#include "heap.h"
#include "page.h"
#include "place.h"
#include "slabmalloc/pages.h"

#define API __attribute__((visibility("default")))

_Static_assert(SLABMALLOC_NR_ORDERS == NORDERS, "pages.h says how many lists there are");
_Static_assert(SLABMALLOC_ZONE_DMA == (int)ZONE_DMA && SLABMALLOC_ZONE_NORMAL == (int)ZONE_NORMAL &&
                   SLABMALLOC_ZONE_HIGHMEM == (int)ZONE_HIGHMEM && SLABMALLOC_ZONE_KINDS == (int)ZONE_KINDS,
               "pages.h names the kinds of zones");
_Static_assert(SLABMALLOC_WATERMARK_AUTO == ZONE_HIGH_AUTO, "pages.h names the watermark that is computed");

/* Zones in an explicit list; more are of no use. */
#define LIST_MAX ((size_t)ZONES_MAX)

/* Of the watermark min: zones grow until they have as many free pages. */
#define MIN_MAX (((size_t)1 << 30) >> PAGE_SHIFT)

static void *fail(int error) {
    errno = error;
    return NULL;
}

/* --- Requests --- */

static bool flags_are_good(unsigned flags) {
    const unsigned both = SLABMALLOC_PAGE_DMA | SLABMALLOC_PAGE_HIGHMEM;
    return !(flags & ~SLABMALLOC_PAGE_ALL) && (flags & both) != both;
}

static enum zone_kind kind_of(unsigned flags) {
    if (flags & SLABMALLOC_PAGE_DMA) {
        return ZONE_DMA;
    }
    return flags & SLABMALLOC_PAGE_HIGHMEM ? ZONE_HIGHMEM : ZONE_NORMAL;
}

static struct page_request request_of(unsigned flags, size_t npages, unsigned order) {
    return (struct page_request){
        .pages = {.kind = kind_of(flags),
                  .group = GROUP_RUN,
                  .npages = npages,
                  .align_order = order < MAX_ORDER ? order : MAX_ORDER,
                  .nowait = flags & SLABMALLOC_PAGE_NOWAIT,
                  .this_node = flags & SLABMALLOC_PAGE_THISNODE},
        .zero = flags & SLABMALLOC_PAGE_ZERO,
    };
}

/* The set of zones that callers call NODE; one that never exists: none. */
static unsigned set_of(int node) {
    return node >= 0 && node < NODES_MAX ? (unsigned)node : NODE_SETS;
}

/* What callers call a zone's node. */
static int name_of(unsigned node) {
    return node < NODES_MAX ? (int)node : SLABMALLOC_ANY_NODE;
}

/* NODE, or that of OWNER for any node. */
static bool choose_node(struct page_request *request, const struct owner *owner, int node) {
    if (node == SLABMALLOC_ANY_NODE) {
        request->node = owner ? owner->node : zone_first_node();
        return true;
    }
    request->node = set_of(node);
    return zone_find(request->node, ZONE_NORMAL);
}

/* Where the kernel refuses, caches are emptied for a second try. */
static void *try_twice(struct owner *owner, const struct page_request *request, unsigned flags) {
    void *p = page_alloc(owner, request);
    if (unlikely(!p) && !(flags & (SLABMALLOC_PAGE_NOWAIT | SLABMALLOC_PAGE_NORETRY))) {
        size_t freed = owner ? page_cache_flush(owner) : 0;
        p = heap_relieve() || freed ? page_alloc(heap_enter(), request) : NULL;
    }
    return likely(p != NULL) ? p : fail(ENOMEM);
}

/* This thread's owner, if any; false: there can be nothing without a system call yet. */
static bool enter(unsigned flags, struct owner **owner) {
    if (unlikely(flags & SLABMALLOC_PAGE_NOWAIT)) {
        return heap_enter_nowait(owner);
    }
    *owner = heap_enter();
    return true;
}

static void *alloc_on(int node, unsigned flags, size_t npages, unsigned order) {
    struct owner *owner;
    if (!flags_are_good(flags)) {
        return fail(EINVAL);
    }
    if (npages > (PTRDIFF_MAX - BLOCK_BYTES) >> PAGE_SHIFT || !enter(flags, &owner)) {
        return fail(ENOMEM);
    }
    struct page_request request = request_of(flags, npages, order);
    if (!choose_node(&request, owner, node)) {
        return fail(EINVAL);
    }
    return try_twice(owner, &request, flags);
}

/* 2^ORDER, or more than there can be. */
static size_t pages_of_order(unsigned order) {
    return order < 8 * sizeof(size_t) ? (size_t)1 << order : SIZE_MAX;
}

API size_t slabmalloc_page_bytes(void) {
    return PAGE_BYTES;
}

API void *slabmalloc_alloc_pages(unsigned flags, unsigned order) {
    return alloc_on(SLABMALLOC_ANY_NODE, flags, pages_of_order(order), order);
}

API void *slabmalloc_alloc_pages_node(int node, unsigned flags, unsigned order) {
    return alloc_on(node, flags, pages_of_order(order), order);
}

API void *slabmalloc_alloc_pages_exact_node(int node, unsigned flags, size_t bytes) {
    if (!bytes) {
        return fail(EINVAL);
    }
    if (bytes > PTRDIFF_MAX) {
        return fail(ENOMEM);
    }
    size_t npages = pages_of(bytes);
    /* What is no block of an order may begin at any page: tightly packed, it costs others the least. */
    unsigned order = npages > BLOCK_PAGES ? MAX_ORDER : 0;
    return alloc_on(node, flags, npages, is_pow2(npages) ? order_of(min_size(npages, BLOCK_PAGES)) : order);
}

API void *slabmalloc_alloc_pages_exact(unsigned flags, size_t bytes) {
    return slabmalloc_alloc_pages_exact_node(SLABMALLOC_ANY_NODE, flags, bytes);
}

static struct zone *zone_named(struct slabmalloc_zone name) {
    unsigned node = name.node == SLABMALLOC_ANY_NODE ? NODE_ANY : set_of(name.node);
    return (unsigned)name.kind < ZONE_KINDS ? zone_find(node, (enum zone_kind)name.kind) : NULL;
}

/* The zones of the list; false: one of them does not exist. */
static bool resolve(const struct slabmalloc_zone *names, size_t n, struct zone **list) {
    for (size_t i = 0; i < n; i++) {
        if (!(list[i] = zone_named(names[i]))) {
            return false;
        }
    }
    return n;
}

API void *slabmalloc_alloc_pages_zonelist(const struct slabmalloc_zone *zones, size_t nzones, unsigned flags,
                                          unsigned order) {
    const unsigned by_list = SLABMALLOC_PAGE_DMA | SLABMALLOC_PAGE_HIGHMEM;
    struct zone *list[LIST_MAX];
    struct owner *owner;
    size_t npages = pages_of_order(order);
    if (!flags_are_good(flags) || flags & by_list) {
        return fail(EINVAL);
    }
    if (!enter(flags, &owner)) {
        return fail(ENOMEM);
    }
    if (!resolve(zones, min_size(nzones, LIST_MAX), list)) {
        return fail(EINVAL);
    }
    if (npages > (PTRDIFF_MAX - BLOCK_BYTES) >> PAGE_SHIFT) {
        return fail(ENOMEM);
    }
    struct page_request request = request_of(flags, npages, order);
    request.pages.kind = list[0]->kind;
    request.list = list;
    request.nlist = min_size(nzones, LIST_MAX);
    return try_twice(owner, &request, flags);
}

static void give_back(void *block, size_t npages) {
    if (block) {
        page_free(heap_enter(), block, npages);
    }
}

API void slabmalloc_free_pages(void *block, unsigned order) {
    give_back(block, pages_of_order(order));
}

API void slabmalloc_free_pages_exact(void *block, size_t bytes) {
    give_back(block, bytes / PAGE_BYTES + (bytes % PAGE_BYTES != 0));
}

/* --- What is at an address --- */

static enum slabmalloc_page_state state_of(const struct place *place) {
    if (place->tag == TAG_RUN_CACHED || place->tag == TAG_BLOCK_CACHED) {
        return SLABMALLOC_STATE_CACHED;
    }
    switch (place->state) {
    case PAGE_FREE:
        return SLABMALLOC_STATE_FREE;
    case PAGE_SLAB:
        return SLABMALLOC_STATE_SLAB;
    case PAGE_RUN:
        return SLABMALLOC_STATE_RUN;
    case PAGE_BLOCK:
    case PAGE_BLOCK_ON:
        return SLABMALLOC_STATE_BLOCK;
    case PAGE_MAPPING:
        return SLABMALLOC_STATE_MAPPING;
    case PAGE_SLOB:
        return SLABMALLOC_STATE_SLOB;
    default:
        return SLABMALLOC_STATE_ISOLATED;
    }
}

static unsigned smallest_order(size_t npages) {
    return npages <= 1 ? 0 : 64 - (unsigned)__builtin_clzll(npages - 1);
}

API int slabmalloc_page_info(const void *p, struct slabmalloc_page_info *info, size_t info_bytes) {
    struct place place = place_of(p);
    struct slabmalloc_page_info all = {.state = SLABMALLOC_STATE_FOREIGN,
                                       .node = -1,
                                       .kind = SLABMALLOC_ZONE_KINDS,
                                       .backing = SLABMALLOC_BACKING_NONE};
    if (place.npages) {
        all.state = state_of(&place);
        all.backing = place.huge ? SLABMALLOC_BACKING_HUGE : SLABMALLOC_BACKING_BASE;
        all.head = pfn_pointer(place.head);
        all.pages = place.npages;
        all.order = smallest_order(place.npages);
        all.fresh = place.fresh;
    }
    if (place.zone) {
        all.node = name_of(place.zone->node);
        all.kind = (enum slabmalloc_zone_kind)place.zone->kind;
    }
    memcpy(info, &all, min_size(info_bytes, sizeof all));
    return place.npages != 0;
}

/* --- Zones --- */

/* NULL with EINVAL: no such zone. */
static struct zone *zone_asked(struct slabmalloc_zone name) {
    heap_enter();
    struct zone *zone = zone_named(name);
    return zone ? zone : fail(EINVAL);
}

API int slabmalloc_zone_watermarks(struct slabmalloc_zone name, struct slabmalloc_watermarks *marks) {
    struct zone *zone = zone_asked(name);
    if (!zone) {
        return -1;
    }
    struct zone_marks now = zone_marks(zone);
    *marks = (struct slabmalloc_watermarks){
        .min = now.min, .low = now.low, .high = now.high, .reserve_ratio = now.reserve_ratio};
    return 0;
}

API int slabmalloc_zone_set_watermarks(struct slabmalloc_zone name, const struct slabmalloc_watermarks *marks) {
    struct zone *zone = zone_asked(name);
    if (!zone) {
        return -1;
    }
    if (marks->min > MIN_MAX || marks->min > marks->low || marks->low > marks->high) {
        errno = EINVAL;
        return -1;
    }
    zone_set_marks(
        zone, (struct zone_marks){
                  .min = marks->min, .low = marks->low, .high = marks->high, .reserve_ratio = marks->reserve_ratio});
    return 0;
}

/* What owners' page caches hold of ZONE. */
static void add_caches(const struct zone *zone, struct slabmalloc_zone_info *info) {
    for (uint32_t id = zone->kind == ZONE_NORMAL ? owner_count() : 0; id; id--) {
        struct owner *owner = owner_by_id(id);
        if (owner->node == zone->node) {
            owner_lock(owner);
            info->cached_pages += page_cache_pages(owner);
            info->cache_hits += page_cache_hits(owner);
            owner_unlock(owner);
        }
    }
}

static struct slabmalloc_zone_info info_of(struct zone *zone) {
    struct slabmalloc_zone_info info = {0};
    lock_take(&zone->lock);
    const struct buddy *buddy = &zone->buddy;
    info.mapped_pages = zone->mapped_pages;
    info.free_pages = buddy->free_pages;
    info.dirty_pages = buddy->dirty_pages;
    info.isolated_pages = zone->isolated_pages;
    for (unsigned order = 0; order < NORDERS; order++) {
        info.nr_free[order] = buddy->area[order].nr_free;
    }
    info.hits = zone->allocs - zone->fallbacks;
    info.fallbacks = zone->fallbacks;
    info.misses = zone->misses;
    info.splits = buddy->splits;
    info.merges = buddy->merges;
    info.purged_pages = zone->purged_pages;
    lock_drop(&zone->lock);
    info.high_pages = zone_high(zone);
    for (unsigned kind = 0; kind < ZONE_KINDS; kind++) {
        info.lowmem_reserve[kind] = zone_lowmem_reserve(zone, kind);
    }
    return info;
}

API int slabmalloc_zone_info(struct slabmalloc_zone name, struct slabmalloc_zone_info *info, size_t info_bytes) {
    struct zone *zone = zone_asked(name);
    if (!zone) {
        return -1;
    }
    struct slabmalloc_zone_info all = info_of(zone);
    add_caches(zone, &all);
    memcpy(info, &all, min_size(info_bytes, sizeof all));
    return 0;
}

API size_t slabmalloc_zones(struct slabmalloc_zone *zones, size_t max) {
    size_t n = 0;
    heap_enter();
    for (unsigned node = 0; node < NODE_SETS; node++) {
        for (unsigned kind = 0; kind < ZONE_KINDS && zone_find(node, kind); kind++, n++) {
            if (n < max) {
                zones[n] = (struct slabmalloc_zone){name_of(node), (enum slabmalloc_zone_kind)kind};
            }
        }
    }
    return n;
}

static void add_numa(struct slabmalloc_numa_stats *sum, struct zone *zone) {
    lock_take(&zone->lock);
    sum->hit += zone->numa.hit;
    sum->miss += zone->numa.miss;
    sum->foreign += zone->numa.foreign;
    sum->interleave += zone->numa.interleave;
    sum->local += zone->numa.local;
    sum->other += zone->numa.other;
    lock_drop(&zone->lock);
}

API int slabmalloc_numa_stats(int node, struct slabmalloc_numa_stats *stats, size_t stats_bytes) {
    struct slabmalloc_numa_stats sum = {0};
    for (unsigned kind = 0; kind < ZONE_KINDS; kind++) {
        struct zone *zone = zone_asked((struct slabmalloc_zone){node, (enum slabmalloc_zone_kind)kind});
        if (!zone) {
            return -1;
        }
        add_numa(&sum, zone);
    }
    memcpy(stats, &sum, min_size(stats_bytes, sizeof sum));
    return 0;
}
