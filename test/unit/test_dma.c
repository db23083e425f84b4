/* slabmalloc/dma.h promises: buffers as asked for, levels that say the truth, every error by name. The kernel is asked
 * about pages, not the library. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "dma_probe.h"

#include "dma.h"

TestSuite(dma, .init = pool_share);

static void must_fail_with(int error, size_t bytes, const struct slabmalloc_dma_spec *spec) {
    errno = 0;
    void *p = slabmalloc_dma_alloc(bytes, spec, NULL);
    require(!p && errno == error, "%p, %s instead of %s", p, strerror(errno), strerror(error));
}

/* --- What a buffer is --- */

Test(dma, a_buffer_is_whole_pages_locked_and_writable) {
    enum slabmalloc_dma_level level = 0;
    char *p = slabmalloc_dma_alloc(3 * PAGE + 1, NULL, &level);
    require(p && level == SLABMALLOC_DMA_RESIDENT && (uintptr_t)p % PAGE == 0);
    require(resident_pages(p, 4 * PAGE) == 4);
    require(smaps_bytes(p, "Locked") >= 4 * PAGE);
    memset(p, 1, 4 * PAGE);
    struct slabmalloc_dma_info info;
    require(!slabmalloc_dma_info(p + 4 * PAGE - 1, &info));
    require(info.base == p && info.bytes == 4 * PAGE && info.page_bytes == PAGE && info.node >= 0);
    require(info.level == SLABMALLOC_DMA_RESIDENT && info.may_move == 1 && info.flags == 0);
    require(slabmalloc_dma_info(p + 4 * PAGE, &info) == -1 && errno == EINVAL);
    require(!slabmalloc_dma_free(p));
    require(slabmalloc_dma_info(p, &info) == -1 && errno == EINVAL);
}

Test(dma, every_level_and_mode_gives_what_was_asked_for) {
    NEEDS_POOL(4);
    NEEDS_RING();
    static const struct {
        enum slabmalloc_dma_level asked;
        unsigned flags;
        enum slabmalloc_dma_level got;
        size_t page_kib;
        int may_move;
    } cases[] = {
        {SLABMALLOC_DMA_RESIDENT, 0, SLABMALLOC_DMA_RESIDENT, 4, 1},
        {SLABMALLOC_DMA_RESIDENT, SLABMALLOC_DMA_SHARED, SLABMALLOC_DMA_RESIDENT, 4, 1},
        {SLABMALLOC_DMA_RESIDENT, SLABMALLOC_DMA_HUGE, SLABMALLOC_DMA_HUGETLB, 2048, 0},
        {SLABMALLOC_DMA_HUGETLB, 0, SLABMALLOC_DMA_HUGETLB, 2048, 0},
        {SLABMALLOC_DMA_HUGETLB, SLABMALLOC_DMA_SHARED, SLABMALLOC_DMA_HUGETLB, 2048, 0},
        {SLABMALLOC_DMA_LONGTERM, 0, SLABMALLOC_DMA_LONGTERM, 2048, 0},
        {SLABMALLOC_DMA_LONGTERM, SLABMALLOC_DMA_SHARED, SLABMALLOC_DMA_LONGTERM, 2048, 0},
        {SLABMALLOC_DMA_LONGTERM, SLABMALLOC_DMA_HUGE, SLABMALLOC_DMA_LONGTERM, 2048, 0},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct slabmalloc_dma_spec spec = spec_at(cases[i].asked, cases[i].flags);
        enum slabmalloc_dma_level level = 0;
        char *p = slabmalloc_dma_alloc(100, &spec, &level);
        require(p && level == cases[i].got, "case %zu: %p %d", i, (void *)p, level);
        require(smaps_bytes(p, "KernelPageSize") == cases[i].page_kib * KIB, "case %zu", i);
        memset(p, 1, PAGE);
        struct slabmalloc_dma_info info;
        require(!slabmalloc_dma_info(p, &info) && info.level == level && info.may_move == cases[i].may_move);
        require(info.page_bytes == cases[i].page_kib * KIB);
        require((info.flags & SLABMALLOC_DMA_SHARED) == (cases[i].flags & SLABMALLOC_DMA_SHARED));
        require(!slabmalloc_dma_free(p));
    }
    require(pool_free() == 4);
}

