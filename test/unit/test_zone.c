/* zone.h promises, first part: memory by node and kind, every page accounted for. */
#include "zone.h"

#include <pthread.h>
#include <sys/resource.h>

#include "faults.h"
#include "lock_wait.h"
#include "region.h"
#include "zone_ledger.h"

#define THREADS 4

TestSuite(zone, .init = zone_ledger_setup, .timeout = 120);

/* Allocation and growth. */

Test(zone, there_is_a_node) {
    require(zone_node_count() >= 1);
}

Test(zone, pages_are_aligned_zero_and_writable) {
    for (unsigned align_order = 0; align_order <= MAX_ORDER; align_order++) {
        for (size_t npages = 1; npages <= BLOCK_PAGES; npages = npages * 3 + 1) {
            uintptr_t pfn = zone_alloc(0, ZONE_NORMAL, GROUP_RUN, npages, align_order);
            require(pfn && pfn % ((uintptr_t)1 << align_order) == 0);
            require(pfn % BLOCK_PAGES + npages <= BLOCK_PAGES);
            out_pages += npages;
            require(buddy_is_fresh(pfn) && buddy_is_fresh(pfn + npages - 1));
            require(all_bytes_are(pfn_pointer(pfn), npages << PAGE_SHIFT, 0));
            touch(pfn, npages);
        }
    }
    must_be_sound();
}

Test(zone, an_empty_zone_grows_and_counts_what_it_mapped) {
    size_t footprint = region_footprint();
    require(take_from(ZONE_HIGHMEM, 1));
    const struct zone *zone = zone_next(NULL);
    while (zone->kind != ZONE_HIGHMEM) {
        zone = zone_next((struct zone *)zone);
    }
    require(zone->grown == 1 && zone->mapped_pages == 2 * BLOCK_PAGES);
    require(region_footprint() - footprint == zone->mapped_pages << PAGE_SHIFT);
    must_be_sound();
}

Test(zone, allocations_that_succeed_are_counted) {
    const struct zone *zone = zone_of(take(1));
    uint64_t before = zone->allocs;
    for (unsigned i = 1; i <= 10; i++) {
        require(take(3) && zone->allocs == before + i);
    }
    refuse(SYS_MAP, 0, UINT_MAX);
    while (take(BLOCK_PAGES)) {
    }
    before = zone->allocs;
    require(!take(BLOCK_PAGES) && zone->allocs == before);
}

Test(zone, freed_pages_serve_again_and_nothing_is_mapped) {
    uintptr_t pfn = take(100);
    give(pfn, 100, 100);
    size_t footprint = region_footprint();
    for (int i = 0; i < 1000; i++) {
        pfn = take(100);
        require(pfn);
        give(pfn, 100, 100);
    }
    require(region_footprint() == footprint);
    must_be_sound();
}

Test(zone, a_region_that_is_refused_is_made_smaller) {
    for (unsigned refusals = 0; refusals < 2; refusals++) {
        size_t footprint = region_footprint();
        refuse(SYS_MAP, 0, refusals);
        while (region_footprint() == footprint) {
            require(take(BLOCK_PAGES), "%u refusals", refusals);
        }
        must_be_sound();
    }
}

Test(zone, no_memory_is_0_and_changes_nothing) {
    refuse(SYS_MAP, 0, UINT_MAX);
    size_t taken = 0;
    while (take(BLOCK_PAGES)) {
        require(++taken < 100000, "memory without end, though the kernel refuses");
    }
    must_be_sound();
    require(!take(BLOCK_PAGES));
    must_be_sound();
    sys_fault_hook = NULL;
    require(take(BLOCK_PAGES));
    must_be_sound();
}

Test(zone, a_limit_of_address_space_is_used_up_and_then_recovers) {
#ifdef __SANITIZE_ADDRESS__
    cr_skip_test("under AddressSanitizer: it needs address space too");
#endif
    static uintptr_t pfn[1024];
    size_t count = 0;
    require(take(1)); /* so that page map leaves of the neighbourhood are there */
    struct rlimit limit = {address_space_bytes() + 100 * MIB, RLIM_INFINITY};
    require(setrlimit(RLIMIT_AS, &limit) == 0);
    while ((pfn[count] = take(BLOCK_PAGES))) {
        require(++count < 1024);
    }
    require(count * BLOCK_BYTES >= 70 * MIB, "only %zu pageblocks of 100 MiB", count);
    must_be_sound();
    for (size_t i = 0; i < count; i++) {
        give(pfn[i], BLOCK_PAGES, 0);
    }
    for (size_t i = 0; i < count; i++) {
        require(take(BLOCK_PAGES), "pageblock %zu of %zu is lost", i, count);
    }
    must_be_sound();
}

