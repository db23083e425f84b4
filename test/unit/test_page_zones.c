/* pages.h promises, second part: which zone serves, what it counts, and what watermarks keep. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "lock_wait.h"
#include "slabmalloc/pages.h"
#include "support.h"
#include "zone.h"

#define DMA ((struct slabmalloc_zone){0, SLABMALLOC_ZONE_DMA})
#define NORMAL ((struct slabmalloc_zone){0, SLABMALLOC_ZONE_NORMAL})
#define HIGHMEM ((struct slabmalloc_zone){0, SLABMALLOC_ZONE_HIGHMEM})

/* No decay by the clock: what is purged is what a test calls for. */
static void setup(void) {
    options.decay_ms = 1000000;
    options.background = false;
}

TestSuite(page_zones, .init = setup, .timeout = 120);

static struct slabmalloc_zone_info zone_now(struct slabmalloc_zone zone) {
    struct slabmalloc_zone_info info;
    MUST(!slabmalloc_zone_info(zone, &info, sizeof info));
    return info;
}

static enum slabmalloc_zone_kind kind_at(const void *p) {
    struct slabmalloc_page_info info;
    MUST(slabmalloc_page_info(p, &info, sizeof info) == 1);
    return info.kind;
}

static void *take(unsigned flags, unsigned order) {
    return slabmalloc_alloc_pages(flags, order);
}

/* Free blocks by order, as in the lecture: the first list is of single pages, the last of 512. */
static void must_list(struct slabmalloc_zone zone, const size_t expected[SLABMALLOC_NR_ORDERS]) {
    const struct slabmalloc_zone_info info = zone_now(zone);
    for (unsigned order = 0; order < SLABMALLOC_NR_ORDERS; order++) {
        cr_assert(info.nr_free[order] == expected[order], "%zu free blocks of %u pages instead of %zu",
                  info.nr_free[order], 1u << order, expected[order]);
    }
    MUST_BE_SOUND();
}

/* HIGHMEM with one free block, of ORDER, and the rest out. Nothing else uses it. */
static void *only_free(unsigned order) {
    void *first = take(SLABMALLOC_PAGE_HIGHMEM, order);
    MUST(first);
    fault_arm(1u << SYS_MAP, 0, FOREVER);
    const struct slabmalloc_zone zone = HIGHMEM;
    while (slabmalloc_alloc_pages_zonelist(&zone, 1, 0, order)) {
    }
    fault_disarm();
    slabmalloc_free_pages(first, order);
    return first;
}

/* The lecture's examples. */

Test(page_zones, we_want_8_contiguous_pages_no_8_no_16_a_32_is_split) {
    char *first = only_free(5);
    must_list(HIGHMEM, (size_t[]){0, 0, 0, 0, 0, 1, 0, 0, 0, 0});
    const struct slabmalloc_zone_info before = zone_now(HIGHMEM);
    char *p = take(SLABMALLOC_PAGE_HIGHMEM, 3);
    MUST(p == first);
    must_list(HIGHMEM, (size_t[]){0, 0, 0, 1, 1, 0, 0, 0, 0, 0});
    const struct slabmalloc_zone_info after = zone_now(HIGHMEM);
    MUST(after.splits - before.splits == 2 && after.merges == before.merges);
    struct slabmalloc_page_info info;
    MUST(slabmalloc_page_info(p + 8 * PAGE_BYTES, &info, sizeof info) && info.state == SLABMALLOC_STATE_FREE);
    MUST(info.head == p + 8 * PAGE_BYTES && info.pages == 8);
    MUST(slabmalloc_page_info(p + 16 * PAGE_BYTES, &info, sizeof info) && info.state == SLABMALLOC_STATE_FREE);
    MUST(info.head == p + 16 * PAGE_BYTES && info.pages == 16);
    slabmalloc_free_pages(p, 3);
    must_list(HIGHMEM, (size_t[]){0, 0, 0, 0, 0, 1, 0, 0, 0, 0});
    MUST(zone_now(HIGHMEM).merges - after.merges == 2);
}

