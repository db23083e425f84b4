#include "zone.h"

#include "contig.h"
#include "expose.h"
#include "options.h"
#include "pagemap.h"
#include "region.h"
#include "sys.h"

/* Small heaps do not reserve what they will not use; extents of huge pages are long, since each splits the map areas.
 */
#define REGION_LEAST BLOCK_BYTES
#define REGION_SMALL (2 * BLOCK_BYTES)
#define REGION_HUGE (16 * BLOCK_BYTES)

/* A page of the hugetlb pool is resident at once, so a small heap takes few at a time; each region is a map area. */
#define POOL_LARGE (32 * BLOCK_BYTES)

/* Free pageblocks a zone keeps once address space was scarce. */
#define SCARCE_KEEP 2

static _Atomic bool scarce;

static struct {
    struct zone
        zone[ZONES_MAX];    /* those of nodes that are not there are never looked at: their memory stays untouched */
    _Atomic uint64_t nodes; /* bit n: there are zones for node n; written with numa_lock */
    unsigned nzones;        /* up to the last there is, for reports */
} zones;

EXPOSE(ZONES, zones.zone);
EXPOSE(ZONE_COUNT, zones.nzones);

static uint64_t known_nodes(void) {
    return atomic_load_explicit(&zones.nodes, memory_order_acquire);
}

static bool are_several(uint64_t nodes) {
    return nodes & (nodes - 1);
}

static bool has_zones(uint64_t nodes, unsigned node) {
    return node < NODES_MAX ? nodes >> node & 1 : node == NODE_ANY && are_several(nodes);
}

static void start_zones(unsigned node) {
    for (unsigned kind = 0; kind < ZONE_KINDS; kind++) {
        struct zone *zone = &zones.zone[node * ZONE_KINDS + kind];
        zone->index = (uint8_t)(node * ZONE_KINDS + kind);
        zone->node = node;
        zone->kind = kind;
        zone->marks = (struct zone_marks){.low = ZONE_LOW_PAGES,
                                          .high = ZONE_HIGH_AUTO,
                                          .reserve_ratio = zone->kind == ZONE_DMA ? ZONE_DMA_RESERVE_RATIO : 0};
    }
}

/* With numa_lock, or before there is another thread. */
static void add_nodes(uint64_t nodes) {
    uint64_t before = known_nodes(), now = before | nodes;
    for (uint64_t left = now & ~before; left; left &= left - 1) {
        start_zones((unsigned)__builtin_ctzll(left));
    }
    if (are_several(now) && !are_several(before)) {
        start_zones(NODE_ANY);
    }
    zones.nzones = are_several(now) ? ZONES_MAX : (64 - (unsigned)__builtin_clzll(now)) * ZONE_KINDS;
    atomic_store_explicit(&zones.nodes, now, memory_order_release);
}

void zone_init(void) {
    bool changed;
    add_nodes(numa_refresh(&changed));
    numa_look_around();
}

bool zone_refresh_nodes(void) {
    bool changed;
    uint64_t nodes = numa_refresh(&changed);
    if (unlikely(changed)) {
        lock_take(numa_lock());
        add_nodes(nodes);
        lock_drop(numa_lock());
    }
    return changed;
}

unsigned zone_node_count(void) {
    return (unsigned)__builtin_popcountll(known_nodes());
}

unsigned zone_first_node(void) {
    return (unsigned)__builtin_ctzll(known_nodes());
}

struct zone *zone_find(unsigned node, enum zone_kind kind) {
    return has_zones(known_nodes(), node) ? &zones.zone[node * ZONE_KINDS + kind] : NULL;
}

struct zone *zone_of(uintptr_t pfn) {
    unsigned zone = block_zone(pagemap_block(pfn));
    ASSERT(zone);
    return &zones.zone[zone - 1];
}

struct zone *zone_of_any(uintptr_t pfn) {
    unsigned zone = pagemap_has_page(pfn) ? block_zone(pagemap_block(pfn)) : 0;
    return zone ? &zones.zone[zone - 1] : NULL;
}

