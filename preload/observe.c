#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "observe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "observer.h"

#define TRIES 5
#define WAIT_US 2000

#define OWNERS_BATCH 16

/* --- Slabs, by the page map --- */

static bool is_sound(struct observer *o, const struct slab *slab, uintptr_t page) {
    const struct snapshot_cache *of = observed_class(o, slab->class);
    size_t bytes = of ? of->bytes : 0;
    return bytes && slab->base - page < PAGE_BYTES && slab->bytes == bytes && slab->npages && slab->npages <= 64 &&
           slab->nobjects == min_size(((size_t)slab->npages << PAGE_SHIFT) / bytes, SLAB_OBJECTS_MAX) &&
           slab->nfree <= slab->nobjects;
}

static void flush_slabs(struct observer *o) {
    struct slab slab[SLABS_BATCH];
    bool read[SLABS_BATCH];
    target_read_each(o->target, o->slab, o->nslabs, slab, sizeof *slab, read);
    for (size_t i = 0; i < o->nslabs; i++) {
        if (read[i] && is_sound(o, &slab[i], o->base[i])) {
            snapshot_add_slab(observed_class(o, slab[i].class), &slab[i]);
        } else {
            o->torn = true;
        }
    }
    o->nslabs = 0;
}

static void observe_page(struct observer *o, const struct page *page, uintptr_t pfn) {
    if (page->state != PAGE_SLAB || page->extra) {
        return; /* not a slab's first */
    }
    o->slab[o->nslabs] = page->link;
    o->base[o->nslabs] = pfn << PAGE_SHIFT;
    if (++o->nslabs == SLABS_BATCH) {
        flush_slabs(o);
    }
}

static void observe_block(struct observer *o, const struct block *block, uintptr_t pages, uintptr_t pfn) {
    if (!block->zone) {
        snapshot_add_pool_block(&o->out->snapshot, block);
        return;
    }
    if (block->zone > o->nzones || block->group >= GROUPS || block->longest > BLOCK_PAGES) {
        o->torn = true;
        return;
    }
    snapshot_add_block(&o->out->zone[block->zone - 1], block);
    struct page page[BLOCK_PAGES];
    if (block->longest < BLOCK_PAGES && read_at(o, pages, page, sizeof page)) {
        for (size_t i = 0; i < BLOCK_PAGES; i++) {
            observe_page(o, &page[i], pfn + i);
        }
    }
}

static void observe_chunk(struct observer *o, uintptr_t chunk, uintptr_t pfn) {
    struct block block[CHUNK_BLOCKS];
    if (!read_at(o, chunk + offsetof(struct chunk, block), block, sizeof block)) {
        return;
    }
    for (size_t i = 0; i < CHUNK_BLOCKS; i++) {
        size_t first = i * BLOCK_PAGES;
        observe_block(o, &block[i], chunk + offsetof(struct chunk, page) + first * sizeof(struct page), pfn + first);
    }
}

static void observe_leaf(struct observer *o, uintptr_t leaf, uintptr_t pfn) {
    uintptr_t chunk[LEAF_CHUNKS];
    if (!read_at(o, leaf + offsetof(struct leaf, chunk), chunk, sizeof chunk)) {
        return;
    }
    for (size_t i = 0; i < LEAF_CHUNKS; i++) {
        if (chunk[i]) {
            observe_chunk(o, chunk[i], pfn + i * CHUNK_PAGES);
        }
    }
}

static void observe_pagemap(struct observer *o) {
    uintptr_t map = address_of(o, EXPOSED_PAGEMAP), root[1024];
    size_t low = read_size(o, EXPOSED_PAGEMAP_LOW), high = read_size(o, EXPOSED_PAGEMAP_HIGH);
    for (size_t top = low; top <= high && top < ROOT_SIZE; top += sizeof root / sizeof *root) {
        size_t n = min_size(min_size(high + 1, ROOT_SIZE) - top, sizeof root / sizeof *root);
        if (!read_at(o, map + offsetof(struct pagemap, root) + top * sizeof *root, root, n * sizeof *root)) {
            return;
        }
        for (size_t i = 0; i < n; i++) {
            if (root[i]) {
                observe_leaf(o, map + root[i], (top + i) << LEAF_SHIFT);
            }
        }
    }
    flush_slabs(o);
}

