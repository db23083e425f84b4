/* slabmalloc_virt_to_phys and slabmalloc_dma_map_sg say what the pagemap says, in the fewest entries; pages that must
 * not move do not. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "dma_probe.h"

TestSuite(dma_phys, .init = pool_share);

Test(dma_phys, virt_to_phys_says_what_the_pagemap_says) {
    NEEDS_FRAMES();
    static char data[16384];
    memset(data, 1, sizeof data);
    for (size_t at = 0; at < sizeof data; at += 1237) {
        uint64_t phys = 0;
        require(!slabmalloc_virt_to_phys(data + at, &phys) && phys == phys_of(data + at), "at %zu", at);
    }
    char *untouched = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t phys = 7;
    require(slabmalloc_virt_to_phys(untouched, &phys) == -1 && errno == EINVAL && phys == 7);
    void *no_address[] = {(void *)0xffff888000000000, (void *)0x8000000000000000}; /* the kernel's, and nobody's */
    for (size_t i = 0; i < COUNT_OF(no_address); i++) {
        errno = 0;
        require(slabmalloc_virt_to_phys(no_address[i], &phys) == -1 && errno == EINVAL, "%zu: %s", i, strerror(errno));
    }
}

/* LIST is exactly [P, P + BYTES), in order, each entry on frames in a row, the fewest there can be. */
static void must_map(const char *p, size_t bytes, const struct slabmalloc_dma_sg *list, int n, size_t boundary) {
    size_t done = 0;
    for (int i = 0; i < n; i++) {
        require(list[i].va == p + done && list[i].len, "entry %d", i);
        for (size_t at = 0; at < list[i].len; at += at ? PAGE : PAGE - (uintptr_t)(p + done) % PAGE) {
            require(phys_of(p + done + at) == list[i].phys + at, "entry %d at %zu", i, at);
        }
        require(!boundary || list[i].phys / boundary == (list[i].phys + list[i].len - 1) / boundary, "entry %d", i);
        if (i) {
            bool follows = list[i - 1].phys + list[i - 1].len == list[i].phys;
            require(!follows || (boundary && list[i].phys % boundary == 0), "entry %d should be one with the last", i);
        }
        done += list[i].len;
    }
    require(done == bytes);
}

Test(dma_phys, sg_entries_are_the_fewest_with_frames_in_a_row) {
    NEEDS_POOL(0);
    NEEDS_FRAMES();
    NEEDS_RING();
    static struct slabmalloc_dma_sg list[4096];
    char *p = alloc_at(SLABMALLOC_DMA_LONGTERM, 0, 3 * MIB); /* on ordinary pages, which must not move meanwhile */
    static const size_t ranges[][2] = {{0, 3 * MIB}, {1, 1}, {100, 4096}, {4095, 2}, {5000, 2 * MIB}, {4096, 4096}};
    for (size_t i = 0; i < COUNT_OF(ranges); i++) {
        for (size_t boundary = 0; boundary <= MIB; boundary = boundary ? boundary * 16 : 1024) {
            int n = slabmalloc_dma_map_sg(p + ranges[i][0], ranges[i][1], boundary, list, COUNT_OF(list));
            require(n > 0, "range %zu boundary %zu: %s", i, boundary, strerror(errno));
            must_map(p + ranges[i][0], ranges[i][1], list, n, boundary);
        }
    }
}

Test(dma_phys, a_huge_page_is_one_entry) {
    NEEDS_POOL(3);
    NEEDS_FRAMES();
    struct slabmalloc_dma_sg list[8];
    char *p = alloc_at(SLABMALLOC_DMA_HUGETLB, 0, 3 * HUGE);
    int n = slabmalloc_dma_map_sg(p, 3 * HUGE, HUGE, list, 8);
    require(n == 3);
    must_map(p, 3 * HUGE, list, n, HUGE);
    n = slabmalloc_dma_map_sg(p + HUGE / 2, HUGE, 0, list, 8);
    require(n == 1 || n == 2);
    must_map(p + HUGE / 2, HUGE, list, n, 0);
    require(slabmalloc_dma_map_sg(p + 5, HUGE - 5, 0, list, 1) == 1 && list[0].phys == phys_of(p) + 5);
}

