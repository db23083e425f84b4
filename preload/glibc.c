/*
 * glibc.c: glibc's malloc introspection (mallinfo(3), malloc_info(3), malloc_stats(3), mallopt(3), malloc_trim(3)),
 * answered from slabmalloc_stats. Meanings follow the manual pages as far as they apply: zones are the arena, own
 * mappings are the mmapped part.
 */
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>

#include "heap.h"
#include "stats.h"
#include "sys.h"

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

EXPORT struct mallinfo2 mallinfo2(void) {
    struct slabmalloc_stats s;
    stats_gather(&s);
    size_t used = s.slab_used_bytes + s.run_bytes;
    return (struct mallinfo2){
        .arena = s.zone_bytes,
        .ordblks = s.slabs,
        .hblks = s.mappings,
        .hblkhd = s.mapping_bytes,
        .uordblks = used,
        .fordblks = s.zone_bytes - min_size(used, s.zone_bytes),
        .keepcost = s.zone_dirty_bytes + s.mapping_cached_bytes,
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
        .hblks = clamp(m.hblks),
        .hblkhd = clamp(m.hblkhd),
        .uordblks = clamp(m.uordblks),
        .fordblks = clamp(m.fordblks),
        .keepcost = clamp(m.keepcost),
    };
}

/* snprintf with these conversions neither allocates nor locks. */
EXPORT void malloc_stats(void) {
    struct slabmalloc_stats s;
    stats_gather(&s);
    char text[512];
    int n = snprintf(text, sizeof text,
                     "Arena 0:\n"
                     "system bytes     = %10zu\n"
                     "in use bytes     = %10zu\n"
                     "Total (incl. mmap):\n"
                     "system bytes     = %10zu\n"
                     "in use bytes     = %10zu\n"
                     "max mmap regions = %10zu\n"
                     "max mmap bytes   = %10zu\n",
                     s.zone_bytes, s.slab_used_bytes + s.run_bytes, s.mapped_bytes, s.used_bytes, s.mappings,
                     s.mapping_bytes);
    sys_write(2, text, (size_t)n);
}

/* The elements of glibc's version 1 that have a meaning here, as one heap. */
EXPORT int malloc_info(int options, FILE *stream) {
    if (options) {
        return EINVAL;
    }
    struct slabmalloc_stats s;
    stats_gather(&s);
    int n = fprintf(stream,
                    "<malloc version=\"1\">\n"
                    "<heap nr=\"0\">\n<sizes>\n</sizes>\n"
                    "<total type=\"fast\" count=\"0\" size=\"%zu\"/>\n"
                    "<total type=\"rest\" count=\"0\" size=\"%zu\"/>\n"
                    "<system type=\"current\" size=\"%zu\"/>\n"
                    "<system type=\"max\" size=\"%zu\"/>\n"
                    "<aspace type=\"total\" size=\"%zu\"/>\n"
                    "<aspace type=\"mprotect\" size=\"%zu\"/>\n"
                    "</heap>\n"
                    "<total type=\"fast\" count=\"0\" size=\"%zu\"/>\n"
                    "<total type=\"rest\" count=\"0\" size=\"%zu\"/>\n"
                    "<total type=\"mmap\" count=\"%zu\" size=\"%zu\"/>\n"
                    "<system type=\"current\" size=\"%zu\"/>\n"
                    "<system type=\"max\" size=\"%zu\"/>\n"
                    "<aspace type=\"total\" size=\"%zu\"/>\n"
                    "<aspace type=\"mprotect\" size=\"%zu\"/>\n"
                    "</malloc>\n",
                    s.magazine_bytes, s.zone_free_bytes, s.zone_bytes, s.zone_bytes, s.zone_bytes, s.zone_bytes,
                    s.magazine_bytes, s.zone_free_bytes, s.mappings, s.mapping_bytes, s.mapped_bytes, s.mapped_bytes,
                    s.mapped_bytes, s.mapped_bytes);
    return n < 0 ? -1 : 0;
}
