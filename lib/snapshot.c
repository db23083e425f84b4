#include "snapshot.h"

#include <string.h>

#define GIB_SHIFT 30

void snapshot_class_name(unsigned class, char name[SNAPSHOT_NAME]) {
    static const char prefix[] = "kmalloc-";
    char digits[24];
    size_t at = sizeof digits, bytes = sizeclass_bytes(class);
    digits[--at] = 0;
    do {
        digits[--at] = (char)('0' + bytes % 10);
        bytes /= 10;
    } while (bytes);
    memcpy(name, prefix, sizeof prefix);
    memcpy(name + sizeof prefix - 1, digits + at, sizeof digits - at);
}

void snapshot_init(struct snapshot *snapshot, int32_t pid) {
    *snapshot = (struct snapshot){.pid = pid, .consistent = true};
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        size_t bytes = sizeclass_bytes(class);
        snapshot->class[class] = (struct snapshot_cache){
            .bytes = bytes, .object_bytes = bytes, .align = min_size(bytes & -bytes, PAGE_BYTES)};
    }
}

void snapshot_describe(struct snapshot_object_cache *out, const struct kmem_class *kmem, const char *name,
                       size_t sharers) {
    *out = (struct snapshot_object_cache){
        .cache = {.bytes = kmem->slot_bytes,
                  .object_bytes = kmem->object_bytes,
                  .align = kmem->align,
                  .sharers = sharers},
    };
    memcpy(out->name, name, strnlen(name, sizeof out->name - 1));
}

void snapshot_add_slab(struct snapshot_cache *cache, const struct slab *slab) {
    cache->slabs++;
    cache->slabs_active += slab->nfree < slab->nobjects;
    cache->pages += slab->npages;
    cache->objects += slab->nobjects;
    cache->out += (size_t)(slab->nobjects - slab->nfree);
}

void snapshot_add_magazine(struct snapshot_cache *cache, const struct owner_cache *of, size_t count, size_t out) {
    cache->cached += min_size(count, out);
    cache->limit = max_size(cache->limit, __atomic_load_n(&of->capacity, __ATOMIC_RELAXED));
    cache->batch = max_size(cache->batch, __atomic_load_n(&of->batch, __ATOMIC_RELAXED));
}

void snapshot_add_cache(struct snapshot *snapshot, struct snapshot_cache *cache) {
    struct slabmalloc_stats *stats = &snapshot->stats;
    cache->cached = min_size(cache->cached, cache->out);
    stats->slabs += cache->slabs;
    stats->slab_bytes += cache->pages << PAGE_SHIFT;
    stats->magazine_bytes += cache->cached * cache->bytes;
    stats->slab_used_bytes += (cache->out - cache->cached) * cache->bytes;
}

void snapshot_set_zone(struct snapshot_zone *out, const struct zone *zone) {
    *out = (struct snapshot_zone){
        .node = zone->node,
        .kind = zone->kind,
        .mapped_pages = zone->mapped_pages,
        .mapped_peak = zone->mapped_peak,
        .isolated_pages = zone->isolated_pages,
        .free_pages = zone->buddy.free_pages,
        .dirty_pages = zone->buddy.dirty_pages,
        .purged_pages = zone->purged_pages,
        .fresh_taken = zone->buddy.fresh_taken,
        .regions = zone->grown,
        .allocs = zone->allocs,
        .fallbacks = zone->fallbacks,
        .misses = zone->misses,
        .min = zone->marks.min,
        .low = zone->marks.low,
        .high = zone_high(zone),
        .splits = zone->buddy.splits,
        .merges = zone->buddy.merges,
        .lock_waits = zone->lock.waits,
    };
    for (unsigned kind = 0; kind < ZONE_KINDS; kind++) {
        out->protection[kind] = zone_lowmem_reserve(zone, kind);
    }
    for (unsigned order = 0; order < NORDERS; order++) {
        const struct free_area *area = &zone->buddy.area[order];
        out->nr_free[order] = area->nr_free;
        for (unsigned i = 0; i < GROUPS * KINDS; i++) {
            out->list[i / KINDS][i % KINDS][order] = area->list[i / KINDS][i % KINDS].count;
        }
    }
}

