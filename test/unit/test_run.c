/* Page runs: exact lengths, growing and shrinking in place, each owner's small cache, zeroes. */
#include "buddy.h"
#include "owner.h"
#include "pagemap.h"
#include "run.h"
#include "support.h"
#include "zone.h"

static size_t free_pages(void) {
    size_t n = 0;
    for (struct zone *zone = zone_next(NULL); zone; zone = zone_next(zone)) {
        n += zone->buddy.free_pages;
    }
    return n;
}

/* Without an owner a run bypasses every cache. */
static char *bare_run(size_t npages, unsigned align_order, bool zero) {
    char *p = run_alloc(NULL, npages, align_order, zero);
    MUST(p != NULL);
    MUST(run_npages(p) == npages);
    MUST(pagemap_tag(p) == TAG_RUN);
    return p;
}

/* Some memory for the zone to start with, so that counts of free pages are not disturbed by growth. */
static void warm_up(void) {
    options.hugepages = false; /* residence is looked at page by page below */
    char *p[8];
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        p[i] = bare_run(BLOCK_PAGES, 0, false);
    }
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        run_free(NULL, p[i]);
    }
}

Test(run, takes_exactly_the_pages_asked_for) {
    warm_up();
    for (size_t npages = 1; npages <= BLOCK_PAGES; npages++) {
        size_t before = free_pages();
        char *p = bare_run(npages, 0, false);
        MUST(free_pages() == before - npages);
        p[0] = p[npages * PAGE_BYTES - 1] = 1;
        run_free(NULL, p);
        MUST(free_pages() == before);
    }
    MUST_BE_SOUND();
}

Test(run, pages_after_the_first_look_foreign) {
    char *p = bare_run(5, 0, false);
    for (size_t i = 1; i < 5; i++) {
        MUST(!(pagemap_tag(p + i * PAGE_BYTES) >> TAG_CLASS_BITS));
        MUST(pagemap_tag(p + i * PAGE_BYTES) != TAG_RUN);
    }
    run_free(NULL, p);
}

Test(run, is_aligned_to_any_order_up_to_a_pageblock) {
    static char *p[NORDERS][40];
    static size_t npages[NORDERS][40];
    struct rng rng = {1};
    for (unsigned order = 0; order < NORDERS; order++) {
        for (size_t i = 0; i < COUNT_OF(p[0]); i++) {
            npages[order][i] = 1 + rng_below(&rng, i % 4 ? 40 : BLOCK_PAGES);
            p[order][i] = bare_run(npages[order][i], order, false);
            MUST(((uintptr_t)p[order][i] & ((PAGE_BYTES << order) - 1)) == 0);
            pattern_fill(p[order][i], npages[order][i] * PAGE_BYTES, order * 64 + i);
        }
    }
    MUST_BE_SOUND();
    for (unsigned order = 0; order < NORDERS; order++) {
        for (size_t i = 0; i < COUNT_OF(p[0]); i++) {
            MUST(pattern_holds(p[order][i], npages[order][i] * PAGE_BYTES, order * 64 + i)); /* none overlap */
            run_free(NULL, p[order][i]);
        }
    }
    MUST_BE_SOUND();
}

Test(run, grows_in_place_into_free_pages_and_keeps_its_bytes) {
    warm_up();
    char *p = bare_run(16, 4, false);
    size_t before = free_pages();
    MUST(run_resize(p, 5));
    pattern_fill(p, 5 * PAGE_BYTES, 1);
    for (size_t npages = 6; npages <= 16; npages++) {
        MUST(run_resize(p, npages));
        MUST(run_npages(p) == npages);
        MUST(pattern_holds(p, 5 * PAGE_BYTES, 1));
    }
    MUST(free_pages() == before);
    memset(p, 7, 16 * PAGE_BYTES);
    run_free(NULL, p);
    MUST_BE_SOUND();
}

Test(run, does_not_grow_into_pages_in_use) {
    warm_up();
    char *p = bare_run(16, 4, false);
    uintptr_t pfn = pointer_pfn(p);
    MUST(run_resize(p, 8));
    for (size_t taken = 8; taken < 16; taken++) {
        MUST(run_resize(p, taken));
        MUST(zone_extend(pfn + taken, 1)); /* one page in use, somewhere in the way */
        MUST(run_resize(p, 8));
        MUST(!run_resize(p, 16));
        MUST(run_npages(p) == 8);
        zone_free(pfn + taken, 1, 1);
    }
    MUST(run_resize(p, 16));
    run_free(NULL, p);
    MUST_BE_SOUND();
}

