#include "zone.h"

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

/* A decay step leaves this much alone: giving it back would save little and cost page faults. */
#define DECAY_FLOOR_PAGES (((size_t)1 << 20) >> PAGE_SHIFT)

/* Blocks smaller than this are left to malloc_trim: a system call each would cost more than it frees. */
#define DECAY_MIN_ORDER 4

/* See purge_min_order. */
#define HUGE_SHARE 16

/* See dirty_allowance. */
#define DIRTY_FLOOR_PAGES (((size_t)1 << 20) >> PAGE_SHIFT)
#define DIRTY_SHARE 16
#define SHED_MIN_ORDER 4

/* A purge gives up after this many refusals. */
#define REFUSALS_MAX 64

/* Free pageblocks a zone keeps once address space was scarce. */
#define SCARCE_KEEP 2

static _Atomic bool scarce;

static struct {
    struct zone zone[ZONES_MAX];
    unsigned nnodes;
    unsigned nzones; /* those of nodes beyond the last are never looked at: their memory stays untouched */
    uint64_t nodes;  /* bit n: node n may be used */
} zones;

EXPOSE(ZONES, zones.zone);
EXPOSE(ZONE_COUNT, zones.nzones);

/* Which kinds serve a request of a kind, most preferred first. DMA serves only those that ask for it. */
static const struct {
    unsigned nkinds;
    enum zone_kind kind[2];
} zonelists[ZONE_KINDS] = {
    [ZONE_DMA] = {1, {ZONE_DMA}},
    [ZONE_NORMAL] = {2, {ZONE_NORMAL, ZONE_HIGHMEM}},
    [ZONE_HIGHMEM] = {2, {ZONE_HIGHMEM, ZONE_NORMAL}},
};

void zone_init(void) {
    zones.nodes = sys_nodes();
    zones.nnodes = (unsigned)__builtin_popcountll(zones.nodes);
    zones.nzones = (64 - (unsigned)__builtin_clzll(zones.nodes)) * ZONE_KINDS;
    for (unsigned i = 0; i < zones.nzones; i++) {
        if (zones.nodes >> (i / ZONE_KINDS) & 1) {
            struct zone *zone = &zones.zone[i];
            zone->index = (uint8_t)i;
            zone->node = i / ZONE_KINDS;
            zone->kind = i % ZONE_KINDS;
        }
    }
}

unsigned zone_node_count(void) {
    return zones.nnodes;
}

struct zone *zone_of(uintptr_t pfn) {
    unsigned zone = block_zone(pagemap_block(pfn));
    ASSERT(zone);
    return &zones.zone[zone - 1];
}

struct zone *zone_next(struct zone *after) {
    for (struct zone *z = after ? after + 1 : zones.zone; z < zones.zone + zones.nzones; z++) {
        if (counter_read(&z->grown)) {
            return z;
        }
    }
    return NULL;
}

void zone_each_lock(void (*visit)(struct lock *lock)) {
    for (unsigned i = 0; i < zones.nzones; i++) {
        if (zones.nodes >> (i / ZONE_KINDS) & 1) {
            visit(&zones.zone[i].lock);
        }
    }
}

bool zone_wants_huge(void) {
    size_t free_pages = 0;
    for (struct zone *zone = zone_next(NULL); zone; zone = zone_next(zone)) {
        free_pages += counter_read(&zone->buddy.free_pages);
    }
    size_t mapped = region_footprint(), unused = free_pages << PAGE_SHIFT;
    return options.hugepages && mapped - min_size(mapped, unused) >= options.huge_threshold;
}

static bool zone_grow(struct zone *zone) {
    bool huge = zone->kind == ZONE_NORMAL && zone_wants_huge();
    struct region region =
        region_map(huge ? REGION_HUGE : REGION_SMALL, REGION_LEAST, huge, zones.nnodes > 1 ? zone->node + 1 : 0);
    if (!region.npages) {
        return false;
    }
    lock_take(&zone->lock);
    for (size_t i = 0; i < region.npages; i += BLOCK_PAGES) {
        struct block *block = pagemap_block(region.pfn + i);
        block_set_zone(block, zone->index + 1u);
        block_set_huge(block, region.huge);
        buddy_add_block(&zone->buddy, region.pfn + i);
    }
    counter_add(&zone->mapped_pages, region.npages);
    zone->mapped_peak = max_size(zone->mapped_peak, zone->mapped_pages);
    counter_add(&zone->grown, 1);
    lock_drop(&zone->lock);
    return true;
}