/* --- Owners --- */

static void observe_page_cache(struct observer *o, const struct owner *owner) {
    struct page_cache cache;
    if (owner->page_cache && read_at(o, (uintptr_t)owner->page_cache, &cache, sizeof cache)) {
        o->out->snapshot.stats.page_cached_bytes += cache.pages << PAGE_SHIFT;
        o->out->snapshot.page_cache_hits += cache.hits;
    }
}

static void observe_owner(struct observer *o, const struct owner *owner, uint32_t id) {
    struct slabmalloc_stats *stats = &o->out->snapshot.stats;
    struct lock lock = {0};
    if (owner->magazines.tag != id << TAG_CLASS_BITS || !read_at(o, (uintptr_t)owner->lock, &lock, sizeof lock)) {
        o->torn = true;
        return;
    }
    observe_magazines(o, owner);
    observe_page_cache(o, owner);
    stats->run_cached_bytes += owner->run_cache_pages << PAGE_SHIFT;
    stats->owners_active += owner->state == OWNER_ACTIVE;
    stats->lock_waits += lock.waits;
}

/* The addresses of owners FIRST, FIRST + 1, ...; how many of COUNT. */
static size_t owners_at(struct observer *o, uint32_t first, uint32_t count, uintptr_t at[OWNERS_BATCH]) {
    size_t n = min_size(count + 1 - first, OWNERS_BATCH);
    return read_at(o, address_of(o, EXPOSED_OWNERS) + first * sizeof *at, at, n * sizeof *at) ? n : 0;
}

static void observe_owners(struct observer *o) {
    static struct owner owner[OWNERS_BATCH];
    uintptr_t at[OWNERS_BATCH];
    bool read[OWNERS_BATCH];
    uint32_t count = (uint32_t)min_size(read_word(o, EXPOSED_OWNER_COUNT), OWNERS_MAX - 1);
    o->out->snapshot.owners = count;
    for (uint32_t id = 1; id <= count; id += OWNERS_BATCH) {
        size_t n = owners_at(o, id, count, at);
        target_read_each(o->target, at, n, owner, sizeof *owner, read);
        for (size_t i = 0; i < n; i++) {
            if (read[i]) {
                observe_owner(o, &owner[i], id + (uint32_t)i);
            }
            o->torn |= !read[i];
        }
    }
}

/* Slow calls of all threads so far: each that begins changes it. */
static uint64_t slow_calls(struct observer *o) {
    uint64_t sum = 0;
    uintptr_t at[OWNERS_BATCH];
    uint32_t count = (uint32_t)min_size(read_word(o, EXPOSED_OWNER_COUNT), OWNERS_MAX - 1);
    for (uint32_t id = 1; id <= count; id += OWNERS_BATCH) {
        size_t n = owners_at(o, id, count, at);
        for (size_t i = 0; i < n; i++) {
            uint32_t calls = 0;
            read_at(o, at[i] + offsetof(struct owner, slow_calls), &calls, sizeof calls);
            sum += calls;
        }
    }
    return sum + count;
}

/* --- Zones --- */

/* Free lists and totals agree: it was not read in the middle of a change. */
static bool zone_adds_up(const struct snapshot_zone *zone) {
    size_t pages = 0;
    for (unsigned order = 0; order < NORDERS; order++) {
        size_t count = 0;
        for (unsigned i = 0; i < GROUPS * KINDS; i++) {
            count += zone->list[i / KINDS][i % KINDS][order];
        }
        pages += zone->nr_free[order] << order;
        if (count != zone->nr_free[order]) {
            return false;
        }
    }
    return pages == zone->free_pages && zone->free_pages <= zone->mapped_pages && zone->dirty_pages <= pages;
}

static bool read_zones(struct observer *o, struct zone *zone) {
    return read_at(o, address_of(o, EXPOSED_ZONES), zone, o->nzones * sizeof *zone);
}

static void observe_zones(struct observer *o) {
    for (unsigned i = 0; i < o->nzones; i++) {
        const struct zone *from = &o->zone[i];
        struct snapshot_zone *zone = &o->out->zone[i];
        *zone = (struct snapshot_zone){0};
        if (!from->grown) {
            continue;
        }
        if (from->index != i || from->kind != i % ZONE_KINDS || from->node != i / ZONE_KINDS) {
            o->torn = true;
            continue;
        }
        snapshot_set_zone(zone, from);
        o->torn |= !zone_adds_up(zone);
    }
}

