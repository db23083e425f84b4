/* reclaim.h promises: holes go back, survivors and whoever frees meanwhile notice nothing, refusals lose nothing. */
#include "reclaim.h"

#include "magazine.h"
#include "support.h"
#include "zone.h"

#define OBJECTS 4000
#define BYTES 2048 /* two to a page */

static void *object[OBJECTS];

/* OBJECTS written objects of which one in STEP stays; the others are in their slabs, not in magazines. */
static void thin_out(size_t step) {
    for (size_t i = 0; i < OBJECTS; i++) {
        object[i] = slabmalloc_malloc(BYTES);
        MUST(object[i]);
        pattern_fill(object[i], BYTES, i);
    }
    for (size_t i = 0; i < OBJECTS; i++) {
        if (i % step) {
            slabmalloc_free(object[i]);
            object[i] = NULL;
        }
    }
    magazine_flush(owner_get(), false);
}

static void survivors_must_be_whole(void) {
    for (size_t i = 0; i < OBJECTS; i++) {
        MUST(!object[i] || pattern_holds(object[i], BYTES, i));
    }
}

/* Resident pages of the slabs that hold the objects that are left. */
static size_t slab_pages_resident(void) {
    size_t total = 0;
    const struct slab *last = NULL;
    for (size_t i = 0; i < OBJECTS; i++) {
        const struct slab *slab = object[i] ? slab_of(object[i]) : last;
        if (slab != last) {
            total += resident_pages((void *)slab->base, (size_t)slab->npages << PAGE_SHIFT);
            last = slab;
        }
    }
    return total;
}

Test(reclaim, gives_back_every_page_without_a_live_object) {
    thin_out(10); /* every fifth page has one */
    MUST(slab_pages_resident() > OBJECTS / 2 * 9 / 10);
    size_t given = reclaim_slabs(true);
    MUST(given > OBJECTS / 2 * 7 / 10);
    MUST(slab_pages_resident() <= OBJECTS / 10 + 64);
    survivors_must_be_whole();
    MUST_BE_SOUND();
}

Test(reclaim, has_nothing_to_give_twice) {
    thin_out(10);
    MUST(reclaim_slabs(true) > 0);
    MUST(reclaim_slabs(true) == 0);
}

Test(reclaim, leaves_alone_what_was_used_since_the_last_look) {
    thin_out(10);
    MUST(reclaim_slabs(false) == 0);
    size_t all = OBJECTS / 2 * 7 / 10;
    MUST(reclaim_slabs(false) > all);
}

/* N written objects of a class that has none in the test. */
static void *other[8000];

static void allocate_others(size_t n) {
    for (size_t i = 0; i < n; i++) {
        other[i] = slabmalloc_malloc(3000);
        MUST(other[i]);
        *(char *)other[i] = 1;
    }
}

Test(reclaim, a_new_peak_gives_back_holes) {
    options.background = false;
    thin_out(10);
    size_t before = slab_pages_resident();
    allocate_others(COUNT_OF(other));
    MUST(slab_pages_resident() < before / 2);
    survivors_must_be_whole();
    MUST_BE_SOUND();
}

Test(reclaim, below_an_old_peak_holes_stay) {
    options.background = false;
    allocate_others(COUNT_OF(other));
    for (size_t i = 0; i < COUNT_OF(other); i++) {
        slabmalloc_free(other[i]);
    }
    magazine_flush(owner_get(), false);
    thin_out(10);
    size_t before = slab_pages_resident();
    allocate_others(COUNT_OF(other) / 4);
    MUST(slab_pages_resident() == before);
}

Test(reclaim, purged_memory_serves_again_and_is_given_back_again) {
    thin_out(10);
    MUST(reclaim_slabs(true) > 0);
    for (size_t i = 0; i < OBJECTS; i++) {
        if (!object[i]) {
            object[i] = slabmalloc_malloc(BYTES);
            MUST(object[i]);
            pattern_fill(object[i], BYTES, i);
        }
    }
    survivors_must_be_whole();
    MUST_BE_SOUND();
    MUST(reclaim_slabs(true) < 64); /* all in use, but for the beginnings of slabs */
    for (size_t i = 0; i < OBJECTS; i++) {
        slabmalloc_free(object[i]);
        object[i] = NULL;
    }
    magazine_flush(owner_get(), false);
    MUST_BE_SOUND();
    MUST(stats_now().slab_used_bytes == 0);
}

