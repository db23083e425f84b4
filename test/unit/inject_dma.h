/* inject_dma.h: what the fault injection walks through in DMA buffers, pools and containers. */
#ifndef SLABMALLOC_TEST_INJECT_DMA_H
#define SLABMALLOC_TEST_INJECT_DMA_H

#include "dma.h"
#include "inject_workloads.h"
#include "vfio_standin.h"

static const struct slabmalloc_dma_spec dma_specs[] = {
    {0, 0, 0, SLABMALLOC_DMA_ANY_NODE, SLABMALLOC_DMA_RESIDENT, 0},
    {64 * KIB, 0, 0, 0, SLABMALLOC_DMA_RESIDENT, SLABMALLOC_DMA_SHARED},
    {0, 64 * KIB, (uint64_t)1 << 46, SLABMALLOC_DMA_ANY_NODE, SLABMALLOC_DMA_RESIDENT, 0},
    {0, 0, 0, SLABMALLOC_DMA_ANY_NODE, SLABMALLOC_DMA_HUGETLB, 0},
    {0, 0, 0, SLABMALLOC_DMA_ANY_NODE, SLABMALLOC_DMA_LONGTERM, 0},
};

static int agree(const struct slabmalloc_dma_info *region, void *context) {
    (void)region;
    (void)context;
    return 0;
}

WORKLOAD static void use_dma(size_t bytes, const struct slabmalloc_dma_spec *spec) {
    struct slabmalloc_dma_sg list[64];
    struct slabmalloc_dma_info info;
    errno = ERRNO_BEFORE;
    char *p = slabmalloc_dma_alloc(bytes, spec, NULL);
    if (!p) {
        MUST(errno == ENOMEM || errno == EAGAIN || errno == ENOTSUP || errno == EPERM);
        return;
    }
    fill(p, bytes, bytes);
    MUST(!slabmalloc_dma_info(p, &info) && info.base == p && info.bytes >= bytes);
    int n = slabmalloc_dma_map_sg(p, bytes, 0, list, COUNT_OF(list));
    MUST(n > 0 || errno == EPERM || errno == ENOSPC);
    MUST(holds(p, bytes, bytes, bytes));
    MUST(!slabmalloc_dma_free(p));
}

WORKLOAD static void use_dma_pool(size_t bytes) {
    struct slabmalloc_dma_pool *pool = slabmalloc_dma_pool_create("injected", bytes, 0, 0, NULL);
    char *p[20] = {0};
    for (size_t i = 0; pool && i < COUNT_OF(p); i++) {
        uint64_t phys;
        p[i] = slabmalloc_dma_pool_alloc(pool, i % 2 ? &phys : NULL);
        if (p[i]) {
            fill(p[i], bytes, i);
        }
    }
    for (size_t i = 0; pool && i < COUNT_OF(p); i++) {
        MUST(!p[i] || (holds(p[i], bytes, bytes, i) && !slabmalloc_dma_pool_free(pool, p[i])));
    }
    MUST(!pool || !slabmalloc_dma_pool_destroy(pool));
}

WORKLOAD static void dma_buffers(void) {
    usual_options();
    const struct slabmalloc_dma_observer observer = {agree, agree, NULL};
    int number = slabmalloc_dma_observe(&observer);
    MUST(number >= 0);
    for (size_t i = 0; i < COUNT_OF(dma_specs); i++) {
        use_dma(60 * KIB, &dma_specs[i]);
    }
    use_dma_pool(1000);
    char *shared = slabmalloc_dma_alloc(PAGE_BYTES, &dma_specs[1], NULL);
    a_child_must_end_well();
    MUST(!shared || !slabmalloc_dma_free(shared));
    MUST(!slabmalloc_dma_unobserve(number));
    slabmalloc_trim();
}

/* Whether the kernel has pages in its pool or not: here, most likely not. */
WORKLOAD static void hugetlb_memory(void) {
    usual_options();
    options.pool_shift = 21;
    for (size_t i = 0; i < 30; i++) {
        take(1000);
        take(200 * KIB);
    }
    take(5 * MIB);
    resize(nheld - 1, 9 * MIB);
    a_child_must_end_well();
    resize(nheld - 1, 3 * MIB);
    drop_from(0, 2);
    slabmalloc_trim();
    drop_from(0, 1);
    slabmalloc_trim();
    options.pool_shift = 0;
}

static pthread_barrier_t forked;

WORKLOAD static void *take_and_wait(void *arg) {
    take_many(arg);
    pthread_barrier_wait(&forked); /* ready */
    pthread_barrier_wait(&forked); /* the parent has forked */
    return NULL;
}

WORKLOAD static void forked_children(void) {
    usual_options();
    take_many(NULL);
    a_child_must_end_well();
    pthread_t thread;
    MUST(!pthread_barrier_init(&forked, NULL, 2) && !pthread_create(&thread, NULL, take_and_wait, NULL));
    pthread_barrier_wait(&forked);
    a_child_must_end_well(); /* it has not got that thread */
    pthread_barrier_wait(&forked);
    MUST(!pthread_join(thread, NULL) && !pthread_barrier_destroy(&forked));
}

/* What is refused is mapped nowhere, and what is mapped goes. */
WORKLOAD static void vfio_containers(void) {
    static const struct slabmalloc_dma_vfio low = {0, 0xffffffff, 0};
    usual_options();
    struct standin_container *container[] = {standin_open(), standin_open()};
    char *early = slabmalloc_dma_alloc(PAGE_BYTES, &dma_specs[0], NULL);
    bool attached[] = {!slabmalloc_dma_attach_vfio(container[0]->fd, NULL),
                       !slabmalloc_dma_attach_vfio(container[1]->fd, &low)};
    for (size_t i = 0; i < COUNT_OF(dma_specs); i++) {
        use_dma(60 * KIB, &dma_specs[i]);
    }
    use_dma_pool(1000);
    for (size_t i = 0; i < COUNT_OF(container); i++) {
        uint64_t iova;
        MUST(!early || slabmalloc_dma_iova(container[i]->fd, early, &iova) == (attached[i] ? 0 : -1));
        MUST(slabmalloc_dma_detach_vfio(container[i]->fd) == (attached[i] ? 0 : -1));
        MUST(standin_entries(container[i]) == 0);
        standin_close(container[i]);
    }
    MUST(!early || !slabmalloc_dma_free(early));
    slabmalloc_trim();
}

#endif