Test(run, does_not_grow_beyond_its_pageblock) {
    char *p = bare_run(BLOCK_PAGES, MAX_ORDER, false);
    uintptr_t pfn = pointer_pfn(p);
    MUST(run_resize(p, BLOCK_PAGES - 1));
    MUST(!run_resize(p, BLOCK_PAGES + 1));
    MUST(run_npages(p) == BLOCK_PAGES - 1);
    MUST(run_resize(p, BLOCK_PAGES));
    MUST(!run_resize(p, BLOCK_PAGES + 1));
    MUST(pointer_pfn(p) == pfn && run_npages(p) == BLOCK_PAGES);
    run_free(NULL, p);
    MUST_BE_SOUND();
}

Test(run, shrinking_gives_back_exactly_the_tail) {
    warm_up();
    for (size_t npages = 1; npages < BLOCK_PAGES; npages += 13) {
        char *p = bare_run(BLOCK_PAGES, 0, false);
        size_t before = free_pages();
        pattern_fill(p, npages * PAGE_BYTES, npages);
        MUST(run_resize(p, npages));
        MUST(free_pages() == before + BLOCK_PAGES - npages);
        MUST(pattern_holds(p, npages * PAGE_BYTES, npages));
        run_free(NULL, p);
    }
    MUST_BE_SOUND();
}

/* --- The owner's cache --- */

static size_t cached_pages(const struct owner *owner) {
    size_t sum = 0;
    for (unsigned i = 0; i < RUN_CACHE_SLOTS; i++) {
        sum += owner->run_cache[i] ? run_npages(pfn_pointer(owner->run_cache[i])) : 0;
    }
    return sum;
}

Test(run, cache_holds_few_and_small_runs_only) {
    struct owner *owner = owner_get();
    struct rng rng = {3};
    static void *p[64];
    for (unsigned round = 0; round < 200; round++) {
        for (size_t i = 0; i < COUNT_OF(p); i++) {
            p[i] = run_alloc(owner, 1 + rng_below(&rng, 2 * RUN_CACHE_ONE / PAGE_BYTES), 0, false);
        }
        for (size_t i = 0; i < COUNT_OF(p); i++) {
            run_free(owner, p[i]);
            MUST(owner->run_cache_pages == cached_pages(owner));
            MUST(owner->run_cache_pages * PAGE_BYTES <= RUN_CACHE_BYTES);
        }
        for (unsigned i = 0; i < RUN_CACHE_SLOTS; i++) {
            MUST(!owner->run_cache[i] || run_npages(pfn_pointer(owner->run_cache[i])) * PAGE_BYTES <= RUN_CACHE_ONE);
        }
    }
    MUST(stats_now().run_cached_bytes == cached_pages(owner) * PAGE_BYTES);
    MUST_BE_SOUND();
}

Test(run, freed_run_is_used_for_the_next_of_its_length) {
    struct owner *owner = owner_get();
    for (size_t npages = 9; npages * PAGE_BYTES <= RUN_CACHE_ONE; npages++) {
        run_cache_flush(owner);
        void *p = run_alloc(owner, npages, 0, false);
        run_free(owner, p);
        MUST(pagemap_tag(p) == TAG_RUN_CACHED);
        void *q = run_alloc(owner, npages, 0, false);
        MUST(q == p && run_npages(q) == npages);
        run_free(owner, q);
    }
}

Test(run, run_from_the_cache_is_exactly_as_long_as_asked) {
    struct owner *owner = owner_get();
    warm_up();
    run_cache_flush(owner);
    size_t before = free_pages();
    for (size_t have = 9; have < 64; have++) {
        for (size_t npages = have; npages > have / 2; npages--) {
            void *p = run_alloc(owner, have, 0, false);
            run_free(owner, p);
            p = run_alloc(owner, npages, 0, false);
            MUST(run_npages(p) == npages);
            run_free(owner, p);
            run_cache_flush(owner);
            MUST(free_pages() == before);
        }
    }
    MUST_BE_SOUND();
}

Test(run, flush_gives_everything_back) {
    struct owner *owner = owner_get();
    warm_up();
    run_cache_flush(owner);
    size_t before = free_pages();
    void *p[6];
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        p[i] = run_alloc(owner, 10 + i, 0, false);
    }
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        run_free(owner, p[i]);
    }
    MUST(owner->run_cache_pages);
    run_cache_flush(owner);
    MUST(owner->run_cache_pages == 0 && cached_pages(owner) == 0);
    MUST(free_pages() == before);
    MUST_BE_SOUND();
}