Test(page_zones, for_64_pages_512_become_256_128_64_and_coalesce_all_the_way_back) {
    char *first = only_free(9);
    must_list(HIGHMEM, (size_t[]){0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
    const struct slabmalloc_zone_info before = zone_now(HIGHMEM);
    char *p = take(SLABMALLOC_PAGE_HIGHMEM, 6);
    MUST(p == first);
    must_list(HIGHMEM, (size_t[]){0, 0, 0, 0, 0, 0, 1, 1, 1, 0});
    MUST(zone_now(HIGHMEM).splits - before.splits == 3);
    char *buddy = take(SLABMALLOC_PAGE_HIGHMEM, 6);
    MUST(buddy == p + 64 * PAGE_BYTES);
    must_list(HIGHMEM, (size_t[]){0, 0, 0, 0, 0, 0, 0, 1, 1, 0});
    slabmalloc_free_pages(p, 6); /* its buddy is out: nothing to merge with */
    must_list(HIGHMEM, (size_t[]){0, 0, 0, 0, 0, 0, 1, 1, 1, 0});
    MUST(zone_now(HIGHMEM).merges == before.merges);
    slabmalloc_free_pages(buddy, 6);
    must_list(HIGHMEM, (size_t[]){0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
    MUST(zone_now(HIGHMEM).merges - before.merges == 3);
}

/* Flags and lists. */

Test(page_zones, flags_choose_the_kind) {
    MUST(kind_at(take(0, 0)) == SLABMALLOC_ZONE_NORMAL);
    MUST(kind_at(take(SLABMALLOC_PAGE_HIGHMEM, 0)) == SLABMALLOC_ZONE_HIGHMEM);
    MUST(kind_at(take(SLABMALLOC_PAGE_DMA, 0)) == SLABMALLOC_ZONE_DMA);
    MUST(kind_at(slabmalloc_malloc(100)) == SLABMALLOC_ZONE_NORMAL);
}

Test(page_zones, there_are_three_per_node_by_name) {
    struct slabmalloc_zone zones[ZONES_MAX];
    size_t n = slabmalloc_zones(zones, COUNT_OF(zones));
    MUST(n >= 3 && n % 3 == 0 && slabmalloc_zones(NULL, 0) == n);
    for (size_t i = 0; i < n; i++) {
        MUST(zones[i].kind == (enum slabmalloc_zone_kind)(i % 3));
        zone_now(zones[i]);
    }
    struct slabmalloc_zone_info info;
    static const struct slabmalloc_zone none[] = {{-2, SLABMALLOC_ZONE_NORMAL},
                                                  {64, SLABMALLOC_ZONE_NORMAL},
                                                  {1 << 30, SLABMALLOC_ZONE_DMA},
                                                  {0, SLABMALLOC_ZONE_KINDS}};
    for (size_t i = 0; i < COUNT_OF(none); i++) {
        errno = 0;
        MUST(slabmalloc_zone_info(none[i], &info, sizeof info) == -1 && errno == EINVAL);
        errno = 0;
        MUST(!slabmalloc_alloc_pages_zonelist(&none[i], 1, 0, 0) && errno == EINVAL);
    }
}

Test(page_zones, a_node_that_does_not_exist_is_an_error) {
    errno = 0;
    MUST(!slabmalloc_alloc_pages_node(63, 0, 0) && errno == EINVAL);
    errno = 0;
    MUST(!slabmalloc_alloc_pages_node(-2, 0, 0) && errno == EINVAL);
    errno = 0;
    MUST(!slabmalloc_alloc_pages_exact_node(64, 0, 1) && errno == EINVAL);
    void *p = slabmalloc_alloc_pages_node(0, SLABMALLOC_PAGE_THISNODE, 2);
    MUST(p);
    slabmalloc_free_pages(p, 2);
    p = slabmalloc_alloc_pages_exact_node(0, 0, 3 * PAGE_BYTES);
    MUST(p);
    slabmalloc_free_pages_exact(p, 3 * PAGE_BYTES);
}

Test(page_zones, an_explicit_list_is_walked_in_its_order_and_no_further) {
    const struct slabmalloc_zone list[] = {DMA, HIGHMEM};
    void *p = slabmalloc_alloc_pages_zonelist(list, 2, 0, 2);
    MUST(kind_at(p) == SLABMALLOC_ZONE_DMA);
    p = slabmalloc_alloc_pages_zonelist(list + 1, 1, 0, 2);
    MUST(kind_at(p) == SLABMALLOC_ZONE_HIGHMEM);
    fault_arm(1u << SYS_MAP, 0, FOREVER);
    unsigned kinds[SLABMALLOC_ZONE_KINDS] = {0};
    const struct slabmalloc_zone_info dma = zone_now(DMA), high = zone_now(HIGHMEM);
    while ((p = slabmalloc_alloc_pages_zonelist(list, 2, SLABMALLOC_PAGE_NORETRY, 7))) {
        kinds[kind_at(p)]++;
        MUST(kind_at(p) == (kinds[SLABMALLOC_ZONE_HIGHMEM] ? SLABMALLOC_ZONE_HIGHMEM : SLABMALLOC_ZONE_DMA));
    }
    MUST(errno == ENOMEM && kinds[SLABMALLOC_ZONE_DMA] && kinds[SLABMALLOC_ZONE_HIGHMEM] &&
         !kinds[SLABMALLOC_ZONE_NORMAL]);
    const struct slabmalloc_zone_info dma_after = zone_now(DMA), high_after = zone_now(HIGHMEM);
    MUST(dma_after.hits - dma.hits == kinds[SLABMALLOC_ZONE_DMA]);
    MUST(high_after.fallbacks - high.fallbacks == kinds[SLABMALLOC_ZONE_HIGHMEM] && high_after.hits == high.hits);
    MUST(dma_after.misses - dma.misses == kinds[SLABMALLOC_ZONE_HIGHMEM] + 1 && high_after.misses == high.misses);
    MUST_BE_SOUND();
}

Test(page_zones, a_list_must_be_one) {
    const struct slabmalloc_zone list[] = {NORMAL};
    errno = 0;
    MUST(!slabmalloc_alloc_pages_zonelist(list, 0, 0, 0) && errno == EINVAL);
    errno = 0;
    MUST(!slabmalloc_alloc_pages_zonelist(list, 1, SLABMALLOC_PAGE_DMA, 0) && errno == EINVAL);
    errno = 0;
    MUST(!slabmalloc_alloc_pages_zonelist(list, 1, SLABMALLOC_PAGE_HIGHMEM, 0) && errno == EINVAL);
    errno = 0;
    MUST(!slabmalloc_alloc_pages_zonelist(list, 1, 0, 60) && errno == ENOMEM);
}

/* What may be purged: nothing of it is in use, and the kernel took no part of it yet. */
static void make_dirty(struct slabmalloc_zone zone, unsigned nblocks) {
    static char *p[64];
    for (unsigned i = 0; i < nblocks; i++) {
        MUST((p[i] = slabmalloc_alloc_pages_zonelist(&zone, 1, SLABMALLOC_PAGE_NORETRY, 9)));
        memset(p[i], 1, BLOCK_BYTES);
    }
    for (unsigned i = 0; i < nblocks; i++) {
        slabmalloc_free_pages(p[i], 9);
    }
}

/* DMA's reserve. */

Test(page_zones, others_leave_dma_its_reserve_and_do_not_make_it_grow) {
    const struct slabmalloc_zone list[] = {NORMAL, DMA};
    struct slabmalloc_watermarks marks;
    MUST(!slabmalloc_zone_watermarks(DMA, &marks) && marks.reserve_ratio == 256);
    slabmalloc_free_pages(take(SLABMALLOC_PAGE_DMA, 0), 0); /* it has memory, and so have those above */
    slabmalloc_free_pages(take(0, 0), 0);
    marks.reserve_ratio = 2;
    MUST(!slabmalloc_zone_set_watermarks(DMA, &marks));
    size_t mapped = zone_now(DMA).mapped_pages, reserve = zone_now(NORMAL).mapped_pages / 2;
    MUST(zone_now(DMA).lowmem_reserve[SLABMALLOC_ZONE_NORMAL] == reserve);
    MUST(zone_now(DMA).lowmem_reserve[SLABMALLOC_ZONE_DMA] == 0 && reserve && reserve < mapped);
    fault_arm(1u << SYS_MAP, 0, FOREVER);
    void *p;
    size_t from_dma = 0;
    while ((p = slabmalloc_alloc_pages_zonelist(list, 2, SLABMALLOC_PAGE_NORETRY, 3))) {
        from_dma += kind_at(p) == SLABMALLOC_ZONE_DMA;
    }
    MUST(from_dma && zone_now(DMA).free_pages >= reserve && zone_now(DMA).free_pages < reserve + 8);
    fault_arm(1u << SYS_MAP, 0, 2); /* NORMAL's region and its smaller one; DMA would get its own */
    MUST(!slabmalloc_alloc_pages_zonelist(list, 2, SLABMALLOC_PAGE_NORETRY, 3) && fault_disarm() == 2);
    MUST(kind_at(slabmalloc_alloc_pages_zonelist(list, 2, 0, 3)) == SLABMALLOC_ZONE_NORMAL);
    MUST(zone_now(DMA).mapped_pages == mapped);
    size_t free_pages = zone_now(DMA).free_pages;
    for (; free_pages; free_pages -= 8) { /* those that ask for it get it, and more */
        MUST(kind_at(take(SLABMALLOC_PAGE_DMA, 3)) == SLABMALLOC_ZONE_DMA);
    }
    MUST(take(SLABMALLOC_PAGE_DMA, 3) && zone_now(DMA).mapped_pages > mapped);
    MUST_BE_SOUND();
}

Test(page_zones, a_zone_with_a_reserve_does_not_grow_for_it) {
    const struct slabmalloc_zone list[] = {HIGHMEM, NORMAL};
    slabmalloc_free_pages(take(SLABMALLOC_PAGE_HIGHMEM, 12), 12);
    slabmalloc_free_pages(take(0, 0), 0);
    size_t mapped = zone_now(NORMAL).mapped_pages;
    MUST(!slabmalloc_zone_set_watermarks(NORMAL, &(struct slabmalloc_watermarks){0, 0, SLABMALLOC_WATERMARK_AUTO, 1}));
    MUST(zone_now(NORMAL).lowmem_reserve[SLABMALLOC_ZONE_HIGHMEM] > mapped);
    while (slabmalloc_alloc_pages_zonelist(list, 1, SLABMALLOC_PAGE_NOWAIT, 9)) {
    }
    fault_arm(1u << SYS_MAP, 0, 2); /* HIGHMEM's regions; NORMAL's would be granted */
    MUST(!slabmalloc_alloc_pages_zonelist(list, 2, SLABMALLOC_PAGE_NORETRY, 9) && fault_disarm() == 2);
    MUST(zone_now(NORMAL).mapped_pages == mapped);
    MUST(take(0, 9) && slabmalloc_malloc(MIB)); /* those that ask for NORMAL */
}

/* NOWAIT. */

/* Each kind of request that can be served from what is free. */
static void requests_without_waiting(void) {
    const unsigned kinds[] = {0, SLABMALLOC_PAGE_HIGHMEM, SLABMALLOC_PAGE_DMA};
    const struct slabmalloc_zone list[] = {HIGHMEM, NORMAL};
    for (unsigned i = 0; i < COUNT_OF(kinds); i++) {
        for (unsigned order = 0; order <= 10; order++) {
            for (unsigned zero = 0; zero < 2; zero++) {
                unsigned flags = kinds[i] | SLABMALLOC_PAGE_NOWAIT | (zero ? SLABMALLOC_PAGE_ZERO : 0);
                char *p = slabmalloc_alloc_pages(flags, order);
                MUST(p);
                *p = 1;
                p = slabmalloc_alloc_pages_zonelist(list, 2, SLABMALLOC_PAGE_NOWAIT, order);
                MUST(p);
                *p = 1;
                p = slabmalloc_alloc_pages_exact_node(0, flags, (PAGE_BYTES << order) + 1);
                MUST(p);
                *p = 1;
            }
        }
    }
    while (slabmalloc_alloc_pages(SLABMALLOC_PAGE_NOWAIT, 0)) {
    }
    MUST(!slabmalloc_alloc_pages(SLABMALLOC_PAGE_NOWAIT, 3) && errno == ENOMEM);
}

static void have_free_memory(void) {
    const unsigned kinds[] = {0, SLABMALLOC_PAGE_HIGHMEM, SLABMALLOC_PAGE_DMA};
    for (unsigned i = 0; i < COUNT_OF(kinds); i++) { /* 64 adjacent pageblocks each, taken for dirty */
        void *p = take(kinds[i], 15);
        MUST(p);
        slabmalloc_free_pages(p, 15);
    }
    slabmalloc_free_pages(take(0, 3), 3); /* something in the page cache */
}

Test(page_zones, nowait_makes_no_call_that_could_be_refused) {
    have_free_memory();
    fault_arm(~0u, 0, FOREVER);
    requests_without_waiting();
    long calls = fault_disarm();
    cr_assert(calls == 0, "%ld calls", calls);
    MUST_BE_SOUND();
}

/* In strict mode the kernel ends a thread at any call but read, write and exit. */
static void requests_in_a_strict_sandbox(void *arg) {
    (void)arg;
    have_free_memory();
    MUST(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
    requests_without_waiting();
    syscall(SYS_exit, 0);
}

Test(page_zones, nowait_makes_no_system_call) {
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
    cr_skip_test("under a sanitizer: it makes calls of its own");
#endif
    child_must_end_well(requests_in_a_strict_sandbox, NULL);
}

static void take_nowait(void) {
    const struct slabmalloc_zone zone = HIGHMEM;
    MUST(!slabmalloc_alloc_pages_zonelist(&zone, 1, SLABMALLOC_PAGE_NOWAIT, 0) && errno == ENOMEM);
}

static void take_waiting(void) {
    MUST(slabmalloc_alloc_pages(SLABMALLOC_PAGE_HIGHMEM, 0));
}

Test(page_zones, nowait_does_not_wait_for_a_zones_lock) {
    make_dirty(HIGHMEM, 2);
    MUST(waits_for(&zone_find(0, ZONE_HIGHMEM)->lock, take_waiting));
    MUST(!waits_for(&zone_find(0, ZONE_HIGHMEM)->lock, take_nowait));
}

Test(page_zones, nowait_does_not_grow_a_zone) {
    const struct slabmalloc_zone zone = DMA;
    MUST(!slabmalloc_alloc_pages_zonelist(&zone, 1, SLABMALLOC_PAGE_NOWAIT, 0) && errno == ENOMEM);
    MUST(zone_now(DMA).mapped_pages == 0 && zone_now(DMA).misses == 1);
    void *p = slabmalloc_alloc_pages_zonelist(&zone, 1, 0, 0);
    MUST(p && zone_now(DMA).mapped_pages);
    slabmalloc_free_pages(p, 0);
    MUST(slabmalloc_alloc_pages_zonelist(&zone, 1, SLABMALLOC_PAGE_NOWAIT, 0));
}

/* NORETRY. */

Test(page_zones, where_the_kernel_refuses_caches_are_emptied_for_a_second_try_unless_noretry) {
    slabmalloc_free(slabmalloc_malloc(8 * MIB)); /* in the cache of mappings */
    while (zone_now(HIGHMEM).free_pages || !zone_now(HIGHMEM).mapped_pages) {
        MUST(take(SLABMALLOC_PAGE_HIGHMEM, 9));
    }
    const struct slabmalloc_zone zone = HIGHMEM;
    MUST(stats_now().mapping_cached_bytes);
    fault_arm(1u << SYS_MAP, 0, 2); /* a region, a smaller region */
    MUST(!slabmalloc_alloc_pages_zonelist(&zone, 1, SLABMALLOC_PAGE_NORETRY, 9) && errno == ENOMEM);
    MUST(fault_disarm() == 2 && stats_now().mapping_cached_bytes);
    fault_arm(1u << SYS_MAP, 0, 2);
    MUST(slabmalloc_alloc_pages_zonelist(&zone, 1, 0, 9));
    MUST(fault_disarm() == 3 && stats_now().mapping_cached_bytes == 0);
    MUST_BE_SOUND();
}

/* Watermarks. */

Test(page_zones, watermarks_are_what_was_set_and_in_order) {
    struct slabmalloc_watermarks marks, now;
    MUST(!slabmalloc_zone_watermarks(HIGHMEM, &marks));
    MUST(marks.min == 0 && marks.low == 256 * KIB >> PAGE_SHIFT && marks.high == SLABMALLOC_WATERMARK_AUTO);
    MUST(marks.reserve_ratio == 0 && zone_now(HIGHMEM).high_pages == 256 * KIB >> PAGE_SHIFT);
    marks = (struct slabmalloc_watermarks){10, 20, 30, 40};
    MUST(!slabmalloc_zone_set_watermarks(HIGHMEM, &marks) && !slabmalloc_zone_watermarks(HIGHMEM, &now));
    MUST(!memcmp(&marks, &now, sizeof now) && zone_now(HIGHMEM).high_pages == 30);
    static const struct slabmalloc_watermarks bad[] = {
        {2, 1, 3, 0}, {1, 3, 2, 0}, {3, 2, 1, 0}, {SIZE_MAX, SIZE_MAX, SIZE_MAX, 0}};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        errno = 0;
        MUST(slabmalloc_zone_set_watermarks(HIGHMEM, &bad[i]) == -1 && errno == EINVAL);
    }
    errno = 0;
    MUST(slabmalloc_zone_set_watermarks((struct slabmalloc_zone){63, SLABMALLOC_ZONE_DMA}, &marks) == -1 &&
         errno == EINVAL);
    MUST(slabmalloc_zone_watermarks((struct slabmalloc_zone){63, SLABMALLOC_ZONE_DMA}, &marks) == -1);
    MUST(!slabmalloc_zone_watermarks(HIGHMEM, &now) && !memcmp(&marks, &now, sizeof now));
}

static void set_marks(struct slabmalloc_zone zone, size_t min, size_t low, size_t high) {
    MUST(!slabmalloc_zone_set_watermarks(zone, &(struct slabmalloc_watermarks){min, low, high, 0}));
}

Test(page_zones, min_is_left_to_those_that_cannot_wait) {
    make_dirty(HIGHMEM, 2);
    set_marks(HIGHMEM, 100, 100, SLABMALLOC_WATERMARK_AUTO);
    const struct slabmalloc_zone zone = HIGHMEM;
    fault_arm(1u << SYS_MAP, 0, FOREVER);
    while (slabmalloc_alloc_pages_zonelist(&zone, 1, 0, 0)) {
    }
    MUST(zone_now(HIGHMEM).free_pages == 100);
    for (unsigned i = 0; i < 100; i++) {
        MUST(slabmalloc_alloc_pages_zonelist(&zone, 1, SLABMALLOC_PAGE_NOWAIT, 0));
    }
    MUST(!slabmalloc_alloc_pages_zonelist(&zone, 1, SLABMALLOC_PAGE_NOWAIT, 0));
    fault_disarm();
    size_t mapped = zone_now(HIGHMEM).mapped_pages;
    MUST(slabmalloc_alloc_pages_zonelist(&zone, 1, 0, 0) && zone_now(HIGHMEM).mapped_pages > mapped);
    MUST(zone_now(HIGHMEM).free_pages >= 100);
    MUST_BE_SOUND();
}

Test(page_zones, above_high_memory_goes_back_at_once_down_to_low) {
    make_dirty(HIGHMEM, 8);
    MUST(zone_now(HIGHMEM).dirty_pages == 8 * BLOCK_PAGES); /* nobody called for it */
    set_marks(HIGHMEM, 0, 1000, 3000);
    MUST(zone_now(HIGHMEM).dirty_pages <= 1000 && zone_now(HIGHMEM).purged_pages);
    make_dirty(HIGHMEM, 5);
    MUST(zone_now(HIGHMEM).dirty_pages == 5 * BLOCK_PAGES);
    size_t purged = zone_now(HIGHMEM).purged_pages;
    make_dirty(HIGHMEM, 6);
    size_t dirty = zone_now(HIGHMEM).dirty_pages;
    MUST(dirty <= 1000 && dirty >= 1000 - BLOCK_PAGES);
    MUST(zone_now(HIGHMEM).purged_pages - purged == 6 * BLOCK_PAGES - dirty);
    MUST_BE_SOUND();
}

Test(page_zones, high_holds_for_malloc_too) {
    set_marks(NORMAL, 0, 256, 512);
    char *p[64];
    for (unsigned i = 0; i < COUNT_OF(p); i++) {
        memset(p[i] = slabmalloc_malloc(300 * KIB), 1, 300 * KIB);
    }
    for (unsigned i = 0; i < COUNT_OF(p); i++) {
        slabmalloc_free(p[i]);
        MUST(zone_now(NORMAL).dirty_pages <= 512);
    }
    MUST(zone_now(NORMAL).purged_pages >= 64 * 75 - 512 - 64);
    MUST_BE_SOUND();
}

Test(page_zones, decay_leaves_low_and_min_alone) {
    options.decay_ms = 100;
    make_dirty(HIGHMEM, 4);
    size_t dirty = zone_now(HIGHMEM).dirty_pages;
    set_marks(HIGHMEM, 0, dirty, SLABMALLOC_WATERMARK_AUTO);
    for (uint64_t now = 1; now < 10; now++) {
        zone_decay(now * 1000);
        zone_decay_all();
    }
    MUST(zone_now(HIGHMEM).dirty_pages == dirty);
    set_marks(HIGHMEM, BLOCK_PAGES, BLOCK_PAGES, SLABMALLOC_WATERMARK_AUTO);
    for (uint64_t now = 11; now < 30; now++) {
        zone_decay(now * 1000);
        zone_decay_all();
    }
    MUST(zone_now(HIGHMEM).dirty_pages == BLOCK_PAGES);
    options.decay_ms = 0;
    zone_decay(1000000);
    MUST(zone_now(HIGHMEM).dirty_pages == BLOCK_PAGES);
    slabmalloc_trim();
    MUST(zone_now(HIGHMEM).dirty_pages == 0);
}

/* On the way. */

Test(page_zones, pages_that_are_nothing_yet_belong_to_nothing_else) {
    char *all = take(SLABMALLOC_PAGE_HIGHMEM, 9);
    slabmalloc_free_pages(all, 9);
    MUST(take(SLABMALLOC_PAGE_HIGHMEM, 1) == all);
    uintptr_t pfn = zone_alloc(0, ZONE_HIGHMEM, GROUP_RUN, 3, 0); /* by a thread that has not marked them so far */
    struct slabmalloc_page_info info;
    for (unsigned i = 0; i < 3; i++) {
        MUST(slabmalloc_page_info((char *)(pfn << PAGE_SHIFT) + i * PAGE_BYTES, &info, sizeof info) == 1);
        MUST(info.state == SLABMALLOC_STATE_ISOLATED && info.pages == 1);
    }
    zone_free(pfn, 3, 3);
}

/* Contiguous runs. */

Test(page_zones, blocks_above_a_pageblock_come_from_adjacent_free_ones) {
    char *all = take(SLABMALLOC_PAGE_HIGHMEM, 13);
    slabmalloc_free_pages(all, 13);
    size_t mapped = zone_now(HIGHMEM).mapped_pages;
    MUST(mapped == 16 * BLOCK_PAGES && zone_now(HIGHMEM).nr_free[9] == 16);
    char *p[16];
    for (unsigned i = 0; i < 16; i++) {
        p[i] = take(SLABMALLOC_PAGE_HIGHMEM, 9);
    }
    for (unsigned i = 0; i < 16; i += 2) { /* every other one: no two are adjacent */
        slabmalloc_free_pages(p[i], 9);
    }
    const struct slabmalloc_zone zone = HIGHMEM;
    MUST(!slabmalloc_alloc_pages_zonelist(&zone, 1, SLABMALLOC_PAGE_NOWAIT, 10));
    slabmalloc_free_pages(p[5], 9);
    char *two = slabmalloc_alloc_pages_zonelist(&zone, 1, SLABMALLOC_PAGE_NOWAIT, 10);
    MUST(two && zone_now(HIGHMEM).mapped_pages == mapped);
    MUST_BE_SOUND();
    slabmalloc_free_pages(two, 10);
    MUST(zone_now(HIGHMEM).nr_free[9] == 9);
}

Test(page_zones, the_end_of_an_exact_run_may_share_its_pageblock) {
    char *all = take(SLABMALLOC_PAGE_HIGHMEM, 10);
    slabmalloc_free_pages(all, 10);
    const struct slabmalloc_zone zone = HIGHMEM;
    char *p =
        slabmalloc_alloc_pages_exact(SLABMALLOC_PAGE_HIGHMEM | SLABMALLOC_PAGE_NOWAIT, BLOCK_BYTES + 5 * PAGE_BYTES);
    MUST(p == all);
    must_list(HIGHMEM, (size_t[]){1, 1, 0, 1, 1, 1, 1, 1, 1, 0}); /* 507 pages */
    char *rest = slabmalloc_alloc_pages_zonelist(&zone, 1, SLABMALLOC_PAGE_NOWAIT, 8);
    MUST(rest == all + BLOCK_BYTES + BLOCK_BYTES / 2);
    slabmalloc_free_pages_exact(p, BLOCK_BYTES + 5 * PAGE_BYTES);
    p = slabmalloc_alloc_pages_exact(SLABMALLOC_PAGE_HIGHMEM | SLABMALLOC_PAGE_NOWAIT, BLOCK_BYTES + 256 * PAGE_BYTES);
    MUST(p == all); /* its end is the free half of the second pageblock */
    MUST(zone_now(HIGHMEM).free_pages == 0);
    MUST_BE_SOUND();
}