struct zone *zone_next(struct zone *after) {
    unsigned i = after ? (unsigned)(after - zones.zone) + 1 : 0;
    for (; i < ZONES_MAX; i++) {
        unsigned node = i / ZONE_KINDS;
        if (node < NODES_MAX && !(known_nodes() >> node)) {
            node = NODE_ANY;
            i = NODE_ANY * ZONE_KINDS;
        }
        if (has_zones(known_nodes(), node) && counter_read(&zones.zone[i].grown)) {
            return &zones.zone[i];
        }
    }
    return NULL;
}

void zone_each_lock(void (*visit)(struct lock *lock)) {
    /* No zones are added while the lock is held: before a visit that drops it, after one that takes it. */
    uint64_t nodes = known_nodes();
    visit(numa_lock());
    nodes = lock_held(numa_lock()) ? known_nodes() : nodes;
    for (unsigned i = 0; i < ZONES_MAX; i++) {
        if (has_zones(nodes, i / ZONE_KINDS)) {
            visit(&zones.zone[i].lock);
        }
    }
}

static bool huge_from(size_t bytes, size_t threshold) {
    size_t free_pages = 0;
    for (struct zone *zone = zone_next(NULL); zone; zone = zone_next(zone)) {
        free_pages += counter_read(&zone->buddy.free_pages);
    }
    size_t mapped = region_footprint(), unused = free_pages << PAGE_SHIFT;
    return options.hugepages && mapped - min_size(mapped, unused) + bytes >= threshold;
}

bool zone_wants_huge(void) {
    return huge_from(0, options.huge_threshold);
}

bool zone_wants_huge_mapping(size_t bytes) {
    return huge_from(bytes, options.huge_threshold / 2);
}

/* A zone's first small region is ordinary memory: it has what the process, and the C library for it, allocate at the
 * start and never free, which would keep a page of the pool for ever. */
static bool pool_serves(const struct zone *zone, size_t least) {
    return options.pool_shift && zone->kind == ZONE_NORMAL &&
           (counter_read(&zone->mapped_pages) || least > REGION_SMALL);
}

/* What is behind a zone's memory follows from its kind and the options. */
static struct region region_for(const struct zone *zone, size_t least, uint8_t *pool_shift) {
    bool huge = zone->kind == ZONE_NORMAL && zone_wants_huge();
    bool any = zone->node == NODE_ANY;
    unsigned bind = zone_node_count() > 1 && !any ? zone->node + 1 : 0;
    *pool_shift = pool_serves(zone, least) ? options.pool_shift : 0;
    if (*pool_shift) {
        bool large = counter_read(&zone->mapped_pages) << PAGE_SHIFT >= POOL_LARGE;
        struct region region = region_map_pool(max_size(large ? REGION_HUGE : REGION_SMALL, least), least, bind);
        if (region.npages) {
            return region;
        }
    }
    *pool_shift = 0;
    struct region region = region_map(max_size(huge ? REGION_HUGE : REGION_SMALL, least), least, huge, bind);
    if (any && region.npages) {
        numa_place_any(pfn_pointer(region.pfn), region.npages << PAGE_SHIFT);
    }
    return region;
}

/* By a region with NPAGES pages in a row. */
static bool zone_grow(struct zone *zone, size_t npages) {
    uint8_t pool_shift;
    struct region region = region_for(zone, round_up(npages, BLOCK_PAGES) << PAGE_SHIFT, &pool_shift);
    if (!region.npages) {
        return false;
    }
    lock_take(&zone->lock);
    for (size_t i = 0; i < region.npages; i += BLOCK_PAGES) {
        struct block *block = pagemap_block(region.pfn + i);
        block_set_zone(block, zone->index + 1u);
        block_set_huge(block, region.huge);
        block_set_pool_shift(block, pool_shift);
        buddy_add_block(&zone->buddy, region.pfn + i);
    }
    counter_add(&zone->mapped_pages, region.npages);
    zone->mapped_peak = max_size(zone->mapped_peak, zone->mapped_pages);
    counter_add(&zone->grown, 1);
    lock_drop(&zone->lock);
    return true;
}

/* With the lock: what must stay free allows it. */
static bool may_take(const struct zone *zone, const struct zone_request *request) {
    size_t keep = request->nowait ? 0 : zone->marks.min;
    if (unlikely(request->kind > zone->kind)) {
        keep += zone_lowmem_reserve(zone, request->kind);
    }
    size_t free_pages = zone->buddy.free_pages;
    return likely(!keep) || (free_pages >= request->npages && free_pages - request->npages >= keep);
}

