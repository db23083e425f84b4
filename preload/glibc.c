/*
 * glibc.c: glibc's malloc introspection (mallinfo(3), malloc_info(3), malloc_stats(3), mallopt(3), malloc_trim(3)),
 * answered from a snapshot of the heap. Meanings follow the manual pages as far as they apply: the zones are the arena,
 * own mappings are the mmapped part, magazines are the fast bins, and free chunks are the free objects of slabs and the
 * free blocks of the zones.
 */
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include "gather.h"
#include "heap.h"
#include "text.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT int malloc_trim(size_t pad) {
    (void)pad; /* there is no heap top to leave it at */
    return heap_trim();
}

/* Everything mallopt can set is decided by SLABMALLOC_CONF here; 1 tells callers that nothing went wrong. */
EXPORT int mallopt(int parameter, int value) {
    (void)parameter;
    (void)value;
    return 1;
}

/* Free chunks, by number and bytes. */
struct chunks {
    size_t count, bytes;
};

static void chunks_add(struct chunks *chunks, size_t count, size_t each) {
    chunks->count += count;
    chunks->bytes += count * each;
}

/* What is free in slabs, and by order in all zones. */
static void count_free(const struct snapshot *snapshot, struct chunks slabs[CLASS_COUNT],
                       struct chunks blocks[NORDERS]) {
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        const struct snapshot_cache *cache = &snapshot->class[class];
        chunks_add(&slabs[class], cache->objects - cache->out, cache->bytes);
    }
    struct snapshot_zone zone;
    const void *place = NULL;
    while (snapshot->next_zone(snapshot, &place, &zone)) {
        for (unsigned order = 0; order < NORDERS; order++) {
            chunks_add(&blocks[order], zone.nr_free[order], PAGE_BYTES << order);
        }
    }
}

struct free_memory {
    struct chunks slabs[CLASS_COUNT], blocks[NORDERS]; /* by class, by order */
    struct chunks fast, rest;                          /* in magazines; all of the above */
};

static void free_memory(const struct snapshot *snapshot, struct free_memory *all) {
    *all = (struct free_memory){0};
    count_free(snapshot, all->slabs, all->blocks);
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        chunks_add(&all->fast, snapshot->class[class].cached, snapshot->class[class].bytes);
        all->rest.count += all->slabs[class].count;
        all->rest.bytes += all->slabs[class].bytes;
    }
    for (unsigned order = 0; order < NORDERS; order++) {
        all->rest.count += all->blocks[order].count;
        all->rest.bytes += all->blocks[order].bytes;
    }
}

EXPORT struct mallinfo2 mallinfo2(void) {
    struct snapshot snapshot;
    struct free_memory unused;
    snapshot_gather(&snapshot);
    free_memory(&snapshot, &unused);
    const struct slabmalloc_stats *s = &snapshot.stats;
    size_t used = s->slab_used_bytes + s->run_bytes;
    return (struct mallinfo2){
        .arena = s->zone_bytes,
        .ordblks = unused.rest.count,
        .smblks = unused.fast.count,
        .hblks = s->mappings,
        .hblkhd = s->mapping_bytes,
        .fsmblks = unused.fast.bytes,
        .uordblks = used,
        .fordblks = s->zone_bytes - min_size(used, s->zone_bytes),
        .keepcost = s->zone_dirty_bytes + s->mapping_cached_bytes,
    };
}

static int clamp(size_t n) {
    return (int)min_size(n, INT_MAX);
}

EXPORT struct mallinfo mallinfo(void) {
    struct mallinfo2 m = mallinfo2();
    return (struct mallinfo){
        .arena = clamp(m.arena),
        .ordblks = clamp(m.ordblks),
        .smblks = clamp(m.smblks),
        .hblks = clamp(m.hblks),
        .hblkhd = clamp(m.hblkhd),
        .fsmblks = clamp(m.fsmblks),
        .uordblks = clamp(m.uordblks),
        .fordblks = clamp(m.fordblks),
        .keepcost = clamp(m.keepcost),
    };
}

