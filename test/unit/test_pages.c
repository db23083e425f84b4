/* pages.h promises, first part: blocks, what happens to wrong frees, what is at an address, threads and children. */
#include <limits.h>

#include "owner.h"
#include "page.h"
#include "slabmalloc/pages.h"
#include "support.h"

TestSuite(pages, .timeout = 240);

#define LARGEST_ORDER 13
#define NORMAL ((struct slabmalloc_zone){0, SLABMALLOC_ZONE_NORMAL})
#define HIGHMEM ((struct slabmalloc_zone){0, SLABMALLOC_ZONE_HIGHMEM})

static void *take(unsigned flags, unsigned order) {
    errno = 4711;
    void *p = slabmalloc_alloc_pages(flags, order);
    MUST(p ? errno == 4711 : errno == ENOMEM);
    return p;
}

static void give(void *p, unsigned order) {
    errno = 4711;
    slabmalloc_free_pages(p, order);
    MUST(errno == 4711);
}

static struct slabmalloc_page_info info_at(const void *p) {
    struct slabmalloc_page_info info;
    int ours = slabmalloc_page_info(p, &info, sizeof info);
    MUST(ours == (info.state != SLABMALLOC_STATE_FOREIGN));
    return info;
}

static struct slabmalloc_zone_info zone_now(struct slabmalloc_zone zone) {
    struct slabmalloc_zone_info info;
    MUST(!slabmalloc_zone_info(zone, &info, sizeof info));
    return info;
}

/* Blocks. */

Test(pages, blocks_of_every_order_are_aligned_zero_if_asked_and_writable) {
    for (unsigned order = 0; order <= LARGEST_ORDER; order++) {
        size_t bytes = PAGE_BYTES << order;
        char *p = take(SLABMALLOC_PAGE_ZERO, order);
        MUST(p && (uintptr_t)p % min_size(bytes, BLOCK_BYTES) == 0);
        MUST(all_bytes_are(p, bytes, 0));
        words_fill(p, bytes, order);
        MUST(words_hold(p, bytes, order));
        give(p, order);
        char *again = take(SLABMALLOC_PAGE_ZERO, order);
        MUST(again && all_bytes_are(again, bytes, 0));
        give(again, order);
        MUST_BE_SOUND();
    }
}

Test(pages, blocks_do_not_overlap) {
    static char *p[LARGEST_ORDER + 1][4];
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned order = 0; order <= LARGEST_ORDER; order++) {
            MUST((p[order][i] = take(0, order)));
            words_fill(p[order][i], PAGE_BYTES << order, 4 * order + i);
        }
    }
    MUST_BE_SOUND();
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned order = 0; order <= LARGEST_ORDER; order++) {
            MUST(words_hold(p[order][i], PAGE_BYTES << order, 4 * order + i));
            give(p[order][i], order);
        }
    }
    MUST_BE_SOUND();
    MUST(stats_now().page_bytes == 0);
}

Test(pages, zeroed_blocks_of_fresh_memory_are_not_touched) {
    char *p = take(SLABMALLOC_PAGE_HIGHMEM | SLABMALLOC_PAGE_ZERO, 9);
    MUST(p && resident_pages(p, BLOCK_BYTES) == 0);
    p[5 * PAGE_BYTES] = 1;
    give(p, 9);
    MUST(take(SLABMALLOC_PAGE_HIGHMEM | SLABMALLOC_PAGE_ZERO, 9) && all_bytes_are(p, BLOCK_BYTES, 0));
}

