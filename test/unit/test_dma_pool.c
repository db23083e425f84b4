/* dma_pool promises: small objects, each physically contiguous, aligned and within its boundaries, with the right
 * physical address. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "dma_probe.h"

#include "dma.h"

TestSuite(dma_pool, .init = pool_share);

#define OBJECTS 500

static void must_hold_objects(size_t bytes, size_t align, size_t boundary, const struct slabmalloc_dma_spec *spec) {
    struct slabmalloc_dma_pool *pool = slabmalloc_dma_pool_create("some", bytes, align, boundary, spec);
    require(pool, "%zu %zu %zu: %s", bytes, align, boundary, strerror(errno));
    size_t n = bytes > 64 * KIB ? 5 : OBJECTS, least = max_size(align, 16);
    static char *held[OBJECTS];
    bool stays = spec && spec->level > SLABMALLOC_DMA_RESIDENT;
    for (size_t i = 0; i < n; i++) {
        uint64_t phys = 0;
        held[i] = slabmalloc_dma_pool_alloc(pool, &phys);
        require(held[i], "%zu %zu %zu: object %zu: %s", bytes, align, boundary, i, strerror(errno));
        require(phys >= PAGE && phys % PAGE == (uintptr_t)held[i] % PAGE);
        require((uintptr_t)held[i] % least == 0 && phys % min_size(least, PAGE) == 0);
        for (size_t at = 0; at < bytes; at += min_size(PAGE, max_size(1, bytes - 1 - at))) {
            require(!stays || phys_of(held[i] + at) == phys + at, "%zu %zu %zu: object %zu at %zu", bytes, align,
                    boundary, i, at);
        }
        require(!boundary || (uintptr_t)held[i] / boundary == ((uintptr_t)held[i] + bytes - 1) / boundary);
        require(!boundary || phys / boundary == (phys + bytes - 1) / boundary);
        words_fill(held[i], bytes, i);
    }
    struct slabmalloc_dma_pool_info info;
    slabmalloc_dma_pool_info(pool, &info);
    require(info.out == n && info.objects >= n && info.object_bytes == bytes && !strcmp(info.name, "some"));
    for (size_t i = 0; i < n; i++) {
        require(words_hold(held[i], bytes, i), "%zu %zu %zu: object %zu", bytes, align, boundary, i);
        require(!slabmalloc_dma_pool_free(pool, held[i]));
    }
    require(!slabmalloc_dma_pool_destroy(pool));
    require(!dma_regions());
}

Test(dma_pool, objects_are_contiguous_aligned_and_within_their_boundaries) {
    NEEDS_FRAMES();
    NEEDS_RING();
    const struct slabmalloc_dma_spec resident = SLABMALLOC_DMA_SPEC, pinned = spec_at(SLABMALLOC_DMA_LONGTERM, 0);
    const struct slabmalloc_dma_spec *specs[] = {NULL, &resident, &pinned};
    for (size_t i = 0; i < COUNT_OF(specs); i++) {
        for (size_t bytes = 1; bytes <= PAGE; bytes = bytes * 3 + 1) {
            must_hold_objects(bytes, 0, 0, specs[i]);
            must_hold_objects(bytes, 256, 0, specs[i]);
            must_hold_objects(bytes, 0, 4096, specs[i]);
            must_hold_objects(bytes, 64, 8192, specs[i]);
        }
        must_hold_objects(PAGE, PAGE, PAGE, specs[i]);
        must_hold_objects(48, 32, 64, specs[i]);
        must_hold_objects(100, 8192, 128, specs[i]);
    }
}

Test(dma_pool, objects_of_every_level_have_the_right_address) {
    NEEDS_POOL(8);
    NEEDS_FRAMES();
    NEEDS_RING();
    struct slabmalloc_dma_spec huge = spec_at(SLABMALLOC_DMA_HUGETLB, 0), pinned = spec_at(SLABMALLOC_DMA_LONGTERM, 0);
    must_hold_objects(100, 0, 0, &huge);
    must_hold_objects(6000, 0, 65536, &huge);
    must_hold_objects(6000, 0, 0, &pinned);
    must_hold_objects(100, 128, 4096, &pinned);
}

Test(dma_pool, objects_larger_than_a_page_are_on_huge_pages) {
    NEEDS_POOL(6);
    NEEDS_FRAMES();
    must_hold_objects(5000, 0, 0, NULL);
    struct slabmalloc_dma_spec huge = spec_at(SLABMALLOC_DMA_HUGETLB, 0);
    must_hold_objects(5000, 0, 0, &huge);
    must_hold_objects(300 * KIB, 0, 512 * KIB, &huge);
    must_hold_objects(HUGE, 0, 0, &huge);
    require(pool_free() == 6);
}

Test(dma_pool, freed_objects_serve_again) {
    struct slabmalloc_dma_pool *pool = slabmalloc_dma_pool_create("again", 64, 0, 0, NULL);
    char *held[300];
    struct slabmalloc_dma_pool_info first, now;
    for (unsigned round = 0; round < 5; round++) {
        for (size_t i = 0; i < COUNT_OF(held); i++) {
            held[i] = slabmalloc_dma_pool_alloc(pool, NULL);
        }
        slabmalloc_dma_pool_info(pool, round ? &now : &first);
        for (size_t i = 0; i < COUNT_OF(held); i++) {
            require(!slabmalloc_dma_pool_free(pool, held[(i * 7) % COUNT_OF(held)]));
        }
    }
    require(now.bytes == first.bytes && now.objects == first.objects && now.out == 300);
    require(!slabmalloc_dma_pool_destroy(pool));
}

Test(dma_pool, free_takes_an_object_that_is_out_and_nothing_else) {
    struct slabmalloc_dma_pool *pool = slabmalloc_dma_pool_create("strict", 100, 0, 0, NULL);
    struct slabmalloc_dma_pool *other = slabmalloc_dma_pool_create("other", 100, 0, 0, NULL);
    char *p = slabmalloc_dma_pool_alloc(pool, NULL), *q = slabmalloc_dma_pool_alloc(other, NULL), here;
    char *const bad[] = {NULL, &here, q, p + 1, p + 16, p + 112, p + 4095};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        errno = 0;
        require(slabmalloc_dma_pool_free(pool, bad[i]) == -1 && errno == EINVAL, "case %zu", i);
    }
    require(!slabmalloc_dma_pool_free(pool, p));
    require(slabmalloc_dma_pool_free(pool, p) == -1 && errno == EINVAL);
    struct slabmalloc_dma_pool_info info;
    slabmalloc_dma_pool_info(pool, &info);
    require(info.out == 0);
}

Test(dma_pool, ebusy_is_a_pool_with_objects_out) {
    struct slabmalloc_dma_pool *pool = slabmalloc_dma_pool_create("busy", 100, 0, 0, NULL);
    void *p = slabmalloc_dma_pool_alloc(pool, NULL);
    errno = 0;
    require(slabmalloc_dma_pool_destroy(pool) == -1 && errno == EBUSY);
    require(!slabmalloc_dma_pool_free(pool, p) && !slabmalloc_dma_pool_destroy(pool) && !dma_regions());
}

static int keeps(const struct slabmalloc_dma_info *region, void *busy) {
    (void)region;
    return *(int *)busy;
}

static int agrees(const struct slabmalloc_dma_info *region, void *context) {
    (void)region;
    (void)context;
    return 0;
}

Test(dma_pool, ebusy_is_a_pool_whose_memory_an_observer_uses) {
    int busy = EBUSY;
    struct slabmalloc_dma_observer observer = {agrees, keeps, &busy};
    require(slabmalloc_dma_observe(&observer) >= 0);
    struct slabmalloc_dma_pool *pool = slabmalloc_dma_pool_create("watched", 100, 0, 0, NULL);
    require(!slabmalloc_dma_pool_free(pool, slabmalloc_dma_pool_alloc(pool, NULL)));
    require(slabmalloc_dma_pool_destroy(pool) == -1 && errno == EBUSY);
    void *p = slabmalloc_dma_pool_alloc(pool, NULL); /* it still works */
    require(p && !slabmalloc_dma_pool_free(pool, p));
    busy = 0;
    require(!slabmalloc_dma_pool_destroy(pool) && !dma_regions());
}