Test(reclaim, fresh_pages_of_a_slab_that_ends_are_known_to_be_zero) {
    thin_out(100);
    MUST(reclaim_slabs(true) > 0);
    for (size_t i = 0; i < OBJECTS; i++) {
        slabmalloc_free(object[i]);
        object[i] = NULL;
    }
    magazine_flush(owner_get(), true);
    reclaim_slabs(true);
    /* calloc of runs clears only what is not known to be zero: if a bit were wrong it would show here. */
    for (size_t i = 0; i < 64; i++) {
        char *p = slabmalloc_calloc(1, 100 * KIB);
        MUST(p && all_bytes_are(p, 100 * KIB, 0));
        memset(p, 1, 100 * KIB);
    }
}

Test(reclaim, a_refused_purge_keeps_the_page_and_the_books) {
    thin_out(10);
    fault_arm(1u << SYS_ADVISE, 0, FOREVER);
    MUST(reclaim_slabs(true) == 0);
    MUST(fault_disarm() > 0);
    MUST_BE_SOUND();
    survivors_must_be_whole();
    MUST(reclaim_slabs(true) > 0);
}

/* Frees the objects on PAGES of every eight pages. */
static void free_pages_of_eight(size_t pages) {
    for (size_t i = 0; i < OBJECTS; i++) {
        if (i / 2 % 8 < pages) {
            slabmalloc_free(object[i]);
            object[i] = NULL;
        }
    }
    magazine_flush(owner_get(), false);
}

Test(reclaim, intact_huge_pages_are_spared_unless_half_of_the_slab_is_free) {
    slabmalloc_free(slabmalloc_malloc(1));
    options.huge_threshold = 0;
    options.decay_ms = -1; /* no purge before a new peak: so small a heap would not spare huge pages */
    slabmalloc_trim();     /* what was mapped before is for small pages */
    thin_out(1);
    if (!block_huge(pagemap_block(pointer_pfn(object[OBJECTS / 2])))) {
        cr_skip_test("this kernel has no transparent huge pages");
    }
    free_pages_of_eight(1);
    reclaim_slabs(false);
    size_t few = reclaim_slabs(false);
    MUST(few < OBJECTS / 2 / 16); /* but for slabs that end early */
    MUST(block_huge(pagemap_block(pointer_pfn(object[OBJECTS / 2 + 2]))));
    free_pages_of_eight(6);
    MUST(reclaim_slabs(false) > OBJECTS / 2 / 2);
    survivors_must_be_whole();
    MUST_BE_SOUND();
}

/* Frees all 256-byte objects but one on each page, and that one too on every fourth page. */
static size_t desert(char **objects, size_t n) {
    size_t holes = 0;
    for (size_t i = 0; i < n; i++) {
        size_t page = pointer_pfn(objects[i]);
        bool first = !((uintptr_t)objects[i] & (PAGE_BYTES - 1));
        if (!first || page % 4 == 0) {
            slabmalloc_free(objects[i]);
            objects[i] = NULL;
            holes += first;
        }
    }
    magazine_flush(owner_get(), false);
    return holes;
}

Test(reclaim, a_huge_page_of_few_live_bytes_is_given_up_for_few_holes) {
    static char *few[8 * BLOCK_BYTES / 256];
    size_t n = sizeof few / sizeof *few;
    slabmalloc_free(slabmalloc_malloc(1));
    options.huge_threshold = 0;
    options.decay_ms = -1;
    slabmalloc_trim(); /* what was mapped before is for small pages */
    for (size_t i = 0; i < n; i++) {
        few[i] = slabmalloc_malloc(256);
        MUST(few[i]);
    }
    if (!block_huge(pagemap_block(pointer_pfn(few[n / 2])))) {
        cr_skip_test("this kernel has no transparent huge pages");
    }
    size_t holes = desert(few, n);
    reclaim_slabs(false);
    size_t purged = reclaim_slabs(false);
    require(purged > holes / 10 * 9, "%zu of %zu pages", purged, holes);
    MUST_BE_SOUND();
}

