#include "report.h"
#include "version.h"

/* --- Objects and their members; the first of a list has no comma before it --- */

static void key(struct text *text, const char *name, bool *first) {
    text_add(text, *first ? "" : ",");
    *first = false;
    text_quoted(text, name);
    text_add(text, ":");
}

static void number(struct text *text, const char *name, size_t n, bool *first) {
    key(text, name, first);
    text_number(text, n, 0);
}

static void string(struct text *text, const char *name, const char *value, bool *first) {
    key(text, name, first);
    text_quoted(text, value);
}

static void numbers(struct text *text, const char *name, const size_t *n, size_t count, bool *first) {
    key(text, name, first);
    for (size_t i = 0; i < count; i++) {
        text_add(text, i ? "," : "[");
        text_number(text, n[i], 0);
    }
    text_add(text, "]");
}

static void indices(struct text *text, const char *name, const struct snapshot_zone *zone,
                    int (*index)(const size_t nr_free[NORDERS], unsigned order), bool *first) {
    key(text, name, first);
    for (unsigned order = 0; order < NORDERS; order++) {
        text_add(text, order ? "," : "[");
        text_milli(text, index(zone->nr_free, order), 0);
    }
    text_add(text, "]");
}

/* --- The report --- */

static void stats_json(struct text *text, const struct slabmalloc_stats *s) {
    bool first = true;
    text_add(text, "{");
    number(text, "mapped_bytes", s->mapped_bytes, &first);
    number(text, "metadata_bytes", s->metadata_bytes, &first);
    number(text, "used_bytes", s->used_bytes, &first);
    number(text, "slab_bytes", s->slab_bytes, &first);
    number(text, "slab_used_bytes", s->slab_used_bytes, &first);
    number(text, "magazine_bytes", s->magazine_bytes, &first);
    number(text, "run_bytes", s->run_bytes, &first);
    number(text, "run_cached_bytes", s->run_cached_bytes, &first);
    number(text, "mapping_bytes", s->mapping_bytes, &first);
    number(text, "mapping_cached_bytes", s->mapping_cached_bytes, &first);
    number(text, "zone_bytes", s->zone_bytes, &first);
    number(text, "zone_free_bytes", s->zone_free_bytes, &first);
    number(text, "zone_dirty_bytes", s->zone_dirty_bytes, &first);
    number(text, "purged_bytes", s->purged_bytes, &first);
    number(text, "slabs", s->slabs, &first);
    number(text, "mappings", s->mappings, &first);
    number(text, "owners_active", s->owners_active, &first);
    number(text, "lock_waits", s->lock_waits, &first);
    number(text, "page_bytes", s->page_bytes, &first);
    number(text, "page_cached_bytes", s->page_cached_bytes, &first);
    number(text, "thp_bytes", s->thp_bytes, &first);
    number(text, "hugetlb_bytes", s->hugetlb_bytes, &first);
    number(text, "hugetlb_1g_bytes", s->hugetlb_1g_bytes, &first);
    text_add(text, "}");
}

static void cache_json(struct text *text, const char *name, const struct snapshot_cache *cache) {
    bool first = true;
    text_add(text, "{");
    string(text, "name", name, &first);
    number(text, "object_bytes", cache->object_bytes, &first);
    number(text, "slot_bytes", cache->bytes, &first);
    number(text, "align", cache->align, &first);
    number(text, "sharers", cache->sharers, &first);
    number(text, "used_objects", cache->out - cache->cached, &first);
    number(text, "cached_objects", cache->cached, &first);
    number(text, "free_objects", cache->objects - cache->out, &first);
    number(text, "slabs", cache->slabs, &first);
    number(text, "active_slabs", cache->slabs_active, &first);
    number(text, "pages", cache->pages, &first);
    number(text, "magazine_limit", cache->limit, &first);
    number(text, "magazine_batch", cache->batch, &first);
    text_add(text, "}");
}

static void caches_json(struct text *text, const struct snapshot *snapshot) {
    struct snapshot_object_cache out;
    const void *place = NULL;
    text_add(text, "[");
    while (snapshot->next_cache(snapshot, &place, &out)) {
        cache_json(text, out.name, &out.cache);
        text_add(text, ",");
    }
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        text_add(text, class ? "," : "");
        snapshot_class_name(class, out.name);
        cache_json(text, out.name, &snapshot->class[class]);
    }
    text_add(text, "]");
}