Test(pages, exact_blocks_cost_exactly_their_pages) {
    static const size_t sizes[] = {1,
                                   PAGE_BYTES,
                                   PAGE_BYTES + 1,
                                   9 * PAGE_BYTES,
                                   511 * PAGE_BYTES,
                                   BLOCK_BYTES,
                                   BLOCK_BYTES * 21 / 10,
                                   5 * BLOCK_BYTES - 1,
                                   5 * BLOCK_BYTES + 1};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        size_t before = stats_now().page_bytes, npages = pages_of(sizes[i]);
        char *p = slabmalloc_alloc_pages_exact(SLABMALLOC_PAGE_HIGHMEM, sizes[i]);
        MUST(p && stats_now().page_bytes - before == npages << PAGE_SHIFT);
        MUST((uintptr_t)p % (npages > BLOCK_PAGES ? BLOCK_BYTES
                             : is_pow2(npages)    ? npages << PAGE_SHIFT
                                                  : PAGE_BYTES) ==
             0);
        const struct slabmalloc_zone_info zone = zone_now(HIGHMEM);
        MUST(zone.mapped_pages - zone.free_pages == npages);
        words_fill(p, npages << PAGE_SHIFT, i);
        MUST(words_hold(p, npages << PAGE_SHIFT, i));
        MUST_BE_SOUND();
        slabmalloc_free_pages_exact(p, sizes[i]);
        MUST(stats_now().page_bytes == before && zone_now(HIGHMEM).free_pages == zone_now(HIGHMEM).mapped_pages);
        MUST_BE_SOUND();
    }
}

Test(pages, exact_blocks_of_a_power_of_two_are_blocks_of_that_order) {
    char *p = slabmalloc_alloc_pages_exact(0, 8 * PAGE_BYTES);
    give(p, 3);
    p = take(0, 3);
    slabmalloc_free_pages_exact(p, 7 * PAGE_BYTES + 1);
    MUST_BE_SOUND();
}

Test(pages, what_cannot_be_is_an_error) {
    MUST(!take(0, 64) && !take(0, 63) && !take(0, 52) && !take(0, UINT_MAX));
    errno = 0;
    MUST(!slabmalloc_alloc_pages_exact(0, 0) && errno == EINVAL);
    MUST(!slabmalloc_alloc_pages_exact(0, SIZE_MAX) && errno == ENOMEM);
    MUST(!slabmalloc_alloc_pages_exact(0, PTRDIFF_MAX) && errno == ENOMEM);
    errno = 0;
    MUST(!slabmalloc_alloc_pages(SLABMALLOC_PAGE_DMA | SLABMALLOC_PAGE_HIGHMEM, 0) && errno == EINVAL);
    errno = 0;
    MUST(!slabmalloc_alloc_pages(SLABMALLOC_PAGE_ALL + 1, 0) && errno == EINVAL);
    give(NULL, 3);
    slabmalloc_free_pages_exact(NULL, 0);
    MUST_BE_SOUND();
}

Test(pages, no_memory_is_enomem_and_changes_nothing) {
    void *p = take(0, 0);
    fault_arm(1u << SYS_MAP, 0, FOREVER);
    for (unsigned order = 10; order <= LARGEST_ORDER; order++) {
        MUST(!take(0, order));
    }
    unsigned taken = 0;
    while (take(SLABMALLOC_PAGE_HIGHMEM, 9)) {
        MUST(++taken < 100000);
    }
    MUST_BE_SOUND();
    fault_disarm();
    MUST(take(SLABMALLOC_PAGE_HIGHMEM, 9));
    give(p, 0);
}

/* The page cache. */

Test(pages, a_freed_block_of_any_order_serves_the_next_request_from_the_page_cache) {
    for (unsigned order = 0; order <= MAX_ORDER; order++) {
        void *p = take(0, order);
        give(p, order);
        MUST(info_at(p).state == SLABMALLOC_STATE_CACHED && info_at(p).head == p && info_at(p).order == order);
        const struct slabmalloc_zone_info before = zone_now(NORMAL);
        MUST(before.cached_pages >= (size_t)1 << order);
        MUST(take(0, order) == p && info_at(p).state == SLABMALLOC_STATE_BLOCK);
        const struct slabmalloc_zone_info after = zone_now(NORMAL);
        MUST(after.cache_hits == before.cache_hits + 1 && after.hits == before.hits && after.splits == before.splits);
        MUST(before.cached_pages - after.cached_pages == (size_t)1 << order);
        MUST_BE_SOUND();
        give(p, order);
    }
    slabmalloc_trim();
    MUST(zone_now(NORMAL).cached_pages == 0 && stats_now().page_cached_bytes == 0);
    MUST_BE_SOUND();
}