/* A block on its way out of memory. Its struct page belongs to the list of isolated blocks meanwhile. */
struct isolated {
    uintptr_t pfn; /* 0: none */
    size_t npages, ndirty;
};

static struct isolated isolated_at(uintptr_t pfn) {
    const struct page *page = pagemap_page(pfn);
    return (struct isolated){.pfn = pfn, .npages = (size_t)1 << page->order, .ndirty = page->extra};
}

/* Takes a dirty block out for purging; it is nobody else's until isolate_end. */
static struct isolated isolate(struct zone *zone, unsigned min_order) {
    struct isolated out = {0};
    unsigned order;
    lock_take(&zone->lock);
    uintptr_t pfn = buddy_take_dirty(&zone->buddy, min_order, &order);
    if (pfn) {
        struct page *page = pagemap_page(pfn);
        page->state = PAGE_ISOLATED;
        page->link = zone->isolated;
        zone->isolated = pfn;
        out = isolated_at(pfn);
        zone->isolated_pages += out.npages;
    }
    lock_drop(&zone->lock);
    return out;
}

/* With the lock. The list is short: at most what the threads now purging hold. */
static void isolated_remove(struct zone *zone, struct isolated block) {
    struct page *page = pagemap_page(block.pfn);
    if (zone->isolated == block.pfn) {
        zone->isolated = page->link;
    } else {
        struct page *at = pagemap_page(zone->isolated);
        while (at->link != block.pfn) {
            at = pagemap_page(at->link);
        }
        at->link = page->link;
    }
    page->state = PAGE_BODY;
    zone->isolated_pages -= block.npages;
}

static void isolate_end(struct zone *zone, struct isolated block, bool purged) {
    lock_take(&zone->lock);
    isolated_remove(zone, block);
    if (purged) {
        buddy_mark_fresh(block.pfn, block.npages);
        zone->purged_pages += block.ndirty;
    }
    buddy_free(&zone->buddy, block.pfn, block.npages, 0);
    zone->dirty_low = min_size(zone->dirty_low, zone->buddy.dirty_pages);
    lock_drop(&zone->lock);
}

void zone_fork_child(void) {
    for (struct zone *zone = zone_next(NULL); zone; zone = zone_next(zone)) {
        while (zone->isolated) {
            isolate_end(zone, isolated_at(zone->isolated), false);
        }
    }
}

void zone_break_huge(uintptr_t pfn) {
    struct block *block = pagemap_block(pfn);
    if (block_huge(block)) {
        sys_advise(pfn_pointer(pfn & ~(BLOCK_PAGES - 1)), BLOCK_BYTES, SYS_NOHUGEPAGE);
        block_set_huge(block, false);
    }
}

/* The memory of an isolated block goes back. */
static bool purge_block(struct isolated block) {
    if (block.npages < BLOCK_PAGES) {
        zone_break_huge(block.pfn);
    }
    return region_purge(block.pfn, block.npages);
}

/* Purges until KEEP_PAGES dirty pages are left. A block the kernel refuses to take (locked by the program) stays
 * isolated until the end, so that it does not stand before the others. Returns the dirty pages given back. */
static size_t purge_down_to(struct zone *zone, size_t keep_pages, unsigned min_order) {
    struct isolated refused[REFUSALS_MAX];
    size_t total = 0, nrefused = 0;
    region_purging = true;
    while (counter_read(&zone->buddy.dirty_pages) > keep_pages && nrefused < REFUSALS_MAX) {
        struct isolated block = isolate(zone, min_order);
        if (!block.pfn) {
            break;
        }
        if (purge_block(block)) {
            total += block.ndirty;
            isolate_end(zone, block, true);
        } else {
            refused[nrefused++] = block;
        }
    }
    while (nrefused) {
        isolate_end(zone, refused[--nrefused], false);
    }
    region_purging = false;
    return total;
}

/* The least order to purge: the USUAL one; in a heap of huge pages whole ones only, unless so much is free that the
 * huge pages around smaller blocks are no great loss. */
static unsigned purge_min_order(const struct zone *zone, unsigned usual) {
    size_t mapped = counter_read(&zone->mapped_pages), used = mapped - counter_read(&zone->buddy.free_pages);
    bool huge = options.hugepages && mapped << PAGE_SHIFT >= options.huge_threshold;
    return huge && counter_read(&zone->buddy.dirty_pages) < used / HUGE_SHARE ? MAX_ORDER : usual;
}