static bool zone_lock(struct zone *zone, bool nowait) {
    if (unlikely(nowait)) {
        return lock_try_awhile(&zone->lock);
    }
    lock_take(&zone->lock);
    return true;
}

static uintptr_t take_pages(struct zone *zone, const struct zone_request *request) {
    if (unlikely(request->npages > BLOCK_PAGES)) {
        return contig_take(zone, request->npages, request->group);
    }
    return buddy_alloc(&zone->buddy, request->npages, request->align_order, request->group);
}

/* With the lock. */
static void count_numa(struct zone *zone, const struct zone_request *request) {
    struct zone_numa *numa = &zone->numa;
    size_t npages = request->npages;
    *(zone->node == request->node ? &numa->hit : &numa->miss) += npages;
    if (zone->node != NODE_ANY) {
        *(zone->node == request->here ? &numa->local : &numa->other) += npages;
    } else if (options.numa == NUMA_INTERLEAVE) {
        numa->interleave += npages;
    }
}

static uintptr_t zone_take(struct zone *zone, const struct zone_request *request, bool first) {
    if (!zone_lock(zone, request->nowait)) {
        return 0;
    }
    size_t before = zone->buddy.fresh_taken;
    uintptr_t pfn = may_take(zone, request) ? take_pages(zone, request) : 0;
    zone->dirty_low = min_size(zone->dirty_low, zone->buddy.dirty_pages);
    zone->allocs += pfn != 0;
    zone->fallbacks += pfn && !first;
    if (unlikely(pfn && zone_node_count() > 1)) {
        count_numa(zone, request);
    }
    size_t grown = zone->buddy.fresh_taken - before;
    lock_drop(&zone->lock);
    if (grown && !request->nowait) {
        zone_shed(grown);
    }
    return pfn;
}

/* DMA memory is dear, and growing for a reserve would not end: both grow for those that asked for them. */
static bool grows_for(const struct zone *zone, enum zone_kind kind) {
    return kind <= zone->kind || (zone->kind != ZONE_DMA && !zone_lowmem_reserve(zone, kind));
}

uintptr_t zone_serve(struct zone *zone, const struct zone_request *request, bool first) {
    uintptr_t pfn = zone_take(zone, request, first);
    bool may_grow = !request->nowait && grows_for(zone, request->kind);
    /* Another thread may empty a new region first; it got the memory, so trying again ends. */
    while (!pfn && may_grow && zone_grow(zone, request->npages)) {
        pfn = zone_take(zone, request, first);
    }
    return pfn;
}

void zone_note_miss(struct zone *zone, bool nowait, size_t foreign) {
    if (zone_lock(zone, nowait)) {
        zone->misses++;
        zone->numa.foreign += foreign;
        lock_drop(&zone->lock);
    }
}

struct zone_marks zone_marks(struct zone *zone) {
    lock_take(&zone->lock);
    struct zone_marks marks = zone->marks;
    lock_drop(&zone->lock);
    return marks;
}

void zone_set_marks(struct zone *zone, struct zone_marks marks) {
    lock_take(&zone->lock);
    counter_set(&zone->marks.min, marks.min);
    counter_set(&zone->marks.low, marks.low);
    counter_set(&zone->marks.high, marks.high);
    counter_set(&zone->marks.reserve_ratio, marks.reserve_ratio);
    lock_drop(&zone->lock);
    zone_keep_below_high(zone);
}

bool zone_extend(uintptr_t pfn, size_t npages) {
    if (!(pfn & (BLOCK_PAGES - 1))) {
        return false; /* the block before ended with its pageblock */
    }
    struct zone *zone = zone_of(pfn);
    lock_take(&zone->lock);
    bool done = buddy_claim(&zone->buddy, pfn, npages);
    lock_drop(&zone->lock);
    return done;
}