Test(pages, the_page_cache_is_bounded) {
    static void *p[64][NORDERS];
    for (unsigned i = 0; i < 64; i++) {
        for (unsigned order = 0; order < NORDERS; order++) {
            MUST((p[i][order] = take(0, order)));
        }
    }
    for (unsigned i = 0; i < 64; i++) {
        for (unsigned order = NORDERS; order--;) {
            give(p[i][order], order);
        }
    }
    size_t cached = stats_now().page_cached_bytes;
    MUST(cached && cached <= PAGE_CACHE_PAGES << PAGE_SHIFT && stats_now().page_bytes == 0);
    MUST_BE_SOUND();
    for (unsigned i = 0; i < 64; i++) {
        p[i][0] = take(0, 0);
    }
    slabmalloc_trim();
    for (unsigned i = 0; i < 64; i++) {
        give(p[i][0], 0);
    }
    MUST(stats_now().page_cached_bytes == PAGE_CACHE_SLOTS * PAGE_BYTES);
}

Test(pages, only_a_cache_that_served_nobody_between_two_looks_is_given_back) {
    give(take(0, 2), 2);
    struct owner *self = owner_have();
    for (unsigned look = 0; look < 3; look++) {
        page_cache_reclaim(self, false);
        MUST(stats_now().page_cached_bytes == 4 * PAGE_BYTES);
        give(take(0, 2), 2);
    }
    page_cache_reclaim(self, false);
    page_cache_reclaim(self, false);
    MUST(stats_now().page_cached_bytes == 0);
    give(take(0, 2), 2);
    page_cache_reclaim(self, true);
    MUST(stats_now().page_cached_bytes == 0);
    MUST_BE_SOUND();
}

static void use_some(unsigned index) {
    (void)index;
    give(take(0, 4), 4);
    give(take(0, 0), 0);
}

Test(pages, a_thread_that_ends_leaves_no_page_cached) {
    threads_run(4, use_some);
    MUST(stats_now().page_cached_bytes == 0);
    MUST_BE_SOUND();
}

/* Wrong frees. */

static void free_as(void *arg) {
    const unsigned *order = arg;
    slabmalloc_free_pages(take(0, 3), *order);
}

Test(pages, the_wrong_order_aborts) {
    static const unsigned wrong[] = {0, 2, 4, 9, 10, 63, 64, UINT_MAX};
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        unsigned order = wrong[i];
        must_die_of("free of a block of pages with the wrong order", free_as, &order);
    }
}

static void free_exact_wrong(void *arg) {
    const size_t *bytes = arg;
    slabmalloc_free_pages_exact(slabmalloc_alloc_pages_exact(SLABMALLOC_PAGE_HIGHMEM, 5 * PAGE_BYTES), *bytes);
}

Test(pages, the_wrong_number_of_pages_aborts) {
    static size_t wrong[] = {0, 4 * PAGE_BYTES, 5 * PAGE_BYTES + 1, SIZE_MAX};
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        must_die_of("free of a block of pages with the wrong order", free_exact_wrong, &wrong[i]);
    }
}

static void free_inside(void *arg) {
    const size_t *offset = arg;
    /* First a run and a slab there, so that the pages have had other tags. */
    slabmalloc_free(slabmalloc_malloc(BLOCK_BYTES));
    slabmalloc_trim();
    slabmalloc_free_pages((char *)take(0, 11) + *offset, 0);
}