/* The dirty pages a zone may keep while it takes fresh ones: its peak then stays near what is in use. */
static size_t dirty_allowance(const struct zone *zone) {
    return DIRTY_FLOOR_PAGES +
           (counter_read(&zone->mapped_pages) - counter_read(&zone->buddy.free_pages)) / DIRTY_SHARE;
}

/* What may be resident now: everything mapped but the fresh pages in free lists. Unlocked reads: an estimate. */
static size_t resident_pages(void) {
    size_t fresh = 0;
    for (struct zone *zone = zone_next(NULL); zone; zone = zone_next(zone)) {
        size_t all = counter_read(&zone->buddy.free_pages), dirty = counter_read(&zone->buddy.dirty_pages);
        fresh += all - min_size(dirty, all);
    }
    size_t mapped = region_footprint() >> PAGE_SHIFT;
    return mapped - min_size(fresh, mapped);
}

void zone_shed(size_t npages) {
    static _Atomic size_t peak;
    size_t now = resident_pages(), before = atomic_load_explicit(&peak, memory_order_relaxed);
    if (now <= before || options.decay_ms < 0) {
        return;
    }
    for (struct zone *zone = zone_next(NULL); zone; zone = zone_next(zone)) {
        size_t dirty = counter_read(&zone->buddy.dirty_pages), allowance = dirty_allowance(zone);
        if (dirty > allowance) {
            purge_down_to(zone, max_size(allowance, dirty - min_size(dirty, npages)),
                          purge_min_order(zone, SHED_MIN_ORDER));
        }
    }
    now = resident_pages();
    if (now > before) {
        atomic_store_explicit(&peak, now, memory_order_relaxed);
    }
}

static uintptr_t zone_take(struct zone *zone, enum buddy_group group, size_t npages, unsigned align_order) {
    lock_take(&zone->lock);
    size_t before = zone->buddy.fresh_taken;
    uintptr_t pfn = buddy_alloc(&zone->buddy, npages, align_order, group);
    zone->dirty_low = min_size(zone->dirty_low, zone->buddy.dirty_pages);
    zone->allocs += pfn != 0;
    size_t grown = zone->buddy.fresh_taken - before;
    lock_drop(&zone->lock);
    if (grown) {
        zone_shed(grown);
    }
    return pfn;
}

static uintptr_t zone_take_or_grow(struct zone *zone, enum buddy_group group, size_t npages, unsigned align_order) {
    uintptr_t pfn = zone_take(zone, group, npages, align_order);
    /* Another thread may empty a new region first; it got the memory, so trying again ends. */
    while (!pfn && zone_grow(zone)) {
        pfn = zone_take(zone, group, npages, align_order);
    }
    return pfn;
}

uintptr_t zone_alloc(unsigned node, enum zone_kind kind, enum buddy_group group, size_t npages, unsigned align_order) {
    ASSERT(npages && npages <= BLOCK_PAGES && align_order <= MAX_ORDER);
    for (unsigned i = 0; i < NODES_MAX; i++) {
        unsigned at = (node + i) % NODES_MAX;
        for (unsigned k = 0; zones.nodes >> at & 1 && k < zonelists[kind].nkinds; k++) {
            struct zone *zone = &zones.zone[at * ZONE_KINDS + zonelists[kind].kind[k]];
            uintptr_t pfn = zone_take_or_grow(zone, group, npages, align_order);
            if (pfn) {
                return pfn;
            }
        }
    }
    return 0;
}