Test(dma_phys, a_shared_page_without_an_entry_has_an_address_all_the_same) {
    NEEDS_POOL(0);
    NEEDS_FRAMES();
    NEEDS_RING();
    struct slabmalloc_dma_sg before[64], after[64];
    char *p = alloc_at(SLABMALLOC_DMA_LONGTERM, SLABMALLOC_DMA_SHARED, 64 * PAGE);
    int n = slabmalloc_dma_map_sg(p, 64 * PAGE, 0, before, 64);
    require(n > 0 && !madvise(p, 64 * PAGE, MADV_DONTNEED) && !frame_of(p)); /* as a kernel that tries to page out */
    require(slabmalloc_dma_map_sg(p, 64 * PAGE, 0, after, 64) == n &&
            !memcmp(before, after, (size_t)n * sizeof *after));
}

Test(dma_phys, enospc_is_a_list_too_short) {
    NEEDS_POOL(2);
    NEEDS_FRAMES();
    struct slabmalloc_dma_sg list[3] = {{0}};
    char *p = alloc_at(SLABMALLOC_DMA_HUGETLB, 0, 2 * HUGE);
    require(slabmalloc_dma_map_sg(p, 2 * HUGE, HUGE, list, 1) == -1 && errno == ENOSPC);
    require(!list[1].va);
    require(slabmalloc_dma_map_sg(p, 2 * HUGE, HUGE, list, 0) == -1 && errno == ENOSPC);
    require(slabmalloc_dma_map_sg(p, 2 * HUGE, HUGE, list, 2) == 2 && !list[2].va);
}

Test(dma_phys, a_list_is_of_one_buffer) {
    struct slabmalloc_dma_sg list[64];
    char *a = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, 2 * PAGE), *b = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, 2 * PAGE);
    require(b == a + 2 * PAGE);
    static char elsewhere[100];
    const struct {
        const char *p;
        size_t bytes, boundary;
        int max;
    } bad[] = {{a, 2 * PAGE + 1, 0, 64}, {a + PAGE, 2 * PAGE, 0, 64}, {a, 0, 0, 64},        {elsewhere, 10, 0, 64},
               {a, SIZE_MAX, 0, 64},     {a, PAGE, 3000, 64},         {a, 2 * PAGE, 0, -1}, {b + 2 * PAGE, 1, 0, 64}};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        errno = 0;
        require(slabmalloc_dma_map_sg(bad[i].p, bad[i].bytes, bad[i].boundary, list, bad[i].max) == -1 &&
                    errno == EINVAL,
                "case %zu", i);
    }
}

/* --- What stays where it is --- */

Test(dma_phys, a_resident_buffer_says_that_it_may_move) {
    char *p = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, MIB);
    struct slabmalloc_dma_info info;
    require(!slabmalloc_dma_info(p, &info) && info.may_move == 1);
    require(resident_pages(p, MIB) == MIB / PAGE);
    stir_memory(p, MIB);
    require(resident_pages(p, MIB) == MIB / PAGE); /* wherever they are now */
}

static void must_stay(enum slabmalloc_dma_level level, unsigned flags, size_t bytes) {
    char *p = alloc_at(level, flags, bytes);
    require(p, "%s", strerror(errno));
    size_t n = bytes / PAGE;
    uint64_t *frames = malloc(n * sizeof *frames);
    for (size_t i = 0; i < n; i++) {
        frames[i] = frame_of(p + i * PAGE);
        require(frames[i]);
    }
    for (unsigned round = 0; round < 2; round++) {
        stir_memory(p, bytes); /* with a fork */
        memset(p, (int)round, bytes);
        for (size_t i = 0; i < n; i++) {
            require(frame_of(p + i * PAGE) == frames[i], "level %d flags %u: page %zu moved", level, flags, i);
        }
    }
    free(frames);
    require(!slabmalloc_dma_free(p));
}

Test(dma_phys, hugetlb_buffers_stay_through_compaction_pressure_and_fork) {
    NEEDS_POOL(2);
    NEEDS_FRAMES();
    must_stay(SLABMALLOC_DMA_HUGETLB, 0, 2 * HUGE);
    must_stay(SLABMALLOC_DMA_HUGETLB, SLABMALLOC_DMA_SHARED, 2 * HUGE);
}

Test(dma_phys, longterm_buffers_stay_through_compaction_pressure_and_fork) {
    NEEDS_POOL(0);
    NEEDS_FRAMES();
    NEEDS_RING();
    must_stay(SLABMALLOC_DMA_LONGTERM, 0, MIB);
    must_stay(SLABMALLOC_DMA_LONGTERM, SLABMALLOC_DMA_SHARED, MIB);
}