Test(pages, a_page_in_the_middle_of_a_block_aborts) {
    static size_t inside[] = {PAGE_BYTES,
                              1,
                              100 * PAGE_BYTES,
                              511 * PAGE_BYTES,
                              BLOCK_BYTES,
                              BLOCK_BYTES + PAGE_BYTES,
                              4 * BLOCK_BYTES - PAGE_BYTES};
    for (size_t i = 0; i < COUNT_OF(inside); i++) {
        must_die_of("free of a page inside a block of pages", free_inside, &inside[i]);
    }
}

struct twice {
    unsigned flags, order;
    bool trim;
};

static void free_twice(void *arg) {
    const struct twice *twice = arg;
    void *p = take(twice->flags, twice->order);
    slabmalloc_free_pages(p, twice->order);
    if (twice->trim) {
        slabmalloc_free_pages(take(twice->flags, 5), 5);
    }
    slabmalloc_free_pages(p, twice->order);
}

Test(pages, a_second_free_aborts_whether_the_block_is_cached_or_in_its_zone) {
    static struct twice cases[] = {{0, 0, false}, {0, 9, false},  {SLABMALLOC_PAGE_HIGHMEM, 0, false},
                                   {0, 3, true},  {0, 11, false}, {SLABMALLOC_PAGE_HIGHMEM, 9, true}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        must_die_of("double free of a block of pages", free_twice, &cases[i]);
    }
}

static void *racing_block;
static _Atomic unsigned racers;

static void race_to_free(unsigned index) {
    (void)index;
    racers++;
    while (racers < 2) {
    }
    slabmalloc_free_pages(racing_block, 2);
}

static void free_at_once(void *arg) {
    (void)arg;
    racing_block = take(0, 2);
    threads_run(2, race_to_free);
}

Test(pages, of_two_frees_at_once_one_aborts) {
    if (!CHILDREN_MAY_START_THREADS) {
        cr_skip_test("under ThreadSanitizer: children may start no threads");
    }
    for (unsigned i = 0; i < 20; i++) {
        racers = 0;
        must_die_of("double free of a block of pages", free_at_once, NULL);
    }
}

static void free_foreign(void *arg) {
    slabmalloc_free_pages(arg, 0);
}

static void free_object_as_pages(void *arg) {
    (void)arg;
    slabmalloc_free_pages(slabmalloc_malloc(PAGE_BYTES), 0);
}

static void free_run_as_pages(void *arg) {
    (void)arg;
    slabmalloc_free_pages(slabmalloc_malloc(16 * PAGE_BYTES), 4);
}

static void free_mapping_as_pages(void *arg) {
    (void)arg;
    slabmalloc_free_pages(slabmalloc_malloc(4 * BLOCK_BYTES), 11);
}

Test(pages, what_was_not_allocated_as_pages_aborts) {
    static const char *what = "free of pages that were not allocated as such";
    static char here[2 * PAGE_BYTES];
    must_die_of(what, free_foreign, (void *)round_up((uintptr_t)here, PAGE_BYTES));
    must_die_of(what, free_foreign, (void *)PAGE_BYTES);
    must_die_of(what, free_foreign, (void *)(UINTPTR_MAX - PAGE_BYTES + 1));
    must_die_of(what, free_foreign, (void *)1);
    must_die_of(what, free_object_as_pages, NULL);
    must_die_of(what, free_run_as_pages, NULL);
    must_die_of(what, free_mapping_as_pages, NULL);
}

static void free_as_malloc(void *arg) {
    (void)arg;
    slabmalloc_free(take(0, 0));
}

static void free_cached_as_malloc(void *arg) {
    (void)arg;
    void *p = take(0, 0);
    give(p, 0);
    slabmalloc_free(p);
}

static void free_inside_as_malloc(void *arg) {
    (void)arg;
    slabmalloc_free((char *)take(0, 1) + PAGE_BYTES);
}

