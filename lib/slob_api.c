/* slob_api.c: the slabmalloc_slob_* functions. Arguments and errno; no policy. */
#include <errno.h>
#include <string.h>

#include "heap.h"
#include "slob.h"

#define API __attribute__((visibility("default")))

/* Payloads at multiples of 8 bytes. */
#define STEP 1

static struct slob *slob_from(struct slabmalloc_slob *heap) {
    return (struct slob *)heap;
}

static void *or_no_memory(void *p) {
    if (!p) {
        errno = ENOMEM;
    }
    return p;
}

API struct slabmalloc_slob *slabmalloc_slob_create(void) {
    heap_begin();
    return or_no_memory(slob_create(STEP));
}

API void slabmalloc_slob_destroy(struct slabmalloc_slob *heap) {
    if (heap) {
        slob_destroy(slob_from(heap));
    }
}

API void *slabmalloc_slob_alloc(struct slabmalloc_slob *heap, size_t bytes) {
    return or_no_memory(slob_alloc(slob_from(heap), bytes, 1, false));
}

API void *slabmalloc_slob_zalloc(struct slabmalloc_slob *heap, size_t bytes) {
    return or_no_memory(slob_alloc(slob_from(heap), bytes, 1, true));
}

API void *slabmalloc_slob_aligned(struct slabmalloc_slob *heap, size_t align, size_t bytes) {
    if (!is_pow2(align)) {
        errno = EINVAL;
        return NULL;
    }
    return or_no_memory(slob_alloc(slob_from(heap), bytes, align, false));
}

API void *slabmalloc_slob_realloc(struct slabmalloc_slob *heap, void *p, size_t bytes) {
    if (!p) {
        return slabmalloc_slob_alloc(heap, bytes);
    }
    if (!bytes) {
        slob_free(slob_from(heap), p);
        return NULL;
    }
    return or_no_memory(slob_realloc(slob_from(heap), p, bytes));
}

API void slabmalloc_slob_free(struct slabmalloc_slob *heap, void *p) {
    if (p) {
        slob_free(slob_from(heap), p);
    }
}

API void *slabmalloc_slob_alloc_sized(struct slabmalloc_slob *heap, size_t bytes) {
    return or_no_memory(slob_alloc_sized(slob_from(heap), bytes));
}

API void slabmalloc_slob_free_sized(struct slabmalloc_slob *heap, void *p, size_t bytes) {
    if (p) {
        slob_free_sized(slob_from(heap), p, bytes);
    }
}

API size_t slabmalloc_slob_size(struct slabmalloc_slob *heap, const void *p) {
    return p ? slob_usable(slob_from(heap), p) : 0;
}

API const char *slabmalloc_slob_check(struct slabmalloc_slob *heap) {
    return slob_check(slob_from(heap));
}

API void slabmalloc_slob_stats(struct slabmalloc_slob *heap, struct slabmalloc_slob_stats *stats, size_t stats_bytes) {
    struct slabmalloc_slob_stats all = {0};
    slob_stats(slob_from(heap), &all);
    memcpy(stats, &all, min_size(stats_bytes, sizeof all));
}