uintptr_t zone_alloc_fit(unsigned node, enum zone_kind kind, enum buddy_group group, size_t *npages, size_t least) {
    struct zone *zone = &zones.zone[node * ZONE_KINDS + kind];
    lock_take(&zone->lock);
    *npages = buddy_fit(&zone->buddy, *npages, least, group);
    lock_drop(&zone->lock);
    return zone_alloc(node, kind, group, *npages, 0);
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

size_t zone_purge(struct zone *zone, size_t keep_pages) {
    return purge_down_to(zone, keep_pages, 0);
}

size_t zone_trim(void) {
    size_t total = 0;
    for (struct zone *zone = zone_next(NULL); zone; zone = zone_next(zone)) {
        total += zone_purge(zone, 0);
    }
    return total;
}

/* With the lock: takes a free pageblock out, and the one it shares 4 MiB with if that is free too. Returns how many. */
static size_t take_out(struct zone *zone, uintptr_t *pfn) {
    *pfn = buddy_remove_block(&zone->buddy);
    if (!*pfn) {
        return 0;
    }
    uintptr_t mate = *pfn ^ BLOCK_PAGES;
    bool both = block_zone(pagemap_block(mate)) == zone->index + 1u && buddy_remove_this(&zone->buddy, mate);
    *pfn = both ? min_size(*pfn, mate) : *pfn;
    return both ? 2 : 1;
}

static void set_zone(struct zone *zone, uintptr_t pfn, size_t nblocks, unsigned index) {
    for (size_t i = 0; i < nblocks; i++) {
        block_set_zone(pagemap_block(pfn + i * BLOCK_PAGES), index);
    }
    counter_add(&zone->mapped_pages, index ? nblocks * BLOCK_PAGES : -(nblocks * BLOCK_PAGES));
}

/* Free pageblocks leave the zone, or come back if the kernel refuses. Returns the pages unmapped. */
static size_t unmap_some(struct zone *zone) {
    uintptr_t pfn;
    lock_take(&zone->lock);
    size_t nblocks = take_out(zone, &pfn);
    if (nblocks) {
        set_zone(zone, pfn, nblocks, 0);
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

/* Where the kernel once refused memory, the program's own mappings need the addresses too: its threads' stacks, say. */
static void relieve(struct zone *zone) {
    if (unlikely(atomic_load_explicit(&scarce, memory_order_relaxed)) &&
        counter_read(&zone->buddy.area[MAX_ORDER].nr_free) > SCARCE_KEEP) {
        unmap_some(zone);
    }
}

void zone_free(uintptr_t pfn, size_t npages, size_t ntouched) {
    struct zone *zone = zone_of(pfn);
    lock_take(&zone->lock);
    buddy_free(&zone->buddy, pfn, npages, ntouched);
    lock_drop(&zone->lock);
    relieve(zone);
}

void zone_free_mask(uintptr_t pfn, size_t npages, uint64_t touched) {
    struct zone *zone = zone_of(pfn);
    lock_take(&zone->lock);
    buddy_set_fresh_mask(pfn, npages, ~touched);
    buddy_free(&zone->buddy, pfn, npages, 0);
    lock_drop(&zone->lock);
    relieve(zone);
}

void zone_note_scarce(void) {
    atomic_store_explicit(&scarce, true, memory_order_relaxed);
}

size_t zone_unmap_free(void) {
    size_t total = 0;
    for (struct zone *zone = zone_next(NULL); zone; zone = zone_next(zone)) {
        for (size_t npages; (npages = unmap_some(zone));) {
            total += npages;
        }
    }
    return total;
}

size_t zone_dirty_pages(void) {
    size_t dirty = 0;
    for (struct zone *zone = zone_next(NULL); zone; zone = zone_next(zone)) {
        dirty += counter_read(&zone->buddy.dirty_pages);
    }
    return dirty;
}

/* Ends an interval: the dirty pages there are, and in *IDLE how many there were at least. */
static size_t decay_step(struct zone *zone, size_t *idle) {
    lock_take(&zone->lock);
    size_t dirty = zone->buddy.dirty_pages;
    *idle = min_size(zone->dirty_low, dirty);
    zone->dirty_low = dirty;
    lock_drop(&zone->lock);
    return dirty;
}

void zone_decay(uint64_t now_ms) {
    if (options.decay_ms < 0) {
        return;
    }
    for (struct zone *zone = zone_next(NULL); zone; zone = zone_next(zone)) {
        uint64_t due = atomic_load_explicit(&zone->decay_at, memory_order_relaxed);
        if (now_ms < due ||
            !atomic_compare_exchange_strong_explicit(&zone->decay_at, &due, now_ms + (uint64_t)options.decay_ms,
                                                     memory_order_relaxed, memory_order_relaxed)) {
            continue;
        }
        size_t idle, dirty = decay_step(zone, &idle);
        if (options.decay_ms == 0) {
            purge_down_to(zone, 0, 0);
        } else if (idle > DECAY_FLOOR_PAGES) {
            purge_down_to(zone, dirty - idle / 2, purge_min_order(zone, DECAY_MIN_ORDER));
        }
    }
}

size_t zone_decay_all(void) {
    size_t total = 0;
    for (struct zone *zone = zone_next(NULL); zone; zone = zone_next(zone)) {
        size_t idle, dirty = decay_step(zone, &idle);
        if (idle > DECAY_FLOOR_PAGES) {
            total += purge_down_to(zone, dirty - idle, purge_min_order(zone, 0));
        }
    }
    return total;
}