static void resize_as_malloc(void *arg) {
    (void)arg;
    slabmalloc_realloc(take(0, 0), 100);
}

Test(pages, blocks_are_not_mallocs) {
    must_die_of("free of a block of pages, which slabmalloc_free_pages frees", free_as_malloc, NULL);
    must_die_of("double free", free_cached_as_malloc, NULL);
    must_die_of("free of a pointer that was not allocated here", free_inside_as_malloc, NULL);
    must_die_of("size asked of a pointer that is not allocated", resize_as_malloc, NULL);
}

/* What is at an address. */

static void must_lie_in(const void *p, enum slabmalloc_page_state state, const void *head, size_t pages) {
    const struct slabmalloc_page_info info = info_at(p);
    MUST(info.state == state && info.head == head && info.pages == pages);
    MUST(pages <= (size_t)1 << info.order && (info.order == 0 || pages > (size_t)1 << (info.order - 1)));
}

Test(pages, every_page_of_a_thing_tells_what_it_lies_in) {
    char *block = take(SLABMALLOC_PAGE_HIGHMEM, 4), *long_block = take(SLABMALLOC_PAGE_HIGHMEM, 11);
    char *run = slabmalloc_malloc(48 * KIB), *mapping = slabmalloc_malloc(7 * MIB);
    for (size_t at = 0; at < 16 * PAGE_BYTES; at += PAGE_BYTES / 4) {
        must_lie_in(block + at, SLABMALLOC_STATE_BLOCK, block, 16);
    }
    for (size_t at = 0; at < 4 * BLOCK_BYTES; at += 37 * PAGE_BYTES + 11) {
        must_lie_in(long_block + at, SLABMALLOC_STATE_BLOCK, long_block, 4 * BLOCK_PAGES);
    }
    for (size_t at = 0; at < 48 * KIB; at += PAGE_BYTES) {
        must_lie_in(run + at, SLABMALLOC_STATE_RUN, run, 48 * KIB >> PAGE_SHIFT);
    }
    for (size_t at = 0; at < 7 * MIB; at += 100 * PAGE_BYTES) {
        must_lie_in(mapping + at, SLABMALLOC_STATE_MAPPING, mapping, 7 * MIB >> PAGE_SHIFT);
    }
    MUST(info_at(mapping).node == -1 && info_at(mapping).kind == SLABMALLOC_ZONE_KINDS);
    MUST(info_at(block).node == 0 && info_at(block).kind == SLABMALLOC_ZONE_HIGHMEM);
    MUST(info_at(run).node == 0 && info_at(run).kind == SLABMALLOC_ZONE_NORMAL);
    MUST(info_at(block).backing == SLABMALLOC_BACKING_BASE);
    slabmalloc_free(run);
    must_lie_in(run + PAGE_BYTES, SLABMALLOC_STATE_CACHED, run, 48 * KIB >> PAGE_SHIFT);
}

Test(pages, a_slabs_pages_tell_the_slab) {
    char *p[64];
    for (unsigned i = 0; i < COUNT_OF(p); i++) {
        MUST((p[i] = slabmalloc_malloc(20000)));
        const struct slabmalloc_page_info info = info_at(p[i] + 19999);
        MUST(info.state == SLABMALLOC_STATE_SLAB && info.kind == SLABMALLOC_ZONE_NORMAL);
        MUST((char *)info.head <= p[i] && (char *)info.head + (info.pages << PAGE_SHIFT) >= p[i] + 20000);
        MUST(info.pages == slab_of(p[i])->npages && (uintptr_t)info.head == slab_of(p[i])->base);
    }
}

