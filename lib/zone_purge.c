/*
 * zone_purge.c: zone.h's half that gives memory back: isolation, decay, watermarks.
 *
 * A block on its way back to the kernel is in no list and nobody's meanwhile (isolated), so that the zone's lock is
 * not held across madvise. Purging always takes the largest dirty blocks first.
 */
#include "zone.h"

#include "mapping.h"
#include "mapping_cache.h"
#include "options.h"
#include "pagemap.h"
#include "region.h"
#include "sys.h"

/* Blocks smaller than this are left to malloc_trim: a system call each would cost more than it frees. */
#define DECAY_MIN_ORDER 4

/* See purge_min_order. */
#define HUGE_SHARE 36

#define SHED_MIN_ORDER 4

/* A growing heap of huge pages is just filling one for each group, whose rest counts as dirty (see buddy.c's
 * open_block): half of each in the mean. */
#define SHED_SPARED (GROUPS * BLOCK_PAGES / 4)

/* Before the peak grows, a freed large block that nobody took for this part of the decay interval goes back. */
#define SHED_HASTE 8

/* A peak that is so much higher is worth another look at what else could be given back. */
#define PEAK_STEP_PAGES (((size_t)1 << 20) >> PAGE_SHIFT)
#define PEAK_STEP_SHARE 32

/* A purge gives up after this many refusals. */
#define REFUSALS_MAX 64

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
    bool outer = region_purging; /* a free on the way of a purge may have to purge itself */
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
    region_purging = outer;
    return total;
}

/* The least order to purge: the USUAL one; in a heap of huge pages whole ones only, unless FEW pages or more are free:
 * then the huge pages around smaller blocks are no great loss. */
static unsigned purge_min_order(const struct zone *zone, unsigned usual, size_t few) {
    bool huge = options.hugepages && counter_read(&zone->mapped_pages) << PAGE_SHIFT >= options.huge_threshold;
    return huge && counter_read(&zone->buddy.dirty_pages) < few ? MAX_ORDER : usual;
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

void zone_keep_below_high(struct zone *zone) {
    if (unlikely(counter_read(&zone->buddy.dirty_pages) > counter_read(&zone->marks.high))) {
        purge_down_to(zone, counter_read(&zone->marks.low), 0);
    }
}

/* The most resident_pages so far, and what it was when zone_peak_step last said that it grew. */
static _Atomic size_t peak, peak_told;

size_t zone_peak_step(void) {
    size_t now = atomic_load_explicit(&peak, memory_order_relaxed);
    size_t before = atomic_load_explicit(&peak_told, memory_order_relaxed);
    bool told =
        now >= before + max_size(PEAK_STEP_PAGES, before / PEAK_STEP_SHARE) &&
        atomic_compare_exchange_strong_explicit(&peak_told, &before, now, memory_order_relaxed, memory_order_relaxed);
    return told ? now - before : 0;
}

/* As many dirty pages go as NPAGES, of those that are more than the zone may keep. */
static void shed(struct zone *zone, size_t npages) {
    size_t dirty = counter_read(&zone->buddy.dirty_pages), allowance = zone_high(zone);
    if (dirty <= allowance) {
        return;
    }
    size_t least = max_size(allowance, counter_read(&zone->marks.min)), keep = dirty - min_size(dirty, npages);
    size_t few = SHED_SPARED + zone_used(zone) / HUGE_SHARE + zone_needed_again(zone);
    size_t purged = purge_down_to(zone, max_size(least, keep), purge_min_order(zone, SHED_MIN_ORDER, few));
    lock_take(&zone->lock);
    counter_add(&zone->shed_pages, purged);
    lock_drop(&zone->lock);
}

void zone_shed(size_t npages) {
    size_t now = resident_pages(), before = atomic_load_explicit(&peak, memory_order_relaxed);
    if (now <= before || options.decay_ms < 0) {
        return;
    }
    if (mapping_cached_bytes()) {
        uint64_t ms = sys_now_ms();
        mapping_cache_decay(ms - min_size(ms, (size_t)options.decay_ms / SHED_HASTE));
    }
    for (struct zone *zone = zone_next(NULL); zone; zone = zone_next(zone)) {
        shed(zone, npages);
    }
    now = resident_pages();
    if (now > before) {
        atomic_store_explicit(&peak, now, memory_order_relaxed);
    }
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

size_t zone_dirty_pages(void) {
    size_t dirty = 0;
    for (struct zone *zone = zone_next(NULL); zone; zone = zone_next(zone)) {
        dirty += counter_read(&zone->buddy.dirty_pages) + counter_read(&zone->buddy.pool_pages);
    }
    return dirty;
}

/* Ends an interval: the dirty pages there are, and in *IDLE how many there were at least. */
static size_t decay_step(struct zone *zone, size_t *idle) {
    lock_take(&zone->lock);
    size_t dirty = zone->buddy.dirty_pages;
    *idle = min_size(zone->dirty_low, dirty);
    zone->dirty_low = dirty;
    counter_sub(&zone->shed_pages, zone->shed_pages / 2);
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
        size_t min = counter_read(&zone->marks.min);
        zone_return_pool(zone, options.decay_ms ? counter_read(&zone->buddy.pool_pages) / 2 : 0);
        if (options.decay_ms == 0) {
            purge_down_to(zone, min, 0);
        } else if (idle > counter_read(&zone->marks.low)) {
            purge_down_to(zone, max_size(dirty - idle / 2, min),
                          purge_min_order(zone, DECAY_MIN_ORDER, zone_used(zone) / HUGE_SHARE));
        }
    }
}

size_t zone_decay_all(void) {
    size_t total = 0;
    for (struct zone *zone = zone_next(NULL); zone; zone = zone_next(zone)) {
        size_t idle, dirty = decay_step(zone, &idle);
        if (idle > counter_read(&zone->marks.low)) {
            size_t keep = max_size(dirty - idle, counter_read(&zone->marks.min));
            total += purge_down_to(zone, keep, purge_min_order(zone, 0, zone_used(zone) / HUGE_SHARE));
        }
        total += zone_return_pool(zone, 0);
    }
    return total;
}