Test(dma, hugetlb_memory_is_never_mlocked) {
    NEEDS_POOL(1);
    char *p = alloc_at(SLABMALLOC_DMA_HUGETLB, 0, MIB);
    require(p && smaps_bytes(p, "Locked") == 0 && pool_free() == 0);
}

Test(dma, longterm_without_a_pool_is_on_ordinary_pages) {
    NEEDS_POOL(0);
    NEEDS_RING();
    char *p = alloc_at(SLABMALLOC_DMA_LONGTERM, 0, MIB);
    require(p && smaps_bytes(p, "KernelPageSize") == PAGE);
    /* io_uring counts what it has pinned for the user, or only against the process: either way the pages are there. */
    require(resident_pages(p, MIB) == MIB / PAGE);
    struct slabmalloc_dma_info info;
    require(!slabmalloc_dma_info(p, &info) && info.level == SLABMALLOC_DMA_LONGTERM && !info.may_move);
}

Test(dma, buffers_are_aligned_as_asked) {
    void *held[32];
    size_t n = 0;
    for (size_t align = 1; align <= 8 * MIB; align *= 4) {
        for (size_t bytes = 1; bytes <= 600 * KIB; bytes = bytes * 100 + 17) {
            struct slabmalloc_dma_spec spec = SLABMALLOC_DMA_SPEC;
            spec.align = align;
            void *p = slabmalloc_dma_alloc(bytes, &spec, NULL);
            require(p && (uintptr_t)p % max_size(align, PAGE) == 0, "%zu at %p", align, p);
            memset(p, 1, bytes);
            if (n < 32) {
                held[n++] = p;
            } else {
                require(!slabmalloc_dma_free(p));
            }
        }
    }
    while (n) {
        require(!slabmalloc_dma_free(held[--n]));
    }
}

Test(dma, hugetlb_buffers_are_aligned_beyond_their_pages) {
    NEEDS_POOL(2);
    struct slabmalloc_dma_spec spec = spec_at(SLABMALLOC_DMA_HUGETLB, 0);
    spec.align = 16 * MIB;
    for (unsigned i = 0; i < 20; i++) {
        void *p = slabmalloc_dma_alloc(HUGE, &spec, NULL);
        require(p && (uintptr_t)p % (16 * MIB) == 0);
        require(!slabmalloc_dma_free(p) && pool_free() == 2);
    }
}

Test(dma, buffers_cross_no_boundary) {
    for (size_t boundary = PAGE; boundary <= 4 * MIB; boundary *= 4) {
        char *held[24];
        for (size_t i = 0; i < COUNT_OF(held); i++) {
            struct slabmalloc_dma_spec spec = SLABMALLOC_DMA_SPEC;
            spec.boundary = boundary;
            size_t bytes = 1 + i * 977 % boundary;
            held[i] = slabmalloc_dma_alloc(bytes, &spec, NULL);
            require(held[i] && (uintptr_t)held[i] / boundary == ((uintptr_t)held[i] + bytes - 1) / boundary);
        }
        for (size_t i = 0; i < COUNT_OF(held); i++) {
            require(!slabmalloc_dma_free(held[i]));
        }
    }
}

Test(dma, small_buffers_share_a_region_and_its_end_gives_the_pages_back) {
    NEEDS_POOL(2);
    char *a = alloc_at(SLABMALLOC_DMA_HUGETLB, 0, 5 * PAGE), *b = alloc_at(SLABMALLOC_DMA_HUGETLB, 0, MIB);
    require(a && b && pool_free() == 1 && (uintptr_t)a / HUGE == (uintptr_t)b / HUGE);
    char *c = alloc_at(SLABMALLOC_DMA_HUGETLB, 0, MIB);
    require(c && pool_free() == 0);
    require(!slabmalloc_dma_free(a) && pool_free() == 0);
    char *d = alloc_at(SLABMALLOC_DMA_HUGETLB, 0, 3 * PAGE);
    require(d && (uintptr_t)d / HUGE == (uintptr_t)b / HUGE); /* in the hole that A left */
    require(!slabmalloc_dma_free(b) && !slabmalloc_dma_free(d) && pool_free() == 1);
    require(!slabmalloc_dma_free(c) && pool_free() == 2);
}