Test(pages, free_blocks_tell_their_order_and_whether_they_are_fresh) {
    char *p = take(SLABMALLOC_PAGE_HIGHMEM, 9);
    MUST(info_at(p).fresh == 1);
    p[0] = 1;
    give(p, 9);
    MUST(info_at(p).fresh == 0);
    must_lie_in(p + BLOCK_BYTES - 1, SLABMALLOC_STATE_FREE, p, BLOCK_PAGES);
    char *single = take(SLABMALLOC_PAGE_HIGHMEM, 0);
    MUST(single == p);
    for (unsigned order = 0; order < 9; order++) {
        char *free_block = p + (PAGE_BYTES << order);
        must_lie_in(free_block + (PAGE_BYTES << order) - 1, SLABMALLOC_STATE_FREE, free_block, (size_t)1 << order);
    }
    slabmalloc_trim();
    MUST(info_at(p + PAGE_BYTES).fresh == 1);
}

Test(pages, any_value_that_is_no_address_of_ours_is_foreign) {
    struct rng rng = {1};
    void *p = take(0, 0);
    int here;
    static const uintptr_t odd[] = {0, 1, PAGE_BYTES, UINTPTR_MAX, (uintptr_t)1 << 47, (uintptr_t)1 << 63};
    for (size_t i = 0; i < COUNT_OF(odd); i++) {
        MUST(info_at((void *)odd[i]).state == SLABMALLOC_STATE_FOREIGN && info_at((void *)odd[i]).head == NULL);
    }
    MUST(info_at(&here).state == SLABMALLOC_STATE_FOREIGN);
    for (unsigned i = 0; i < 100000; i++) {
        info_at((void *)rng_next(&rng));
        info_at((char *)p + (ptrdiff_t)rng_below(&rng, GIB) - (ptrdiff_t)(GIB / 2));
    }
    struct slabmalloc_page_info part;
    memset(&part, 0x55, sizeof part);
    MUST(slabmalloc_page_info(p, &part, sizeof part.state) == 1 && part.state == SLABMALLOC_STATE_BLOCK);
    MUST(part.pages == (size_t)0x5555555555555555);
}

/* Histories. */

#define HELD 200

static struct held {
    char *p;
    size_t npages;
    unsigned order; /* UINT_MAX: exact */
    uint64_t seed;
} blocks[4][HELD];

static _Atomic size_t pages_live;

/* The first and last word of every page say whose it is. */
static void stamp(const struct held *b) {
    for (size_t i = 0; i < b->npages; i++) {
        uint64_t *word = (uint64_t *)(b->p + (i << PAGE_SHIFT));
        word[0] = word[PAGE_BYTES / 8 - 1] = b->seed + i;
    }
}

static void must_be_stamped(const struct held *b) {
    for (size_t i = 0; i < b->npages; i++) {
        const uint64_t *word = (uint64_t *)(b->p + (i << PAGE_SHIFT));
        MUST(word[0] == b->seed + i && word[PAGE_BYTES / 8 - 1] == b->seed + i);
    }
}

static void block_take(struct held *b, struct rng *rng) {
    static const unsigned kinds[] = {0, 0, 0, SLABMALLOC_PAGE_HIGHMEM, SLABMALLOC_PAGE_DMA};
    unsigned flags = kinds[rng_below(rng, COUNT_OF(kinds))];
    flags |= rng_below(rng, 4) ? 0 : SLABMALLOC_PAGE_ZERO;
    flags |= rng_below(rng, 4) ? 0 : SLABMALLOC_PAGE_NOWAIT;
    bool exact = !rng_below(rng, 4);
    b->order = exact ? UINT_MAX : (unsigned)rng_below(rng, rng_below(rng, 8) ? 6 : 11);
    b->npages = exact ? rng_between(rng, 1, rng_below(rng, 8) ? 40 : 1200) : (size_t)1 << b->order;
    b->seed = rng_next(rng);
    b->p =
        exact ? slabmalloc_alloc_pages_exact(flags, b->npages << PAGE_SHIFT) : slabmalloc_alloc_pages(flags, b->order);
    MUST(b->p || flags & SLABMALLOC_PAGE_NOWAIT);
    if (!b->p) {
        return;
    }
    MUST(!(flags & SLABMALLOC_PAGE_ZERO) || all_bytes_are(b->p, b->npages << PAGE_SHIFT, 0));
    const struct slabmalloc_page_info info = info_at(b->p + (rng_below(rng, b->npages) << PAGE_SHIFT));
    MUST(info.state == SLABMALLOC_STATE_BLOCK && info.head == b->p && info.pages == b->npages);
    MUST(!(flags & SLABMALLOC_PAGE_DMA) == (info.kind != SLABMALLOC_ZONE_DMA));
    pages_live += b->npages;
    stamp(b);
}