/* With the lock: takes a free pageblock out, and the one it shares 4 MiB with if that is free too. Returns how many. */
static size_t take_out(struct zone *zone, uintptr_t *pfn) {
    *pfn = buddy_remove_block(&zone->buddy);
    if (!*pfn) {
        return 0;
    }
    uintptr_t mate = *pfn ^ BLOCK_PAGES;
    bool both = block_zone(pagemap_block(mate)) == zone->index + 1u && !block_pool_shift(pagemap_block(mate)) &&
                buddy_remove_this(&zone->buddy, mate);
    *pfn = both ? min_size(*pfn, mate) : *pfn;
    return both ? 2 : 1;
}

/* With the lock: takes a free page of the hugetlb pool out. Returns how many pageblocks it is. */
static size_t take_out_pool(struct zone *zone, uintptr_t *pfn) {
    size_t nblocks = 0;
    *pfn = buddy_remove_pool(&zone->buddy, &nblocks);
    return *pfn ? nblocks : 0;
}

static void set_zone(struct zone *zone, uintptr_t pfn, size_t nblocks, unsigned index) {
    for (size_t i = 0; i < nblocks; i++) {
        block_set_zone(pagemap_block(pfn + i * BLOCK_PAGES), index);
    }
    counter_add(&zone->mapped_pages, index ? nblocks * BLOCK_PAGES : -(nblocks * BLOCK_PAGES));
}

/* Free pageblocks leave the zone, or come back if the kernel refuses. Returns the pages unmapped. */
static size_t unmap_some(struct zone *zone, size_t (*take)(struct zone *zone, uintptr_t *pfn)) {
    uintptr_t pfn;
    lock_take(&zone->lock);
    size_t nblocks = take(zone, &pfn);
    if (nblocks) {
        set_zone(zone, pfn, nblocks, 0);
        counter_sub(&zone->shed_pages, min_size(nblocks * BLOCK_PAGES, zone->shed_pages)); /* not needed again */
    }
    lock_drop(&zone->lock);
    if (!nblocks) {
        return 0;
    }
    pagemap_forget(pfn, nblocks);
    if (region_unmap(pfn, nblocks * BLOCK_PAGES)) {
        return nblocks * BLOCK_PAGES;
    }
    lock_take(&zone->lock);
    set_zone(zone, pfn, nblocks, zone->index + 1u);
    for (size_t i = 0; i < nblocks; i++) {
        buddy_free(&zone->buddy, pfn + i * BLOCK_PAGES, BLOCK_PAGES, BLOCK_PAGES);
    }
    lock_drop(&zone->lock);
    return 0;
}

size_t zone_return_pool(struct zone *zone, size_t keep_pages) {
    size_t total = 0, npages = 1;
    while (npages && counter_read(&zone->buddy.pool_pages) > keep_pages) {
        npages = unmap_some(zone, take_out_pool);
        total += npages;
    }
    return total;
}

/* Where the kernel once refused memory, the program's own mappings need the addresses too: its threads' stacks, say. */
static void relieve(struct zone *zone) {
    if (unlikely(atomic_load_explicit(&scarce, memory_order_relaxed)) &&
        counter_read(&zone->buddy.area[MAX_ORDER].nr_free) > SCARCE_KEEP) {
        unmap_some(zone, take_out);
    }
}

void zone_free(uintptr_t pfn, size_t npages, size_t ntouched) {
    struct zone *zone = zone_of(pfn);
    lock_take(&zone->lock);
    buddy_free(&zone->buddy, pfn, npages, ntouched);
    lock_drop(&zone->lock);
    relieve(zone);
    zone_keep_below_high(zone);
}

void zone_free_mask(uintptr_t pfn, size_t npages, uint64_t touched) {
    struct zone *zone = zone_of(pfn);
    lock_take(&zone->lock);
    buddy_set_fresh_mask(pfn, npages, ~touched);
    buddy_free(&zone->buddy, pfn, npages, 0);
    lock_drop(&zone->lock);
    relieve(zone);
    zone_keep_below_high(zone);
}

void zone_note_scarce(void) {
    atomic_store_explicit(&scarce, true, memory_order_relaxed);
}

size_t zone_unmap_free(void) {
    size_t total = 0;
    for (struct zone *zone = zone_next(NULL); zone; zone = zone_next(zone)) {
        for (size_t npages; (npages = unmap_some(zone, take_out));) {
            total += npages;
        }
        total += zone_return_pool(zone, 0);
    }
    return total;
}
