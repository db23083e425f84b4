/* dma_api.c: the functions of slabmalloc/dma.h. Errno; no policy. */
#include <errno.h>

#include "dma.h"
#include "heap.h"

#define API __attribute__((visibility("default")))

/* RESULT is a count, or a negative errno value. */
static int to_errno(int result) {
    if (result < 0) {
        errno = -result;
        return -1;
    }
    return result;
}

API void *slabmalloc_dma_alloc(size_t bytes, const struct slabmalloc_dma_spec *spec,
                               enum slabmalloc_dma_level *obtained) {
    void *p = NULL;
    struct slabmalloc_dma_info info;
    int refused = dma_alloc(bytes, spec, &p, &info);
    if (refused == -ENOMEM && heap_trim()) {
        refused = dma_alloc(bytes, spec, &p, &info); /* the heap had pages of the pool, or memory, to spare */
    }
    if (to_errno(refused)) {
        return NULL;
    }
    if (obtained) {
        *obtained = info.level;
    }
    return p;
}

API int slabmalloc_dma_free(void *p) {
    return to_errno(dma_free(p));
}

API int slabmalloc_dma_info(const void *p, struct slabmalloc_dma_info *info) {
    return to_errno(dma_info(p, info));
}

API int slabmalloc_virt_to_phys(const void *p, uint64_t *phys) {
    return to_errno(dma_virt_to_phys(p, false, phys));
}

API int slabmalloc_dma_map_sg(const void *p, size_t bytes, size_t boundary, struct slabmalloc_dma_sg *list, int max) {
    return to_errno(dma_map_sg(p, bytes, boundary, list, max));
}

API int slabmalloc_dma_observe(const struct slabmalloc_dma_observer *observer) {
    return to_errno(dma_observe(observer));
}

API int slabmalloc_dma_unobserve(int number) {
    return to_errno(dma_unobserve(number));
}

API int slabmalloc_dma_attach_vfio(int container, const struct slabmalloc_dma_vfio *how) {
    return to_errno(dma_vfio_attach(container, how));
}

API int slabmalloc_dma_detach_vfio(int container) {
    return to_errno(dma_vfio_detach(container));
}

API int slabmalloc_dma_iova(int container, const void *p, uint64_t *iova) {
    return to_errno(dma_vfio_iova(container, p, iova));
}

API struct slabmalloc_dma_pool *slabmalloc_dma_pool_create(const char *name, size_t bytes, size_t align,
                                                           size_t boundary, const struct slabmalloc_dma_spec *spec) {
    struct slabmalloc_dma_pool *pool = NULL;
    to_errno(dma_pool_create(name, bytes, align, boundary, spec, &pool));
    return pool;
}

API void *slabmalloc_dma_pool_alloc(struct slabmalloc_dma_pool *pool, uint64_t *phys) {
    void *p = NULL;
    to_errno(dma_pool_alloc(pool, phys, &p));
    return p;
}

API int slabmalloc_dma_pool_free(struct slabmalloc_dma_pool *pool, void *p) {
    return to_errno(dma_pool_free(pool, p));
}

API int slabmalloc_dma_pool_destroy(struct slabmalloc_dma_pool *pool) {
    return to_errno(dma_pool_destroy(pool));
}

API void slabmalloc_dma_pool_info(const struct slabmalloc_dma_pool *pool, struct slabmalloc_dma_pool_info *info) {
    dma_pool_info(pool, info);
}