Test(dma, buffers_of_different_demands_do_not_share) {
    char *plain = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, PAGE);
    char *shared = alloc_at(SLABMALLOC_DMA_RESIDENT, SLABMALLOC_DMA_SHARED, PAGE);
    struct slabmalloc_dma_spec spec = SLABMALLOC_DMA_SPEC;
    spec.node = 0;
    char *bound = slabmalloc_dma_alloc(PAGE, &spec, NULL);
    char *like_the_first = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, PAGE);
    require(plain && shared && bound && like_the_first);
    lock_take(dma_lock());
    require(dma_region_of(plain, 1) == dma_region_of(like_the_first, 1));
    require(dma_region_of(plain, 1) != dma_region_of(shared, 1));
    require(dma_region_of(plain, 1) != dma_region_of(bound, 1));
    lock_drop(dma_lock());
    struct slabmalloc_dma_info info;
    require(!slabmalloc_dma_info(bound, &info) && info.node == 0);
}

Test(dma, buffers_never_overlap_and_keep_their_bytes) {
    enum { SLOTS = 60 };
    static struct {
        char *p;
        size_t bytes;
    } slot[SLOTS];
    struct rng rng = {3};
    for (unsigned long step = 0; step < rounds(4000); step++) {
        size_t i = rng_below(&rng, SLOTS);
        if (slot[i].p) {
            require(words_hold(slot[i].p, slot[i].bytes, i), "step %lu", step);
            require(!slabmalloc_dma_free(slot[i].p));
            slot[i].p = NULL;
            continue;
        }
        struct slabmalloc_dma_spec spec = SLABMALLOC_DMA_SPEC;
        spec.flags = rng_below(&rng, 2) ? SLABMALLOC_DMA_SHARED : 0;
        spec.align = rng_below(&rng, 3) ? 0 : (size_t)1 << rng_below(&rng, 17);
        slot[i].bytes = 1 + random_size(&rng, 300 * KIB);
        spec.boundary = rng_below(&rng, 3) ? 0 : 512 * KIB;
        slot[i].p = slabmalloc_dma_alloc(slot[i].bytes, &spec, NULL);
        require(slot[i].p, "%s", strerror(errno));
        words_fill(slot[i].p, slot[i].bytes, i);
    }
    for (size_t i = 0; i < SLOTS; i++) {
        require(!slot[i].p || !slabmalloc_dma_free(slot[i].p));
    }
    require(!dma_regions());
}

Test(dma, free_takes_the_start_of_a_live_buffer_and_nothing_else) {
    char *a = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, 2 * PAGE), *b = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, 2 * PAGE);
    require(b == a + 2 * PAGE);
    char here;
    void *const bad[] = {NULL, &here, a + 1, a + PAGE, b + PAGE, b + 2 * PAGE, a - 1};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        errno = 0;
        require(slabmalloc_dma_free(bad[i]) == -1 && errno == EINVAL, "case %zu", i);
    }
    require(!slabmalloc_dma_free(a));
    require(slabmalloc_dma_free(a) == -1 && errno == EINVAL);
    require(!slabmalloc_dma_free(b));
    require(slabmalloc_dma_free(b) == -1 && errno == EINVAL);
}

/* --- Errors --- */