Test(dma_pool, demands_that_make_no_sense_are_refused_at_once) {
    static const size_t bad[][3] = {{0, 0, 0},     {HUGE + 1, 0, 0},  {100, 3, 0},  {100, 0, 1000},
                                    {129, 0, 128}, {100, 4 * MIB, 0}, {100, 0, 64}, {SIZE_MAX, 0, 0}};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        errno = 0;
        require(!slabmalloc_dma_pool_create("bad", bad[i][0], bad[i][1], bad[i][2], NULL) && errno == EINVAL,
                "case %zu", i);
    }
    struct slabmalloc_dma_spec spec = SLABMALLOC_DMA_SPEC;
    spec.node = 62;
    require(!slabmalloc_dma_pool_create("bad", 100, 0, 0, &spec) && errno == EINVAL);
    spec = (struct slabmalloc_dma_spec)SLABMALLOC_DMA_SPEC;
    spec.max_addr = MIB;
    require(!slabmalloc_dma_pool_create("bad", 100, 0, 0, &spec) && errno == ERANGE);
}

Test(dma_pool, an_empty_hugetlb_pool_is_enomem) {
    NEEDS_POOL(0);
    struct slabmalloc_dma_pool *pool = slabmalloc_dma_pool_create("large", 10000, 0, 0, NULL);
    errno = 0;
    require(pool && !slabmalloc_dma_pool_alloc(pool, NULL) && errno == ENOMEM);
    require(!slabmalloc_dma_pool_destroy(pool));
}

Test(dma_pool, long_names_are_cut) {
    struct slabmalloc_dma_pool *pool =
        slabmalloc_dma_pool_create("a name of more than thirty-one bytes in all", 8, 0, 0, NULL);
    struct slabmalloc_dma_pool_info info;
    slabmalloc_dma_pool_info(pool, &info);
    require(!strcmp(info.name, "a name of more than thirty-one "), "'%s'", info.name);
    pool = slabmalloc_dma_pool_create(NULL, 8, 0, 0, NULL);
    slabmalloc_dma_pool_info(pool, &info);
    require(!strcmp(info.name, ""));
}

static struct slabmalloc_dma_pool *common;

static void take_and_give(unsigned index) {
    struct rng rng = {index};
    uint64_t *held[50] = {0};
    for (unsigned long step = 0; step < rounds(20000); step++) {
        uint64_t **slot = &held[rng_below(&rng, COUNT_OF(held))];
        if (*slot) {
            MUST(**slot == index * 1000u + (uint64_t)(slot - held));
            MUST(!slabmalloc_dma_pool_free(common, *slot));
            *slot = NULL;
        } else {
            *slot = slabmalloc_dma_pool_alloc(common, NULL);
            MUST(*slot);
            **slot = index * 1000u + (uint64_t)(slot - held);
        }
    }
    for (size_t i = 0; i < COUNT_OF(held); i++) {
        MUST(!held[i] || !slabmalloc_dma_pool_free(common, held[i]));
    }
}

Test(dma_pool, threads_share_a_pool) {
    common = slabmalloc_dma_pool_create("common", 40, 0, 0, NULL);
    threads_run(4, take_and_give);
    require(!slabmalloc_dma_pool_destroy(common) && !dma_regions());
}