static void block_give(struct held *b) {
    must_be_stamped(b);
    pages_live -= b->npages;
    if (b->order == UINT_MAX) {
        slabmalloc_free_pages_exact(b->p, b->npages << PAGE_SHIFT);
    } else {
        slabmalloc_free_pages(b->p, b->order);
    }
    b->p = NULL;
}

static void history_of(unsigned index, unsigned long steps) {
    struct rng rng = {index + 1};
    for (unsigned long i = steps / SUPPORT_SLOWDOWN; i; i--) {
        struct held *b = &blocks[index][rng_below(&rng, HELD)];
        if (b->p) {
            block_give(b);
        } else {
            block_take(b, &rng);
        }
        if (i % 4096 == 0) {
            MUST_BE_SOUND();
        }
        if (i % 8192 == 0) {
            slabmalloc_trim();
        }
    }
}

static void history(unsigned index) {
    history_of(index, rounds(20000));
}

static void all_are_given_back(unsigned nthreads) {
    for (unsigned i = 0; i < nthreads; i++) {
        for (unsigned k = 0; k < HELD; k++) {
            if (blocks[i][k].p) {
                block_give(&blocks[i][k]);
            }
        }
    }
}

Test(pages, a_random_history_agrees_with_what_was_asked_for) {
    history(0);
    MUST(stats_now().page_bytes == pages_live << PAGE_SHIFT);
    all_are_given_back(1);
    MUST(stats_now().page_bytes == 0 && pages_live == 0);
    MUST_BE_SOUND();
}

Test(pages, threads_share_the_zones_and_each_others_blocks) {
    threads_run(4, history);
    MUST(stats_now().page_bytes == pages_live << PAGE_SHIFT && stats_now().page_cached_bytes == 0);
    all_are_given_back(4); /* what other threads took */
    MUST(stats_now().page_bytes == 0);
    MUST_BE_SOUND();
}

/* For as many steps as *ARG says. */
static void live_on(void *arg) {
    const unsigned long *steps = arg;
    all_are_given_back(1);
    history_of(0, *steps);
    all_are_given_back(1);
    MUST_BE_SOUND();
}

Test(pages, a_child_goes_on_with_its_parents_blocks) {
    unsigned long steps = rounds(20000);
    history(0);
    child_must_end_well(live_on, &steps);
    all_are_given_back(1);
    MUST_BE_SOUND();
}

static _Atomic bool stop;

static void churn_until_told(unsigned index) {
    static _Atomic unsigned there;
    struct rng rng = {index};
    meet_before_fork(&there, 3);
    while (index && !stop) {
        struct held *b = &blocks[index][rng_below(&rng, HELD)];
        if (b->p) {
            block_give(b);
        } else {
            block_take(b, &rng);
        }
    }
    unsigned long few = rounds(20000) / 10; /* of many children: what counts is the moment of the fork */
    for (unsigned i = 0; !index && i < 20; i++) {
        child_must_end_well(live_on, &few);
    }
    stop |= !index;
}

Test(pages, children_of_a_process_whose_threads_are_at_it_work) {
    history(0);
    threads_run(3, churn_until_told);
    all_are_given_back(3);
    MUST(stats_now().page_bytes == 0);
    MUST_BE_SOUND();
}