Test(dma, einval_is_a_demand_that_makes_no_sense) {
    struct slabmalloc_dma_spec spec = SLABMALLOC_DMA_SPEC;
    must_fail_with(EINVAL, 0, &spec);
    spec.align = 3 * PAGE;
    must_fail_with(EINVAL, 1, &spec);
    spec = (struct slabmalloc_dma_spec)SLABMALLOC_DMA_SPEC;
    spec.boundary = 5000;
    must_fail_with(EINVAL, 1, &spec);
    spec.boundary = 4096;
    must_fail_with(EINVAL, 4097, &spec); /* impossible: larger than what it must not cross */
    spec = spec_at(4, 0);
    must_fail_with(EINVAL, 1, &spec);
    spec = spec_at(SLABMALLOC_DMA_RESIDENT, 4);
    must_fail_with(EINVAL, 1, &spec);
    spec = (struct slabmalloc_dma_spec)SLABMALLOC_DMA_SPEC;
    spec.node = 63;
    must_fail_with(EINVAL, 1, &spec);
    spec.node = 1 << 20;
    must_fail_with(EINVAL, 1, &spec);
    spec.node = -2;
    must_fail_with(EINVAL, 1, &spec);
}

Test(dma, erange_is_memory_below_16_mib) {
    struct slabmalloc_dma_spec spec = SLABMALLOC_DMA_SPEC;
    spec.max_addr = 0xffffff;
    must_fail_with(ERANGE, PAGE, &spec);
    spec.max_addr = 1;
    spec.level = SLABMALLOC_DMA_HUGETLB;
    must_fail_with(ERANGE, PAGE, &spec);
}

Test(dma, erange_is_a_max_addr_that_no_attempt_met) {
    NEEDS_FRAMES();
    struct slabmalloc_dma_spec spec = SLABMALLOC_DMA_SPEC;
    spec.max_addr = 16 * MIB;
    must_fail_with(ERANGE, PAGE, &spec);
    require(!dma_regions()); /* what was too high is gone */
}

Test(dma, max_addr_is_met_where_memory_reaches_that_far_only) {
    NEEDS_FRAMES();
    struct slabmalloc_dma_spec spec = SLABMALLOC_DMA_SPEC;
    spec.max_addr = (uint64_t)1 << 46;
    for (enum slabmalloc_dma_level level = SLABMALLOC_DMA_RESIDENT; level <= SLABMALLOC_DMA_LONGTERM; level += 2) {
        spec.level = level;
        char *p = slabmalloc_dma_alloc(300 * KIB, &spec, NULL);
        if (!p && errno == ENOTSUP) {
            continue;
        }
        require(p, "%s", strerror(errno));
        uint64_t highest = 0;
        for (size_t at = 0; at < 300 * KIB; at += PAGE) {
            highest = frame_of(p + at) > highest ? frame_of(p + at) : highest;
        }
        require(highest && (highest + 1) * PAGE - 1 <= spec.max_addr);
        require(!slabmalloc_dma_free(p));
    }
}

Test(dma, a_region_known_to_be_too_high_serves_no_lower_demand) {
    NEEDS_POOL(2);
    NEEDS_FRAMES();
    struct slabmalloc_dma_spec spec = spec_at(SLABMALLOC_DMA_HUGETLB, 0);
    char *anywhere = slabmalloc_dma_alloc(PAGE, &spec, NULL);
    require(anywhere);
    spec.max_addr = phys_of(anywhere) / HUGE * HUGE - 1; /* just below it */
    char *below = slabmalloc_dma_alloc(PAGE, &spec, NULL);
    require(below ? phys_of(below) <= spec.max_addr : errno == ERANGE);
    require(!below || !slabmalloc_dma_free(below));
    spec.max_addr = (uint64_t)1 << 46;
    char *measured = slabmalloc_dma_alloc(PAGE, &spec, NULL);
    require(measured && (uintptr_t)measured / HUGE != (uintptr_t)anywhere / HUGE && pool_free() == 0);
    char *beside = slabmalloc_dma_alloc(PAGE, &spec, NULL);
    require(beside && (uintptr_t)beside / HUGE == (uintptr_t)measured / HUGE);
}