Test(zone, any_part_can_be_given_back) {
    uintptr_t pfn = take(300);
    touch(pfn, 200);
    give(pfn + 250, 50, 0);
    must_be_sound();
    give(pfn + 10, 90, 90);
    must_be_sound();
    give(pfn + 100, 150, 100);
    give(pfn, 10, 10);
    must_be_sound();
}

Test(zone, kinds_have_zones_of_their_own) {
    uintptr_t normal = take_from(ZONE_NORMAL, 1), high = take_from(ZONE_HIGHMEM, 1), dma = take_from(ZONE_DMA, 1);
    require(normal && high && dma);
    require(zone_of(normal)->kind == ZONE_NORMAL && zone_of(high)->kind == ZONE_HIGHMEM);
    require(zone_of(dma)->kind == ZONE_DMA);
    give(high, 1, 1);
    require(zone_of(take_from(ZONE_NORMAL, 1))->kind == ZONE_NORMAL);
    must_be_sound();
}

Test(zone, a_node_without_memory_is_served_by_the_next_one) {
    for (unsigned node = 0; node < NODES_MAX; node++) {
        uintptr_t pfn = zone_alloc(node, ZONE_NORMAL, GROUP_RUN, 1, 0);
        require(pfn && zone_of(pfn)->kind == ZONE_NORMAL, "node %u", node);
    }
}

/* A free pageblock in each zone of node 0, and no way to get more. */
static void one_free_pageblock_each(void) {
    for (unsigned kind = 0; kind < ZONE_KINDS; kind++) {
        uintptr_t pfn = take_from(kind, BLOCK_PAGES);
        require(pfn && zone_of(pfn)->kind == kind);
        while (zone_of(pfn)->buddy.free_pages) {
            require(take_from(kind, BLOCK_PAGES));
        }
        give(pfn, BLOCK_PAGES, 0);
    }
    refuse(SYS_MAP, 0, UINT_MAX);
}

Test(zone, a_request_falls_back_along_its_zonelist_and_no_further) {
    static const struct {
        enum zone_kind asked, served[3];
        unsigned nserved;
    } lists[] = {
        {ZONE_DMA, {ZONE_DMA}, 1},
        {ZONE_NORMAL, {ZONE_NORMAL, ZONE_HIGHMEM}, 2},
        {ZONE_HIGHMEM, {ZONE_HIGHMEM, ZONE_NORMAL}, 2},
    };
    one_free_pageblock_each();
    for (unsigned i = 0; i < ZONE_KINDS; i++) {
        uintptr_t pfn[2];
        for (unsigned k = 0; k < lists[i].nserved; k++) {
            pfn[k] = take_from(lists[i].asked, BLOCK_PAGES);
            require(pfn[k] && zone_of(pfn[k])->kind == lists[i].served[k], "kind %u, number %u", lists[i].asked, k);
        }
        require(!take_from(lists[i].asked, 1), "kind %u", lists[i].asked);
        for (unsigned k = 0; k < lists[i].nserved; k++) {
            give(pfn[k], BLOCK_PAGES, 0);
        }
    }
    must_be_sound();
}

Test(zone, a_walk_meets_every_zone_with_memory_in_index_order) {
    require(take_from(ZONE_HIGHMEM, 1) && take_from(ZONE_NORMAL, 1));
    unsigned seen = 0;
    int before = -1;
    for (const struct zone *zone = zone_next(NULL); zone; zone = zone_next((struct zone *)zone)) {
        require((int)zone->index > before && zone->mapped_pages);
        before = zone->index;
        seen |= 1u << zone->kind;
    }
    require(seen & 1u << ZONE_NORMAL && seen & 1u << ZONE_HIGHMEM);
}