static void leave_runs(unsigned index) {
    void *p = run_alloc(owner_get(), 20 + index, 0, false);
    run_free(owner_get(), p);
    MUST(owner_get()->run_cache_pages);
}

Test(run, exiting_thread_leaves_no_cached_run) {
    threads_run(4, leave_runs);
    MUST(stats_now().run_cached_bytes == 0);
    MUST_BE_SOUND();
}

/* --- Zeroes --- */

Test(run, zero_run_is_zero_whatever_was_there_before) {
    struct owner *owner = owner_get();
    struct rng rng = {4};
    static struct {
        char *p;
        size_t npages;
    } live[24];
    for (unsigned step = 0; step < 6000 / SUPPORT_SLOWDOWN; step++) {
        size_t i = rng_below(&rng, COUNT_OF(live));
        if (live[i].p) {
            run_free(rng_below(&rng, 2) ? owner : NULL, live[i].p);
        }
        if (rng_below(&rng, 400) == 0) {
            run_cache_flush(owner);
            zone_trim(); /* some pages come back fresh */
        }
        live[i].npages = 1 + rng_below(&rng, rng_below(&rng, 4) ? 24 : BLOCK_PAGES);
        unsigned align_order = rng_below(&rng, 4) ? 0 : (unsigned)rng_below(&rng, NORDERS);
        bool zero = rng_below(&rng, 2);
        live[i].p = run_alloc(rng_below(&rng, 2) ? owner : NULL, live[i].npages, align_order, zero);
        MUST(!zero || all_bytes_are(live[i].p, live[i].npages * PAGE_BYTES, 0));
        if (rng_below(&rng, 3) == 0) {
            /* Grows and shrinks hand dirty tails around. */
            size_t npages = 1 + rng_below(&rng, live[i].npages + 8);
            if (npages <= BLOCK_PAGES && run_resize(live[i].p, npages)) {
                live[i].npages = npages;
            }
        }
        memset(live[i].p, 0xa5, live[i].npages * PAGE_BYTES);
    }
    MUST_BE_SOUND();
}

Test(run, zero_run_of_fresh_memory_is_not_touched) {
    warm_up();
    zone_trim();
    char *p = bare_run(BLOCK_PAGES, 0, true);
    MUST(resident_pages(p, BLOCK_BYTES) == 0);
    MUST(all_bytes_are(p, BLOCK_BYTES, 0));
    run_free(NULL, p);
}

Test(run, zero_run_is_cleared_when_the_kernel_refuses_to_take_pages_back) {
    warm_up();
    static char *p[8];
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        p[i] = memset(bare_run(BLOCK_PAGES, 0, false), 0xff, BLOCK_BYTES);
    }
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        run_free(NULL, p[i]);
    }
    fault_arm(1u << SYS_ADVISE, 0, FOREVER); /* a failed MADV_DONTNEED has cleared nothing */
    MUST(zone_trim() == 0);
    MUST(fault_disarm() > 0);
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        p[i] = bare_run(BLOCK_PAGES, 0, true);
        MUST(all_bytes_are(p[i], BLOCK_BYTES, 0));
    }
    MUST_BE_SOUND();
}

/* --- Failure and misuse --- */

Test(run, fails_cleanly_without_memory) {
    size_t n = 0;
    static char *p[64];
    fault_arm(1u << SYS_MAP, 0, FOREVER);
    while (n < COUNT_OF(p) && (p[n] = run_alloc(NULL, BLOCK_PAGES, 0, false))) {
        n++;
    }
    MUST(n < COUNT_OF(p));
    fault_disarm();
    MUST_BE_SOUND();
    run_free(NULL, bare_run(BLOCK_PAGES, 0, true));
    while (n) {
        run_free(NULL, p[--n]);
    }
    MUST_BE_SOUND();
}

static void free_run_twice(void *arg) {
    void *p = slabmalloc_malloc(*(size_t *)arg);
    slabmalloc_free(p);
    slabmalloc_free(p);
}

Test(run, double_free_aborts_cached_or_not) {
    size_t small = 100 * KIB, large = 1 * MIB;
    must_die_of("double free", free_run_twice, &small);
    must_die_of("double free", free_run_twice, &large);
}

static void free_run_inside(void *arg) {
    slabmalloc_free((char *)slabmalloc_malloc(100 * KIB) + *(size_t *)arg);
}

Test(run, free_inside_a_run_aborts) {
    size_t first_page = 16, other_page = PAGE_BYTES;
    must_die_of("free of a pointer inside an object", free_run_inside, &first_page);
    must_die_of("free of a pointer that was not allocated here", free_run_inside, &other_page);
}