static bool zones_moved(struct observer *o) {
    struct zone *now = calloc(o->nzones, sizeof *now);
    bool moved = !now || !read_zones(o, now);
    for (unsigned i = 0; i < o->nzones && !moved; i++) {
        const struct buddy *before = &o->zone[i].buddy, *after = &now[i].buddy;
        moved = before->free_pages != after->free_pages || before->dirty_pages != after->dirty_pages ||
                before->splits != after->splits || before->merges != after->merges ||
                o->zone[i].allocs != now[i].allocs;
    }
    free(now);
    return moved;
}

static bool next_zone(const struct snapshot *snapshot, const void **place, struct snapshot_zone *out) {
    const struct observation *observation = snapshot->source;
    const struct snapshot_zone *end = observation->zone + observation->nzones;
    const struct snapshot_zone *at = *place ? (const struct snapshot_zone *)*place + 1 : observation->zone;
    while (at < end && !at->regions) {
        at++;
    }
    if (at == end) {
        return false;
    }
    *place = at;
    *out = *at;
    return true;
}

/* --- All --- */

static void observe_totals(struct observer *o) {
    struct snapshot *snapshot = &o->out->snapshot;
    struct slabmalloc_stats *stats = &snapshot->stats;
    for (unsigned i = 0; i < o->nzones; i++) {
        snapshot_add_zone(snapshot, &o->out->zone[i]);
    }
    stats->thp_bytes += read_size(o, EXPOSED_MAPPING_THP_PAGES) << PAGE_SHIFT;
    stats->mapping_bytes = read_size(o, EXPOSED_MAPPING_LIVE_PAGES) << PAGE_SHIFT;
    stats->mappings = read_size(o, EXPOSED_MAPPING_LIVE_COUNT);
    stats->mapping_cached_bytes = read_size(o, EXPOSED_MAPPING_CACHED_PAGES) << PAGE_SHIFT;
    snapshot->mapping_peak_bytes = read_size(o, EXPOSED_MAPPING_PEAK_PAGES) << PAGE_SHIFT;
    snapshot->mapping_peak_count = read_size(o, EXPOSED_MAPPING_PEAK_COUNT);
    snapshot->pages_out = read_size(o, EXPOSED_PAGES_OUT);
    stats->metadata_bytes = read_size(o, EXPOSED_META_MAPPED);
    stats->mapped_bytes = read_size(o, EXPOSED_FOOTPRINT);
    struct slob slob;
    struct slob_boot boot;
    if (read_at(o, address_of(o, EXPOSED_SLOB), &slob, sizeof slob) &&
        read_at(o, address_of(o, EXPOSED_SLOB_BOOT), &boot, sizeof boot)) {
        snapshot_add_slob(snapshot, &slob, &boot);
    }
}

/* False: no memory here, or the process is gone. */
static bool observe_once(struct observer *o) {
    struct observation *out = o->out;
    snapshot_init(&out->snapshot, o->target->pid);
    out->snapshot.next_zone = next_zone;
    out->snapshot.next_cache = observed_next_cache;
    out->snapshot.source = out;
    o->torn = false;
    o->nslabs = 0;
    uint64_t calls = slow_calls(o);
    if (!read_zones(o, o->zone) || !observe_caches(o)) {
        return false;
    }
    observe_zones(o);
    observe_pagemap(o);
    observe_owners(o);
    observe_totals(o);
    bool moved = zones_moved(o) || slow_calls(o) != calls;
    out->snapshot.consistent = !moved && !o->torn;
    for (size_t i = 0; i < out->ncaches; i++) {
        snapshot_add_cache(&out->snapshot, &out->cache[i].cache);
    }
    snapshot_finish(&out->snapshot);
    return true;
}

