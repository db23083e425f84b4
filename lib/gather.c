#include "gather.h"

#include "magazine.h"
#include "mapping.h"
#include "meta.h"
#include "page.h"
#include "region.h"
#include "sys.h"

static void gather_class(struct snapshot *snapshot, const struct owner *owner, unsigned class) {
    size_t before = snapshot->class[class].out;
    for (unsigned bin = 0; bin < SLAB_BINS; bin++) {
        for (const struct slab *slab = owner->cache[class].list[bin]; slab; slab = slab->next) {
            snapshot_add_slab(snapshot, slab);
        }
    }
    snapshot_add_magazine(snapshot, class, &owner->cache[class], magazine_count(owner, class),
                          snapshot->class[class].out - before);
}

static void gather_owner(struct snapshot *snapshot, struct owner *owner) {
    owner_lock(owner);
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        gather_class(snapshot, owner, class);
    }
    snapshot->stats.run_cached_bytes += counter_read(&owner->run_cache_pages) << PAGE_SHIFT;
    snapshot->stats.page_cached_bytes += page_cache_pages(owner) << PAGE_SHIFT;
    snapshot->page_cache_hits += page_cache_hits(owner);
    snapshot->stats.owners_active += owner_active(owner);
    snapshot->stats.lock_waits += owner->lock->waits;
    owner_unlock(owner);
}

static bool gather_block(uintptr_t pfn, struct block *block, void *arg) {
    struct snapshot_zone *zone = arg;
    (void)pfn;
    if (block_zone(block) == zone->node * ZONE_KINDS + zone->kind + 1u) {
        snapshot_add_block(zone, block);
    }
    return true;
}

static bool next_zone(const struct snapshot *snapshot, const void **place, struct snapshot_zone *out) {
    (void)snapshot;
    struct zone *zone = zone_next((struct zone *)*place);
    if (!zone) {
        return false;
    }
    *place = zone;
    lock_take(&zone->lock);
    snapshot_set_zone(out, zone);
    pagemap_each_block(gather_block, out);
    lock_drop(&zone->lock);
    return true;
}

static void gather_zone(struct snapshot *snapshot, struct zone *zone) {
    struct snapshot_zone now;
    lock_take(&zone->lock);
    snapshot_set_zone(&now, zone);
    lock_drop(&zone->lock);
    snapshot_add_zone(snapshot, &now);
}

static void gather_mappings(struct snapshot *snapshot) {
    struct mapping_totals totals = mapping_totals();
    snapshot->stats.mapping_bytes = totals.live_bytes;
    snapshot->stats.mappings = totals.live_count;
    snapshot->stats.mapping_cached_bytes = totals.cached_bytes;
    snapshot->mapping_peak_bytes = totals.peak_bytes;
    snapshot->mapping_peak_count = totals.peak_count;
}

void snapshot_gather(struct snapshot *snapshot) {
    snapshot_init(snapshot, sys_pid());
    snapshot->next_zone = next_zone;
    owner_settle();
    snapshot->owners = owner_count();
    for (uint32_t id = 1; id <= snapshot->owners; id++) {
        gather_owner(snapshot, owner_by_id(id));
    }
    for (struct zone *zone = zone_next(NULL); zone; zone = zone_next(zone)) {
        gather_zone(snapshot, zone);
    }
    gather_mappings(snapshot);
    snapshot->pages_out = page_pages_out();
    snapshot->stats.metadata_bytes = meta_mapped();
    snapshot->stats.mapped_bytes = region_footprint();
    snapshot_finish(snapshot);
}
