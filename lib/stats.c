#include "stats.h"

#include <string.h>

#include "kmem_cache.h"
#include "magazine.h"
#include "mapping.h"
#include "meta.h"
#include "page.h"
#include "region.h"
#include "zone.h"

static void add_class(struct slabmalloc_stats *stats, struct owner *owner, unsigned class) {
    size_t out = 0;
    for (unsigned bin = 0; bin < SLAB_BINS; bin++) {
        for (const struct slab *slab = owner_cache(owner, class)->list[bin]; slab; slab = slab->next) {
            out += slab->nobjects - slab->nfree;
            stats->slab_bytes += (size_t)slab->npages << PAGE_SHIFT;
            stats->slabs++;
        }
    }
    if (!out) {
        return;
    }
    size_t bytes = class_bytes(class);
    /* Another thread's magazine may change while it is read: never more than what is out. */
    size_t cached = min_size(magazine_count(owner, class), out);
    stats->magazine_bytes += cached * bytes;
    stats->slab_used_bytes += (out - cached) * bytes;
}

static void add_owner(struct slabmalloc_stats *stats, struct owner *owner) {
    owner_lock(owner);
    for (unsigned class = 0; class < TAG_CLASSES; class = owner_next_class(owner, class)) {
        add_class(stats, owner, class);
    }
    stats->run_cached_bytes += counter_read(&owner->run_cache_pages) << PAGE_SHIFT;
    stats->page_cached_bytes += page_cache_pages(owner) << PAGE_SHIFT;
    stats->owners_active += owner_active(owner);
    stats->lock_waits += owner->lock->waits;
    owner_unlock(owner);
}

static void add_zone(struct slabmalloc_stats *stats, struct zone *zone) {
    lock_take(&zone->lock);
    stats->zone_bytes += zone->mapped_pages << PAGE_SHIFT;
    stats->zone_free_bytes += zone->buddy.free_pages << PAGE_SHIFT;
    stats->zone_dirty_bytes += zone->buddy.dirty_pages << PAGE_SHIFT;
    stats->purged_bytes += zone->purged_pages << PAGE_SHIFT;
    stats->lock_waits += zone->lock.waits;
    lock_drop(&zone->lock);
}

void stats_gather(struct slabmalloc_stats *stats) {
    memset(stats, 0, sizeof *stats);
    owner_settle();
    for (uint32_t id = 1; id <= owner_count(); id++) {
        add_owner(stats, owner_by_id(id));
    }
    kmem_parked(&stats->slabs, &stats->slab_bytes);
    for (struct zone *zone = zone_next(NULL); zone; zone = zone_next(zone)) {
        add_zone(stats, zone);
    }
    struct mapping_totals mappings = mapping_totals();
    stats->mapping_bytes = mappings.live_bytes;
    stats->mappings = mappings.live_count;
    stats->mapping_cached_bytes = mappings.cached_bytes;
    stats->metadata_bytes = meta_mapped();
    size_t zone_out = stats->zone_bytes - stats->zone_free_bytes;
    size_t pages_out = page_pages_out() << PAGE_SHIFT;
    stats->page_bytes = pages_out - min_size(stats->page_cached_bytes, pages_out);
    size_t not_runs = stats->slab_bytes + stats->run_cached_bytes + pages_out;
    stats->run_bytes = zone_out > not_runs ? zone_out - not_runs : 0;
    stats->used_bytes = stats->slab_used_bytes + stats->run_bytes + stats->mapping_bytes + stats->page_bytes;
    stats->mapped_bytes = region_footprint();
}