static enum observe_result observe_root(struct target *target, const struct exposed *table, struct observation *out) {
    struct observer o = {.target = target, .table = table, .out = out};
    o.nzones = (unsigned)min_size(read_word(&o, EXPOSED_ZONE_COUNT), ZONES_MAX) / ZONE_KINDS * ZONE_KINDS;
    o.zone = calloc(o.nzones + 1, sizeof *o.zone);
    out->zone = calloc(o.nzones + 1, sizeof *out->zone);
    out->nzones = o.nzones;
    bool done = o.zone && out->zone;
    for (unsigned try = 0; try < TRIES && done; try++) {
        if (try) {
            usleep(WAIT_US << try);
        }
        done = observe_once(&o);
        if (out->snapshot.consistent) {
            break;
        }
    }
    free(o.zone);
    return done ? OBSERVED : OBSERVE_FAILED;
}

/* --- The root --- */

struct search {
    struct target *target;
    struct report_root root;
    bool known; /* this program's own version and layout */
};

static bool is_ours(const struct report_root *root) {
    static const uint32_t layout[REPORT_ROOT_LAYOUT_COUNT] = REPORT_ROOT_LAYOUT;
    return root->bytes == sizeof *root && !strcmp(root->version, LIBRARY_VERSION) &&
           !memcmp(root->layout, layout, sizeof layout);
}

/* In a file that is only mapped, not loaded, the addresses are not those of the process. */
static bool is_loaded(const struct report_root *root, uintptr_t at) {
    const uintptr_t far = (uintptr_t)1 << 30;
    uintptr_t begin = (uintptr_t)root->begin;
    return root->begin < root->end && begin + far > at && begin < at + far;
}

static bool visit_root(uintptr_t at, void *arg) {
    struct search *search = arg;
    struct report_root *root = &search->root;
    if (!target_read(search->target, at, root, sizeof *root) ||
        memcmp(root->magic, REPORT_ROOT_MAGIC, sizeof root->magic)) {
        return false;
    }
    root->version[sizeof root->version - 1] = 0;
    search->known = is_ours(root);
    return !search->known || is_loaded(root, at);
}

/* The layers' state, by id; false: something is missing. */
static bool read_table(struct target *target, const struct report_root *root, struct exposed table[EXPOSED_COUNT]) {
    struct exposed entry[EXPOSED_COUNT];
    size_t n = ((uintptr_t)root->end - (uintptr_t)root->begin) / sizeof *entry, known = 0;
    if (n != EXPOSED_COUNT || !target_read(target, (uintptr_t)root->begin, entry, sizeof entry)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (entry[i].id < EXPOSED_COUNT) {
            table[entry[i].id] = entry[i];
            known |= (size_t)1 << entry[i].id;
        }
    }
    return known == ((size_t)1 << EXPOSED_COUNT) - 1;
}

static enum observe_result why_not_found(void) {
    switch (errno) {
    case ESRCH:
        return OBSERVE_NO_PROCESS;
    case EACCES:
    case EPERM:
        return OBSERVE_NO_RIGHT;
    case ENOEXEC:
        return OBSERVE_NO_MEMORY;
    case ENOENT:
        return OBSERVE_NO_LIBRARY;
    default:
        return OBSERVE_FAILED;
    }
}

/* The target may be anybody's: nothing of it that a terminal would obey. */
static void copy_printable(char *to, const char *from) {
    for (; *from; from++) {
        *to++ = *from >= ' ' && *from <= '~' ? *from : '?';
    }
    *to = 0;
}

static enum observe_result observe_target(struct target *target, struct observation *out, char version[32]) {
    struct search search = {.target = target};
    struct exposed table[EXPOSED_COUNT];
    if (target_find_symbol(target, REPORT_ROOT_SYMBOL, visit_root, &search)) {
        return why_not_found();
    }
    copy_printable(version, search.root.version);
    if (!search.known || !read_table(target, &search.root, table)) {
        return OBSERVE_OTHER_VERSION;
    }
    return observe_root(target, table, out);
}

enum observe_result observe(pid_t pid, struct observation *out, char version[32]) {
    struct target target;
    out->zone = NULL;
    out->cache = NULL;
    *version = 0;
    target_open(&target, pid);
    enum observe_result result = observe_target(&target, out, version);
    int saved = errno;
    target_close(&target);
    errno = saved;
    return result;
}

void observe_free(struct observation *observation) {
    free(observation->zone);
    free(observation->cache);
}