static void without_sys_admin(void *arg) {
    char *p = arg;
    drop_capability(CAP_SYS_ADMIN);
    uint64_t phys = 7;
    MUST(slabmalloc_virt_to_phys(p, &phys) == -1 && errno == EPERM && phys == 7);
    struct slabmalloc_dma_spec spec = SLABMALLOC_DMA_SPEC;
    spec.max_addr = 0xffffffff;
    errno = 0;
    MUST(!slabmalloc_dma_alloc(PAGE, &spec, NULL) && errno == EPERM);
    spec.max_addr = 0;
    void *mine = slabmalloc_dma_alloc(PAGE, &spec, NULL);
    struct slabmalloc_dma_sg sg;
    MUST(mine && slabmalloc_dma_map_sg(mine, PAGE, 0, &sg, 1) == -1 && errno == EPERM);
    MUST(!slabmalloc_dma_free(mine));
    struct slabmalloc_dma_pool *pool = slabmalloc_dma_pool_create("hidden", 64, 0, 0, NULL);
    MUST(pool && !slabmalloc_dma_pool_alloc(pool, &phys) && errno == EPERM);
    void *object = slabmalloc_dma_pool_alloc(pool, NULL); /* who wants no address needs no right */
    MUST(object && !slabmalloc_dma_pool_free(pool, object) && !slabmalloc_dma_pool_destroy(pool));
}

Test(dma, eperm_is_a_kernel_that_hides_physical_addresses) {
    NEEDS_ROOT();
    static char page[8192];
    memset(page, 1, sizeof page);
    child_must_end_well(without_sys_admin, page);
}

static void with_little_to_lock(void *arg) {
    (void)arg;
    limit_locked_memory(64 * KIB);
    errno = 0;
    MUST(!slabmalloc_dma_alloc(128 * KIB, NULL, NULL) && errno == EAGAIN);
    void *p = slabmalloc_dma_alloc(32 * KIB, NULL, NULL); /* a region for others too would be too large */
    MUST(p != NULL);
    errno = 0;
    MUST(!slabmalloc_dma_alloc(48 * KIB, NULL, NULL) && errno == EAGAIN);
    MUST(!slabmalloc_dma_free(p));
    p = slabmalloc_dma_alloc(64 * KIB, NULL, NULL);
    MUST(p && !slabmalloc_dma_free(p));
}

static void with_nothing_to_lock(void *arg) {
    (void)arg;
    limit_locked_memory(0);
    errno = 0;
    MUST(!slabmalloc_dma_alloc(1, NULL, NULL) && errno == EAGAIN);
}

static void with_little_to_pin(void *arg) {
    (void)arg;
    setuid(65534); /* io_uring counts by user: root may have pinned more than that already */
    MUST(!setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){64 * KIB, 64 * KIB}));
    errno = 0;
    MUST(!alloc_at(SLABMALLOC_DMA_LONGTERM, 0, 128 * KIB));
    MUST(errno == EAGAIN);
}

Test(dma, eagain_is_rlimit_memlock) {
    NEEDS_POOL(0);
    child_must_end_well(with_little_to_lock, NULL);
    child_must_end_well(with_nothing_to_lock, NULL);
    NEEDS_RING();
    child_must_end_well(with_little_to_pin, NULL);
}

static void locked_or_huge(void *arg) {
    (void)arg;
    limit_locked_memory(64 * KIB);
    enum slabmalloc_dma_level level = 0;
    MUST(slabmalloc_dma_alloc(128 * KIB, NULL, &level) && level == SLABMALLOC_DMA_HUGETLB);
}

Test(dma, where_nothing_more_can_be_locked_the_pool_serves) {
    NEEDS_POOL(1);
    child_must_end_well(locked_or_huge, NULL);
}

Test(dma, enomem_is_an_empty_pool) {
    NEEDS_POOL(1);
    struct slabmalloc_dma_spec spec = spec_at(SLABMALLOC_DMA_HUGETLB, 0);
    must_fail_with(ENOMEM, HUGE + 1, &spec);
    void *p = slabmalloc_dma_alloc(HUGE, &spec, NULL);
    require(p);
    must_fail_with(ENOMEM, 1, &spec);
    spec.flags = SLABMALLOC_DMA_SHARED;
    must_fail_with(ENOMEM, 1, &spec);
    spec = spec_at(SLABMALLOC_DMA_LONGTERM, SLABMALLOC_DMA_HUGE);
    must_fail_with(ENOMEM, 1, &spec);
    require(!slabmalloc_dma_free(p) && pool_free() == 1);
}