/* What is behind NPAGES pages in use of BLOCK. */
static void count_backing(struct snapshot_backing *backing, const struct block *block, size_t npages) {
    unsigned shift = block_pool_shift(block);
    if (shift) {
        *(shift >= GIB_SHIFT ? &backing->hugetlb_1g_pages : &backing->hugetlb_pages) += npages;
    } else if (block_huge(block)) {
        backing->thp_pages += npages;
    }
}

static void add_backing(struct slabmalloc_stats *stats, const struct snapshot_backing *backing) {
    stats->thp_bytes += backing->thp_pages << PAGE_SHIFT;
    stats->hugetlb_bytes += backing->hugetlb_pages << PAGE_SHIFT;
    stats->hugetlb_1g_bytes += backing->hugetlb_1g_pages << PAGE_SHIFT;
}

void snapshot_add_zone(struct snapshot *snapshot, const struct snapshot_zone *zone) {
    struct slabmalloc_stats *stats = &snapshot->stats;
    stats->zone_bytes += zone->mapped_pages << PAGE_SHIFT;
    stats->zone_free_bytes += zone->free_pages << PAGE_SHIFT;
    stats->zone_dirty_bytes += zone->dirty_pages << PAGE_SHIFT;
    stats->purged_bytes += zone->purged_pages << PAGE_SHIFT;
    stats->lock_waits += zone->lock_waits;
    add_backing(stats, &zone->backing);
    snapshot->zone_peak_bytes += zone->mapped_peak << PAGE_SHIFT;
}

void snapshot_add_block(struct snapshot_zone *zone, const struct block *block) {
    if (block->longest == BLOCK_PAGES) {
        zone->whole_blocks++;
    } else {
        zone->blocks[block->group]++;
    }
    zone->huge_blocks += block_huge(block);
    size_t free_pages = 0;
    for (size_t i = 0; i < BLOCK_PAGES / 64; i++) {
        free_pages += (size_t)__builtin_popcountll(block->free[i]);
    }
    count_backing(&zone->backing, block, BLOCK_PAGES - free_pages);
}

void snapshot_add_pool_block(struct snapshot *snapshot, const struct block *block) {
    struct snapshot_backing backing = {0};
    if (block_pool_shift(block)) {
        count_backing(&backing, block, BLOCK_PAGES);
    }
    add_backing(&snapshot->stats, &backing);
}

static size_t boot_free_pages(const struct slob_boot *boot) {
    size_t used = 0;
    for (size_t word = 0; word < BOOT_PAGES / 64; word++) {
        used += (size_t)__builtin_popcountll(boot->used[word]);
    }
    return BOOT_PAGES - used;
}

void snapshot_add_slob(struct snapshot *snapshot, const struct slob *heap, const struct slob_boot *boot) {
    struct slabmalloc_stats *stats = &snapshot->stats;
    for (unsigned list = 0; list <= SLOB_FULL; list++) {
        stats->slab_bytes += heap->npages[list] << PAGE_SHIFT;
    }
    stats->slab_used_bytes += heap->used_units * SLOB_UNIT;
    if (boot->pfn) {
        stats->mapped_bytes += BOOT_PAGES << PAGE_SHIFT;
        stats->zone_bytes += BOOT_PAGES << PAGE_SHIFT;
        stats->zone_free_bytes += boot_free_pages(boot) << PAGE_SHIFT;
        stats->zone_dirty_bytes += counter_read(&boot->ndirty) << PAGE_SHIFT;
    }
}

void snapshot_finish(struct snapshot *snapshot) {
    struct slabmalloc_stats *stats = &snapshot->stats;
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        snapshot_add_cache(snapshot, &snapshot->class[class]);
    }
    size_t zone_out = stats->zone_bytes - min_size(stats->zone_free_bytes, stats->zone_bytes);
    size_t pages_out = snapshot->pages_out << PAGE_SHIFT;
    stats->page_bytes = pages_out - min_size(stats->page_cached_bytes, pages_out);
    size_t not_runs = stats->slab_bytes + stats->run_cached_bytes + pages_out;
    stats->run_bytes = zone_out - min_size(not_runs, zone_out);
    stats->used_bytes = stats->slab_used_bytes + stats->run_bytes + stats->mapping_bytes + stats->page_bytes;
}

const char *snapshot_zone_name(enum zone_kind kind) {
    return kind == ZONE_DMA ? "DMA" : kind == ZONE_NORMAL ? "Normal" : "HighMem";
}