static void types_json(struct text *text, const struct snapshot_zone *zone, enum buddy_kind kind) {
    bool first = true;
    text_add(text, "{");
    for (unsigned group = 0; group < GROUPS; group++) {
        numbers(text, report_group_name(group), zone->list[group][kind], MAX_ORDER, &first);
    }
    text_add(text, "}");
}

static void blocks_json(struct text *text, const struct snapshot_zone *zone) {
    bool first = true;
    text_add(text, "{");
    for (unsigned group = 0; group < GROUPS; group++) {
        number(text, report_group_name(group), zone->blocks[group], &first);
    }
    number(text, "Block", zone->whole_blocks, &first);
    text_add(text, "}");
}

static void zone_json(struct text *text, const struct snapshot_zone *zone) {
    bool first = true;
    text_add(text, "{");
    number(text, "node", zone->node, &first);
    string(text, "name", snapshot_zone_name(zone->kind), &first);
    number(text, "mapped_pages", zone->mapped_pages, &first);
    number(text, "mapped_peak_pages", zone->mapped_peak, &first);
    number(text, "free_pages", zone->free_pages, &first);
    number(text, "dirty_pages", zone->dirty_pages, &first);
    number(text, "isolated_pages", zone->isolated_pages, &first);
    number(text, "purged_pages", zone->purged_pages, &first);
    number(text, "fresh_taken_pages", zone->fresh_taken, &first);
    number(text, "regions", zone->regions, &first);
    number(text, "allocs", zone->allocs, &first);
    number(text, "fallbacks", zone->fallbacks, &first);
    number(text, "misses", zone->misses, &first);
    number(text, "splits", zone->splits, &first);
    number(text, "merges", zone->merges, &first);
    number(text, "lock_waits", zone->lock_waits, &first);
    number(text, "min_pages", zone->min, &first);
    number(text, "low_pages", zone->low, &first);
    number(text, "high_pages", zone->high, &first);
    numbers(text, "protection_pages", zone->protection, ZONE_KINDS, &first);
    numbers(text, "free_blocks", zone->nr_free, NORDERS, &first);
    key(text, "free_dirty", &first);
    types_json(text, zone, KIND_DIRTY);
    key(text, "free_fresh", &first);
    types_json(text, zone, KIND_FRESH);
    indices(text, "unusable_index", zone, report_unusable_index, &first);
    indices(text, "fragmentation_index", zone, report_fragmentation_index, &first);
    key(text, "pageblocks", &first);
    blocks_json(text, zone);
    number(text, "huge_pageblocks", zone->huge_blocks, &first);
    number(text, "thp_pages", zone->backing.thp_pages, &first);
    number(text, "hugetlb_pages", zone->backing.hugetlb_pages, &first);
    number(text, "hugetlb_1g_pages", zone->backing.hugetlb_1g_pages, &first);
    text_add(text, "}");
}

static void zones_json(struct text *text, const struct snapshot *snapshot) {
    struct snapshot_zone zone;
    const void *place = NULL;
    text_add(text, "[");
    for (bool first = true; snapshot->next_zone(snapshot, &place, &zone); first = false) {
        text_add(text, first ? "" : ",");
        zone_json(text, &zone);
    }
    text_add(text, "]");
}

void report_json(struct text *text, const struct snapshot *snapshot) {
    bool first = true;
    text_add(text, "{");
    string(text, "format", "slabmalloc-report", &first);
    number(text, "version", 1, &first);
    string(text, "library", LIBRARY_VERSION, &first);
    number(text, "pid", (size_t)snapshot->pid, &first);
    key(text, "consistent", &first);
    text_add(text, snapshot->consistent ? "true" : "false");
    number(text, "page_size", PAGE_BYTES, &first);
    key(text, "stats", &first);
    stats_json(text, &snapshot->stats);
    number(text, "owners", snapshot->owners, &first);
    number(text, "page_cache_hits", snapshot->page_cache_hits, &first);
    number(text, "mapping_peak_bytes", snapshot->mapping_peak_bytes, &first);
    number(text, "zone_peak_bytes", snapshot->zone_peak_bytes, &first);
    key(text, "caches", &first);
    caches_json(text, snapshot);
    key(text, "zones", &first);
    zones_json(text, snapshot);
    text_add(text, "}\n");
}
