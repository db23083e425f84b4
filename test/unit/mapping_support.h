/* mapping_support.h: own mappings, and extents of them that wait in the cache. */
#ifndef TEST_UNIT_MAPPING_SUPPORT_H
#define TEST_UNIT_MAPPING_SUPPORT_H

#include "mapping.h"
#include "support.h"

static inline char *map(size_t bytes) {
    char *p = mapping_alloc(bytes, 1, false);
    MUST(p != NULL);
    return p;
}

static inline size_t cached(void) {
    return mapping_totals().cached_bytes;
}

/* An address range that nothing can grow into. */
static inline void *block_after(char *p) {
    char *end = p + mapping_npages(p) * PAGE_BYTES;
    return mmap(end, PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
}

/* Puts the pages of CACHED extents of 4 MiB, which are no neighbours, into the cache, resident. */
static inline void cache_apart(unsigned ncached) {
    char *p[8];
    MUST(ncached <= COUNT_OF(p));
    for (unsigned i = 0; i < ncached; i++) {
        p[i] = map(4 * MIB);
        memset(p[i], 0x40 + (int)i, 4 * MIB);
        block_after(p[i]);
        mmap(p[i] - PAGE_BYTES, PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    }
    for (unsigned i = 0; i < ncached; i++) {
        mapping_free(p[i]);
    }
    MUST(cached() == ncached * 4 * MIB);
}

#endif
