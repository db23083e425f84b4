#include "gather.h"

#include "kmem_cache.h"
#include "magazine.h"
#include "mapping.h"
#include "meta.h"
#include "page.h"
#include "region.h"
#include "slob.h"
#include "slob_boot.h"
#include "sys.h"

/* What OWNER has of CLASS. With its lock. */
static void gather_class(struct snapshot_cache *cache, const struct owner *owner, unsigned class) {
    size_t before = cache->out;
    for (unsigned bin = 0; bin < SLAB_BINS; bin++) {
        for (const struct slab *slab = owner_cache(owner, class)->list[bin]; slab; slab = slab->next) {
            snapshot_add_slab(cache, slab);
        }
    }
    snapshot_add_magazine(cache, owner_cache(owner, class), magazine_count(owner, class), cache->out - before);
}

/* --- Object caches --- */

static const struct kmem_class *kmem_at(size_t index) {
    return index < kmem_class_count() ? kmem_class_of(KMEM_CLASS_FIRST + (unsigned)index) : NULL;
}

/* Names, and the slabs that are in no owner's lists. */
static void gather_kmem(const struct kmem_class *kmem, struct snapshot_object_cache *out) {
    size_t sharers = 0;
    lock_take(kmem_lock());
    for (const struct slabmalloc_cache *cache = kmem->caches; cache; cache = cache->next) {
        sharers++;
    }
    snapshot_describe(out, kmem, kmem->caches ? kmem->caches->name : "(destroyed)", sharers);
    for (const struct slab *slab = kmem->parked; slab; slab = slab->next) {
        snapshot_add_slab(&out->cache, slab);
    }
    lock_drop(kmem_lock());
}

/* False: it is not in use. */
static bool gather_cache(const struct kmem_class *kmem, struct snapshot_object_cache *out) {
    gather_kmem(kmem, out);
    for (uint32_t id = 1; id <= owner_count(); id++) {
        struct owner *owner = owner_by_id(id);
        owner_lock(owner);
        const struct class_entry *entry = owner_entry(owner, kmem->class);
        if (entry) {
            gather_class(&out->cache, owner, kmem->class);
            out->cache.cached += kmem_remote_count(entry); /* out of other owners' slabs */
        }
        owner_unlock(owner);
    }
    out->cache.cached = min_size(out->cache.cached, out->cache.out);
    return out->cache.sharers || out->cache.slabs;
}

static bool next_cache(const struct snapshot *snapshot, const void **place, struct snapshot_object_cache *out) {
    const struct kmem_class *before = *place, *kmem;
    (void)snapshot;
    for (size_t i = before ? before->class - KMEM_CLASS_FIRST + 1 : 0; (kmem = kmem_at(i)); i++) {
        if (gather_cache(kmem, out)) {
            *place = kmem;
            return true;
        }
    }
    return false;
}

static void gather_caches(struct snapshot *snapshot) {
    const void *place = NULL;
    struct snapshot_object_cache out;
    while (next_cache(snapshot, &place, &out)) {
        snapshot_add_cache(snapshot, &out.cache);
    }
}

/* --- All --- */

static void gather_owner(struct snapshot *snapshot, struct owner *owner) {
    owner_lock(owner);
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        gather_class(&snapshot->class[class], owner, class);
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
    pagemap_each_block(gather_block, &now);
    lock_drop(&zone->lock);
    snapshot_add_zone(snapshot, &now);
}

static bool gather_pool_block(uintptr_t pfn, struct block *block, void *arg) {
    (void)pfn;
    if (!block_zone(block)) {
        snapshot_add_pool_block(arg, block);
    }
    return true;
}

static void gather_mappings(struct snapshot *snapshot) {
    struct mapping_totals totals = mapping_totals();
    snapshot->stats.mapping_bytes = totals.live_bytes;
    snapshot->stats.mappings = totals.live_count;
    snapshot->stats.mapping_cached_bytes = totals.cached_bytes;
    snapshot->mapping_peak_bytes = totals.peak_bytes;
    snapshot->mapping_peak_count = totals.peak_count;
    snapshot->stats.thp_bytes += totals.thp_bytes;
    pagemap_each_pool_block(gather_pool_block, snapshot);
}

static void gather_slob(struct snapshot *snapshot) {
    struct slob *heap = slob_of_process();
    lock_take(&heap->lock);
    snapshot_add_slob(snapshot, heap, &slob_boot);
    lock_drop(&heap->lock);
}

void snapshot_gather(struct snapshot *snapshot) {
    snapshot_init(snapshot, sys_pid());
    snapshot->next_zone = next_zone;
    snapshot->next_cache = next_cache;
    owner_settle();
    snapshot->owners = owner_count();
    for (uint32_t id = 1; id <= snapshot->owners; id++) {
        gather_owner(snapshot, owner_by_id(id));
    }
    for (struct zone *zone = zone_next(NULL); zone; zone = zone_next(zone)) {
        gather_zone(snapshot, zone);
    }
    gather_caches(snapshot);
    gather_mappings(snapshot);
    snapshot->pages_out = page_pages_out();
    snapshot->stats.metadata_bytes = meta_mapped();
    snapshot->stats.mapped_bytes = region_footprint();
    gather_slob(snapshot);
    snapshot_finish(snapshot);
}