/* The maxima of mappings are over the life of the process. */
EXPORT void malloc_stats(void) {
    struct snapshot snapshot;
    snapshot_gather(&snapshot);
    const struct slabmalloc_stats *s = &snapshot.stats;
    const struct {
        const char *title;
        size_t n;
    } line[] = {
        {"Arena 0:\nsystem bytes     = ", s->zone_bytes},
        {"\nin use bytes     = ", s->slab_used_bytes + s->run_bytes},
        {"\nTotal (incl. mmap):\nsystem bytes     = ", s->mapped_bytes},
        {"\nin use bytes     = ", s->used_bytes},
        {"\nmax mmap regions = ", snapshot.mapping_peak_count},
        {"\nmax mmap bytes   = ", snapshot.mapping_peak_bytes},
        {"\nHuge pages (of pages in use):\nin use bytes     = ",
         s->zone_bytes - min_size(s->zone_free_bytes, s->zone_bytes) + s->mapping_bytes},
        {"\nadvised for THP  = ", s->thp_bytes},
        {"\nhugetlb 2 MiB    = ", s->hugetlb_bytes},
        {"\nhugetlb 1 GiB    = ", s->hugetlb_1g_bytes},
    };
    struct text text;
    text_begin(&text, STDERR_FILENO);
    for (size_t i = 0; i < sizeof line / sizeof *line; i++) {
        text_add(&text, line[i].title);
        text_number(&text, line[i].n, 10);
    }
    text_add(&text, "\n");
    text_end(&text);
}

/* As in glibc's, one element for each size of which something is free: a class, with what waits in magazines, or an
 * order. */
static bool print_size(FILE *stream, size_t from, size_t to, size_t count) {
    return !count || fprintf(stream, "  <size from=\"%zu\" to=\"%zu\" total=\"%zu\" count=\"%zu\"/>\n", from, to,
                             count * to, count) > 0;
}

static bool print_sizes(FILE *stream, const struct snapshot *snapshot, const struct free_memory *unused) {
    size_t before = 0;
    bool printed = true;
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        const struct snapshot_cache *cache = &snapshot->class[class];
        printed &= print_size(stream, before + 1, cache->bytes, unused->slabs[class].count + cache->cached);
        before = cache->bytes;
    }
    for (unsigned order = 0; order < NORDERS; order++) {
        printed &= print_size(stream, PAGE_BYTES << order, PAGE_BYTES << order, unused->blocks[order].count);
    }
    return printed;
}

static bool print_free(FILE *stream, const struct free_memory *unused) {
    return fprintf(stream,
                   "<total type=\"fast\" count=\"%zu\" size=\"%zu\"/>\n"
                   "<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>\n",
                   unused->fast.count, unused->fast.bytes, unused->rest.count, unused->rest.bytes) > 0;
}

static bool print_system(FILE *stream, const struct snapshot *snapshot) {
    size_t now = snapshot->stats.zone_bytes;
    return fprintf(stream,
                   "<system type=\"current\" size=\"%zu\"/>\n"
                   "<system type=\"max\" size=\"%zu\"/>\n"
                   "<aspace type=\"total\" size=\"%zu\"/>\n"
                   "<aspace type=\"mprotect\" size=\"%zu\"/>\n",
                   now, snapshot->zone_peak_bytes, now, now) > 0;
}

static bool print_heap(FILE *stream, const struct snapshot *snapshot, const struct free_memory *unused) {
    return fputs("<heap nr=\"0\">\n<sizes>\n", stream) >= 0 && print_sizes(stream, snapshot, unused) &&
           fputs("</sizes>\n", stream) >= 0 && print_free(stream, unused) && print_system(stream, snapshot) &&
           fputs("</heap>\n", stream) >= 0;
}

/* glibc's version 1, as one heap. The sizes add up to what is free: fast and rest. */
EXPORT int malloc_info(int options, FILE *stream) {
    if (options) {
        return EINVAL;
    }
    struct snapshot snapshot;
    struct free_memory unused;
    snapshot_gather(&snapshot);
    free_memory(&snapshot, &unused);
    bool printed = fputs("<malloc version=\"1\">\n", stream) >= 0 && print_heap(stream, &snapshot, &unused) &&
                   print_free(stream, &unused) &&
                   fprintf(stream, "<total type=\"mmap\" count=\"%zu\" size=\"%zu\"/>\n", snapshot.stats.mappings,
                           snapshot.stats.mapping_bytes) > 0 &&
                   print_system(stream, &snapshot) && fputs("</malloc>\n", stream) >= 0;
    return printed ? 0 : -1;
}