Test(reclaim, counts_pages_of_sparse_slabs) {
    size_t before = reclaim_sparse_pages();
    thin_out(10);
    size_t sparse = reclaim_sparse_pages() - before;
    MUST(sparse > OBJECTS / 2 * 9 / 10 && sparse < OBJECTS / 2 * 12 / 10);
    for (size_t i = 0; i < OBJECTS; i++) {
        slabmalloc_free(object[i]);
        object[i] = NULL;
    }
    owner_get();
    slabmalloc_trim();
    MUST(reclaim_sparse_pages() == 0);
}

Test(reclaim, idle_runs_of_a_thread_go_back_to_the_zone) {
    void *run = slabmalloc_malloc(100 * KIB);
    slabmalloc_free(run);
    MUST(stats_now().run_cached_bytes > 0);
    reclaim_slabs(false); /* the first look only marks it */
    MUST(stats_now().run_cached_bytes > 0);
    reclaim_slabs(false);
    MUST(stats_now().run_cached_bytes == 0);
    MUST_BE_SOUND();
}

/* --- While other threads work --- */

static _Atomic bool over;

static void churn(unsigned index) {
    struct rng rng = {index + 1};
    static __thread void *mine[2000];
    for (unsigned long i = 0; !over; i++) {
        size_t at = rng_below(&rng, COUNT_OF(mine));
        if (mine[at]) {
            MUST(pattern_holds(mine[at], 64, at));
            slabmalloc_free(mine[at]);
            mine[at] = NULL;
        } else {
            size_t bytes = random_size(&rng, 20000) + 64;
            mine[at] = slabmalloc_malloc(bytes);
            MUST(mine[at]);
            pattern_fill(mine[at], 64, at);
        }
    }
    for (size_t i = 0; i < COUNT_OF(mine); i++) {
        slabmalloc_free(mine[i]);
    }
}

static void churn_or_reclaim(unsigned index) {
    if (index) {
        churn(index);
        return;
    }
    for (unsigned long i = rounds(400); i; i--) {
        reclaim_slabs(i % 2);
        MUST_BE_SOUND();
    }
    over = true;
}

Test(reclaim, threads_that_allocate_and_free_meanwhile_keep_their_bytes) {
    threads_run(4, churn_or_reclaim);
    MUST_BE_SOUND();
    MUST(stats_now().slab_used_bytes == 0);
}

/* --- Fork in the middle of a batch --- */

static pthread_barrier_t middle;
static _Atomic unsigned advices;

static bool stop_in_the_middle(enum sys_call call) {
    if (call == SYS_ADVISE && advices++ == 0) {
        pthread_barrier_wait(&middle);
        pthread_barrier_wait(&middle);
    }
    return false;
}

static void *reclaim_all(void *unused) {
    reclaim_slabs(true);
    return unused;
}

static size_t held_slabs(void) {
    size_t held = 0;
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        held += owner_get()->cache[class].count[SLAB_HELD];
    }
    return held;
}

static void use_and_check(void *unused) {
    (void)unused;
    MUST(held_slabs() == 0);
    survivors_must_be_whole();
    for (size_t i = 0; i < OBJECTS; i++) {
        slabmalloc_free(object[i]);
    }
    slabmalloc_trim();
    MUST_BE_SOUND();
    MUST(stats_now().slab_used_bytes == 0);
}

Test(reclaim, a_fork_child_files_the_slabs_that_another_thread_held) {
    thin_out(10);
    pthread_t thread;
    pthread_barrier_init(&middle, NULL, 2);
    sys_fault_hook = stop_in_the_middle;
    MUST(!pthread_create(&thread, NULL, reclaim_all, NULL));
    pthread_barrier_wait(&middle);
    MUST(held_slabs() > 0);
    child_must_end_well(use_and_check, NULL);
    pthread_barrier_wait(&middle);
    pthread_join(thread, NULL);
    MUST(held_slabs() == 0);
    MUST_BE_SOUND();
}