static struct lock *locks[ZONES_MAX + 1];
static size_t nlocks;

static void note_lock(struct lock *lock) {
    locks[nlocks++] = lock;
}

Test(zone, the_locks_of_all_zones_come_in_one_order) {
    zone_each_lock(note_lock);
    size_t nsets = zone_node_count() > 1 ? zone_node_count() + 1 : 1;
    require(nlocks == 1 + nsets * ZONE_KINDS && locks[0] == numa_lock());
    for (size_t i = 2; i < nlocks; i++) {
        require(locks[i] > locks[i - 1]);
    }
}

Test(zone, a_fitting_request_is_halved_to_fit_into_resident_memory_but_not_below_the_least) {
    uintptr_t pfn = zone_alloc(0, ZONE_NORMAL, GROUP_SLAB, BLOCK_PAGES, 0);
    out_pages += BLOCK_PAGES;
    give(pfn + 16, 12, 12); /* dirty blocks of 8 and 4; all else is fresh */
    static const struct { size_t wanted, least, expected; } cases[] = {{8, 1, 8}, {16, 2, 4}, {16, 5, 16}, {12, 3, 3}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t npages = cases[i].wanted;
        uintptr_t at = zone_alloc_fit(0, ZONE_NORMAL, GROUP_SLAB, &npages, cases[i].least);
        require(at && npages == cases[i].expected, "case %zu: %zu pages", i, npages);
        out_pages += npages;
        must_be_sound();
        if (i != 0) {
            give(at, npages, npages == 16 ? 0 : npages);
        }
    }
}

Test(zone, a_fitting_request_takes_any_page_however_aligned) {
    uintptr_t pfn = zone_alloc(0, ZONE_NORMAL, GROUP_SLAB, BLOCK_PAGES, 0);
    out_pages += BLOCK_PAGES;
    give(pfn + 33, 1, 1);
    size_t npages = 4;
    require(zone_alloc_fit(0, ZONE_NORMAL, GROUP_SLAB, &npages, 1) == pfn + 33 && npages == 1);
    out_pages++;
    must_be_sound();
}

/* Growing in place. */

Test(zone, a_block_extends_into_the_free_pages_behind_it) {
    uintptr_t pfn = zone_alloc(0, ZONE_NORMAL, GROUP_RUN, 1, MAX_ORDER);
    require(pfn);
    out_pages++;
    require(zone_extend(pfn + 1, 1));
    require(zone_extend(pfn + 2, 300));
    require(zone_extend(pfn + 302, BLOCK_PAGES - 302));
    out_pages += BLOCK_PAGES - 1;
    must_be_sound();
    touch(pfn, BLOCK_PAGES);
    give(pfn, BLOCK_PAGES, BLOCK_PAGES);
    must_be_sound();
}

Test(zone, a_block_does_not_extend_over_its_pageblock_or_into_pages_that_are_out) {
    uintptr_t pfn = zone_alloc(0, ZONE_NORMAL, GROUP_RUN, 10, MAX_ORDER);
    out_pages += 10;
    require(!zone_extend(pfn + 10, BLOCK_PAGES - 9));
    require(zone_extend(pfn + 10, BLOCK_PAGES - 10));
    out_pages += BLOCK_PAGES - 10;
    require(!zone_extend(pfn + BLOCK_PAGES, 1));
    give(pfn + 10, 5, 0);
    require(!zone_extend(pfn + 10, 6));
    require(zone_extend(pfn + 10, 5));
    out_pages += 5;
    must_be_sound();
}

/* Locking. */

static uintptr_t taken;

static void allocate_one(void) {
    zone_alloc(0, ZONE_NORMAL, GROUP_RUN, 1, 0);
}

static void allocate_fitting(void) {
    size_t npages = 1;
    zone_alloc_fit(0, ZONE_NORMAL, GROUP_SLAB, &npages, 1);
}

static void free_taken(void) {
    zone_free(taken, 10, 10);
}

static void extend_taken(void) {
    zone_extend(taken + 10, 1);
}

static void purge(void) {
    zone_purge(zone_of(taken), 0);
}

static void decay(void) {
    options.decay_ms = 100;
    zone_decay(1000);
}

static void unmap_free(void) {
    zone_unmap_free();
}

