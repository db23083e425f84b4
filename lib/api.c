/* api.c: the slabmalloc_* functions. Arguments and errno; no policy. */
#include <errno.h>
#include <string.h>

#include "check.h"
#include "dma.h"
#include "heap.h"
#include "slabmalloc/slabmalloc.h"
#include "stats.h"
#include "version.h"

#define API __attribute__((visibility("default")))

API const char *slabmalloc_version(void) {
    return LIBRARY_VERSION;
}

API void *slabmalloc_malloc(size_t bytes) {
    return heap_malloc(bytes);
}

API void *slabmalloc_calloc(size_t count, size_t bytes) {
    return heap_calloc(count, bytes);
}

API void *slabmalloc_realloc(void *p, size_t bytes) {
    if (!p) {
        return heap_malloc(bytes);
    }
    if (!bytes) {
        heap_free(p);
        return NULL;
    }
    return heap_realloc(p, bytes);
}

API void *slabmalloc_aligned_alloc(size_t align, size_t bytes) {
    if (!is_pow2(align)) {
        errno = EINVAL;
        return NULL;
    }
    return heap_aligned(align, bytes);
}

API void slabmalloc_free(void *p) {
    heap_free(p);
}

API size_t slabmalloc_usable_size(const void *p) {
    return heap_usable(p);
}

API int slabmalloc_trim(void) {
    dma_trim();
    return heap_trim();
}

API void slabmalloc_stats(struct slabmalloc_stats *stats, size_t stats_bytes) {
    struct slabmalloc_stats all;
    stats_gather(&all);
    memcpy(stats, &all, min_size(stats_bytes, sizeof all));
}

API const char *slabmalloc_check(void) {
    return check_all();
}