Test(dma, enomem_is_more_than_there_can_be) {
    static const size_t sizes[] = {PTRDIFF_MAX, SIZE_MAX, (size_t)1 << 46, (size_t)1 << 62};
    struct slabmalloc_dma_spec spec = SLABMALLOC_DMA_SPEC;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        must_fail_with(ENOMEM, sizes[i], &spec);
    }
    spec.align = (size_t)1 << 62;
    must_fail_with(ENOMEM, 1, &spec);
    spec.align = (size_t)1 << 47;
    must_fail_with(ENOMEM, 1, &spec);
}

static void without_io_uring(void *error) {
    forbid_call(SYS_io_uring_setup, (unsigned)(uintptr_t)error);
    errno = 0;
    MUST(!alloc_at(SLABMALLOC_DMA_LONGTERM, 0, 1) && errno == ENOTSUP);
    void *p = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, 1);
    MUST(p && !slabmalloc_dma_free(p));
}

Test(dma, enotsup_is_a_level_that_this_kernel_or_its_policy_has_not) {
    child_must_end_well(without_io_uring, (void *)(uintptr_t)ENOSYS);
    child_must_end_well(without_io_uring, (void *)(uintptr_t)EPERM);
}

/* --- What the kernel refuses --- */

Test(dma, regions_that_cannot_be_unmapped_wait_for_a_trim) {
    char *p = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, PAGE), *q = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, MIB);
    fault_arm(1u << SYS_UNMAP, 0, FOREVER);
    require(!slabmalloc_dma_free(p) && !slabmalloc_dma_free(q));
    require(fault_disarm() == 2);
    require(dma_regions() && slabmalloc_dma_free(p) == -1 && errno == EINVAL);
    struct slabmalloc_dma_info info;
    require(slabmalloc_dma_info(p, &info) == -1 && errno == EINVAL);
    char *other = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, PAGE);
    require(other && other != p && !slabmalloc_dma_free(other));
    slabmalloc_trim();
    require(!dma_regions() && resident_pages(p, PAGE) == SIZE_MAX); /* not mapped */
}

Test(dma, every_refusal_is_an_error_and_leaves_nothing_behind) {
    NEEDS_POOL(1);
    static const struct {
        enum sys_call call;
        enum slabmalloc_dma_level level;
        unsigned flags;
        int error;
    } cases[] = {
        {SYS_MAP, SLABMALLOC_DMA_RESIDENT, 0, ENOMEM},
        {SYS_MAP, SLABMALLOC_DMA_RESIDENT, SLABMALLOC_DMA_SHARED, ENOMEM},
        {SYS_HUGE, SLABMALLOC_DMA_HUGETLB, 0, ENOMEM},
        {SYS_LOCK, SLABMALLOC_DMA_RESIDENT, SLABMALLOC_DMA_SHARED, EAGAIN},
        {SYS_ADVISE, SLABMALLOC_DMA_HUGETLB, 0, ENOTSUP},
        {SYS_ADVISE, SLABMALLOC_DMA_HUGETLB, SLABMALLOC_DMA_SHARED, ENOTSUP},
        {SYS_RING, SLABMALLOC_DMA_LONGTERM, 0, ENOTSUP},
    };
    slabmalloc_free(slabmalloc_malloc(1));
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        fault_arm(1u << cases[i].call | (cases[i].call == SYS_LOCK) << SYS_HUGE, 0, FOREVER);
        errno = 0;
        void *p = alloc_at(cases[i].level, cases[i].flags, PAGE);
        fault_disarm();
        require(!p && errno == cases[i].error, "case %zu: %s", i, strerror(errno));
        require(!dma_regions() && pool_free() == 1, "case %zu", i);
    }
}