Test(zone, every_change_waits_for_the_zones_lock) {
    static void (*const calls[])(void) = {allocate_one, allocate_fitting, extend_taken, free_taken, purge,
                                          decay,        unmap_free};
    taken = take(10);
    struct lock *lock = &zone_of(taken)->lock;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        require(waits_for(lock, calls[i]), "call %zu", i);
    }
}

/* Threads. */

struct stretch {
    uintptr_t pfn;
    size_t npages, ntouched;
    uint64_t seed;
};

static _Atomic size_t errors, held_pages;

/* A page's first and last words say whose it is. */
static void stamp(uintptr_t pfn, uint64_t seed) {
    uint64_t *word = pfn_pointer(pfn);
    word[0] = word[PAGE_BYTES / 8 - 1] = seed ^ pfn;
}

static void stretch_touch(struct stretch *s, size_t ntouched) {
    for (size_t i = s->ntouched; i < ntouched; i++) {
        const uint64_t *word = pfn_pointer(s->pfn + i);
        errors += buddy_is_fresh(s->pfn + i) && (word[0] || word[PAGE_BYTES / 8 - 1]);
        stamp(s->pfn + i, s->seed);
    }
    s->ntouched = ntouched;
}

static void stretch_check(const struct stretch *s) {
    for (size_t i = 0; i < s->ntouched; i++) {
        const uint64_t *word = pfn_pointer(s->pfn + i);
        errors += word[0] != (s->seed ^ (s->pfn + i)) || word[PAGE_BYTES / 8 - 1] != word[0];
    }
}

static void stretch_step(struct rng *rng, struct stretch *s) {
    if (!s->npages) {
        *s = (struct stretch){.npages = rng_between(rng, 1, rng_below(rng, 8) ? 8 : 200), .seed = rng_next(rng)};
        s->pfn = zone_alloc(0, ZONE_NORMAL, rng_below(rng, GROUPS), s->npages, rng_below(rng, 4) ? 0 : 3);
        errors += !s->pfn;
        held_pages += s->npages;
        stretch_touch(s, rng_between(rng, 0, s->npages));
        return;
    }
    stretch_check(s);
    size_t n = rng_between(rng, 1, 16), keep = rng_below(rng, s->npages);
    switch (rng_below(rng, 4)) {
    case 0: /* grow */
        if (s->pfn % BLOCK_PAGES + s->npages + n <= BLOCK_PAGES && zone_extend(s->pfn + s->npages, n)) {
            s->npages += n;
            held_pages += n;
            stretch_touch(s, s->npages);
        }
        break;
    case 1: /* give the tail back */
        if (keep) {
            size_t touched = s->ntouched > keep ? s->ntouched - keep : 0;
            zone_free(s->pfn + keep, s->npages - keep, touched);
            held_pages -= s->npages - keep;
            s->npages = keep;
            s->ntouched = min_size(s->ntouched, keep);
        }
        break;
    default:
        zone_free(s->pfn, s->npages, s->ntouched);
        held_pages -= s->npages;
        s->npages = s->ntouched = 0;
    }
}

static void *churn(void *seed) {
    enum { STRETCHES = 100 };
    struct stretch stretch[STRETCHES] = {0};
    struct rng rng = {(uintptr_t)seed};
    uint64_t now = 0;
    for (unsigned long i = rounds(30000); i; i--) {
        stretch_step(&rng, &stretch[rng_below(&rng, STRETCHES)]);
        if (!rng_below(&rng, 500)) {
            zone_purge(zone_next(NULL), rng_below(&rng, 2000));
        } else if (!rng_below(&rng, 500)) {
            zone_decay(now += 100);
        }
    }
    for (int i = 0; i < STRETCHES; i++) {
        stretch_check(&stretch[i]);
    }
    return NULL;
}

Test(zone, threads_share_it_and_no_page_is_lost_or_handed_out_twice) {
    pthread_t thread[THREADS];
    options.decay_ms = 100;
    for (uintptr_t i = 0; i < THREADS; i++) {
        pthread_create(&thread[i], NULL, churn, (void *)(i + 1));
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
    }
    require(errors == 0, "%zu pages were not what they should be", (size_t)errors);
    out_pages += held_pages;
    must_be_sound();
}
