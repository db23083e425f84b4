/* The fast path and its refills: what a thread's magazines hold, in which order they give it, and what they refuse. */
#include "magazine.h"
#include "meta.h"
#include "region.h"
#include "support.h"

/* Enough objects to overflow any magazine. */
#define MANY 1200

static void *object[MANY], *kept[MANY];

static void allocate(size_t n, size_t bytes) {
    for (size_t i = 0; i < n; i++) {
        object[i] = slabmalloc_malloc(bytes);
        MUST(object[i] != NULL);
    }
}

static void release(size_t n) {
    for (size_t i = 0; i < n; i++) {
        slabmalloc_free(object[i]);
    }
}

/* Exact between calls of this thread. */
static void must_keep_within_bounds(unsigned class) {
    const struct owner *owner = owner_have();
    size_t count = magazine_count(owner, class), capacity = owner->cache[class].capacity;
    MUST(count <= capacity);
    MUST((!capacity || !((capacity + 2) & (capacity + 1))) && capacity <= 2046);
    MUST(count * sizeclass_bytes(class) <= options.magazine_max);
}

Test(magazine, fresh_slab_gives_objects_in_address_order) {
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        allocate(300, sizeclass_bytes(class));
        for (size_t i = 1; i < 300; i++) {
            MUST(slab_of(object[i]) != slab_of(object[i - 1]) || object[i] > object[i - 1]);
        }
        release(300);
    }
}

Test(magazine, last_object_freed_is_first_reused) {
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        size_t bytes = sizeclass_bytes(class);
        allocate(2, bytes);
        /* A few free slots first, so that the two stay on top of each other. */
        slabmalloc_free(object[0]);
        slabmalloc_free(object[1]);
        if (magazine_count(owner_have(), class) >= 2) {
            MUST(slabmalloc_malloc(bytes) == object[1]);
            MUST(slabmalloc_malloc(bytes) == object[0]);
            release(2);
        }
    }
}

Test(magazine, keeps_at_most_magazine_max_bytes_of_a_class) {
    static const size_t most[] = {32 * KIB, 64 * KIB, 1 * MIB, 4 * KIB};
    for (size_t i = 0; i < COUNT_OF(most); i++) {
        magazine_flush(owner_get(), true);
        options.magazine_max = most[i];
        for (unsigned class = 0; class < CLASS_COUNT; class ++) {
            allocate(MANY, sizeclass_bytes(class));
            for (size_t j = 0; j < MANY; j++) {
                slabmalloc_free(object[j]);
                must_keep_within_bounds(class);
            }
        }
    }
    MUST_BE_SOUND();
}

/* The bytes its magazine of CLASS has slots for, after batches of N were allocated and freed a few times. */
static size_t slots_after_batches_of(size_t n, unsigned class) {
    magazine_flush(owner_get(), true);
    owner_have()->cache[class].before = 0;
    for (unsigned i = 0; i < 20; i++) {
        allocate(n, sizeclass_bytes(class));
        release(n);
    }
    return owner_have()->cache[class].capacity * sizeclass_bytes(class);
}

Test(magazine, holds_more_than_a_quarter_of_magazine_max_only_in_heaps_that_are_large_for_that) {
    const unsigned class = sizeclass_of(8 * KIB);
    size_t most = options.magazine_max;
    MUST(slots_after_batches_of(most / 2 / (8 * KIB), class) <= most / 4);
    for (size_t i = 0; i < MANY; i++) {
        kept[i] = slabmalloc_malloc(8 * KIB);
    }
    size_t bytes = slots_after_batches_of(2 * most / (8 * KIB), class);
    MUST(bytes > most / 2 && bytes <= most);
    for (size_t i = 0; i < MANY; i++) {
        slabmalloc_free(kept[i]);
    }
    MUST_BE_SOUND();
}

Test(magazine, refill_stays_within_magazine_max_too) {
    struct rng rng = {11};
    for (unsigned round = 0; round < 3000; round++) {
        unsigned class = (unsigned)rng_below(&rng, CLASS_COUNT);
        size_t n = 1 + rng_below(&rng, 100);
        for (size_t i = 0; i < n; i++) {
            object[i] = slabmalloc_malloc(sizeclass_bytes(class));
            must_keep_within_bounds(class);
        }
        release(n);
        must_keep_within_bounds(class);
    }
}

Test(magazine, works_without_slots_when_magazine_max_is_0) {
    magazine_flush(owner_get(), true);
    options.magazine_max = 0;
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        allocate(100, sizeclass_bytes(class));
        for (size_t i = 0; i < 100; i++) {
            pattern_fill(object[i], sizeclass_bytes(class), i);
            MUST(magazine_count(owner_have(), class) == 0);
        }
        for (size_t i = 0; i < 100; i++) {
            MUST(pattern_holds(object[i], sizeclass_bytes(class), i));
        }
        release(100);
        MUST(magazine_count(owner_have(), class) == 0);
    }
    MUST_BE_SOUND();
}

/* Leaves not one piece of metadata of any size, and no way to get more. */
static void exhaust_metadata(void) {
    fault_arm(1u << SYS_MAP, 0, FOREVER);
    for (size_t bytes = 1 * MIB; bytes >= META_MIN; bytes /= 2) {
        while (meta_alloc_dirty(bytes)) {
        }
    }
}

Test(magazine, works_without_slots_when_metadata_is_exhausted) {
    allocate(MANY, 64);
    for (size_t i = 0; i < MANY; i += 2) {
        slabmalloc_free(object[i]); /* now slabs have free objects, so no slab descriptor is needed below */
    }
    magazine_flush(owner_get(), true);
    exhaust_metadata();
    unsigned class = sizeclass_of(64);
    for (size_t i = 0; i < MANY; i += 2) {
        object[i] = slabmalloc_malloc(64);
        MUST(object[i] != NULL);
        MUST(magazine_count(owner_have(), class) == 0);
        memset(object[i], 1, 64);
    }
    release(MANY);
    MUST(magazine_count(owner_have(), class) == 0);
    fault_disarm();
    MUST_BE_SOUND();
    allocate(MANY, 64);
    MUST(magazine_count(owner_have(), class) || owner_have()->cache[class].capacity);
    release(MANY);
}

Test(magazine, drained_objects_go_back_to_their_slabs) {
    size_t used = stats_now().used_bytes;
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        allocate(MANY, sizeclass_bytes(class));
        MUST(stats_now().used_bytes == used + MANY * sizeclass_bytes(class));
        release(MANY);
        MUST(stats_now().used_bytes == used);
    }
    MUST_BE_SOUND();
}

Test(magazine, flush_leaves_every_slab_with_all_its_objects) {
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        allocate(50, sizeclass_bytes(class));
        release(50);
    }
    struct owner *owner = owner_get();
    magazine_flush(owner, true);
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        MUST(magazine_count(owner, class) == 0);
        MUST(owner->cache[class].capacity == 0);
        MUST(!owner->cache[class].list[SLAB_FULL] && !owner->cache[class].list[SLAB_BUSY]);
        MUST(!owner->cache[class].list[SLAB_SPARSE]);
    }
    MUST(stats_now().magazine_bytes == 0);
    MUST_BE_SOUND();
}

/* --- No object twice: a long random sequence against a set of the live pointers --- */

#define SET_SLOTS 65536
#define LIVE_MAX 8192

static void *set[SET_SLOTS];

static size_t set_find(const void *p) {
    size_t at = ((uintptr_t)p >> 4) * 0x9e3779b97f4a7c15u >> 48;
    while (set[at] && set[at] != p) {
        at = (at + 1) % SET_SLOTS;
    }
    return at;
}

/* Linear probing without tombstones: what follows moves up. */
static void set_remove(const void *p) {
    size_t at = set_find(p);
    MUST(set[at] == p);
    set[at] = NULL;
    for (size_t i = (at + 1) % SET_SLOTS; set[i]; i = (i + 1) % SET_SLOTS) {
        void *moved = set[i];
        set[i] = NULL;
        set[set_find(moved)] = moved;
    }
}

struct stamped {
    void *p;
    size_t bytes;
    uint64_t stamp;
};

static void stamp(const struct stamped *s) {
    memcpy(s->p, &s->stamp, 8);
    memcpy((char *)s->p + s->bytes - 8, &s->stamp, 8);
}

static bool stamp_is_there(const struct stamped *s) {
    return !memcmp(s->p, &s->stamp, 8) && !memcmp((char *)s->p + s->bytes - 8, &s->stamp, 8);
}

Test(magazine, no_object_is_given_out_twice) {
    static struct stamped live[LIVE_MAX];
    size_t nlive = 0;
    struct rng rng = {5};
    unsigned hot = 0;
    for (uint64_t step = 0; step < 2000000 / SUPPORT_SLOWDOWN; step++) {
        if (step % 4096 == 0) {
            hot = (unsigned)rng_below(&rng, CLASS_COUNT); /* one class at a time gets deep runs */
        }
        bool grow = rng_below(&rng, 1000) < (step / 20000 % 2 ? 420 : 580);
        if (grow && nlive < LIVE_MAX) {
            unsigned class = rng_below(&rng, 2) ? hot : (unsigned)rng_below(&rng, CLASS_COUNT);
            struct stamped s = {slabmalloc_malloc(sizeclass_bytes(class)), sizeclass_bytes(class), step};
            size_t at = set_find(s.p);
            MUST(s.p && !set[at]);
            set[at] = s.p;
            stamp(&s);
            live[nlive++] = s;
        } else if (nlive) {
            /* Freed by age, by recency or anywhere. */
            size_t mode = rng_below(&rng, 3), i = mode == 0 ? 0 : mode == 1 ? nlive - 1 : rng_below(&rng, nlive);
            MUST(stamp_is_there(&live[i]));
            set_remove(live[i].p);
            slabmalloc_free(live[i].p);
            live[i] = live[--nlive];
        }
    }
    MUST_BE_SOUND();
}

/* --- Objects belong to the user, free or not --- */

Test(magazine, freed_objects_keep_their_bytes) {
    options.decay_ms = -1; /* giving pages back to the kernel would clear them, rightly */
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        size_t bytes = sizeclass_bytes(class);
        allocate(MANY, bytes);
        for (size_t i = 0; i < MANY; i++) {
            pattern_fill(object[i], bytes, i);
        }
        release(MANY);
        for (size_t i = 0; i < MANY; i++) {
            MUST(pattern_holds(object[i], bytes, i));
        }
    }
}

/* --- The budget --- */

#define BUDGET_THREADS 12

static pthread_barrier_t all_full, measured;
static _Atomic size_t pinned;

/* Drives every magazine of this thread to the largest capacity it can get. */
static void fill_magazines(unsigned index) {
    (void)index;
    void *mine[MANY];
    size_t pages = 0;
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        for (size_t i = 0; i < MANY; i++) {
            mine[i] = slabmalloc_malloc(sizeclass_bytes(class));
            MUST(mine[i] != NULL);
        }
        for (size_t i = 0; i < MANY; i++) {
            slabmalloc_free(mine[i]);
        }
    }
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        pages += owner_have()->cache[class].capacity * pages_of(sizeclass_bytes(class));
    }
    pinned += pages;
    pthread_barrier_wait(&all_full);
    pthread_barrier_wait(&measured);
}

static void *fill_magazines_thread(void *arg) {
    (void)arg;
    fill_magazines(0);
    return NULL;
}

static void *slots_after_fork(void *arg) {
    (void)arg;
    slabmalloc_free(slabmalloc_malloc(64));
    MUST(owner_have()->cache[sizeclass_of(64)].capacity > 0);
    return NULL;
}

static void child_has_the_budget(void *arg) {
    pthread_t thread;
    MUST(!pthread_create(&thread, NULL, slots_after_fork, arg));
    pthread_join(thread, NULL);
}

static bool fork_when_full;

/* The pages all magazines of BUDGET_THREADS greedy threads pin together, and the heap at that moment. */
static size_t pages_pinned_by_threads(size_t *footprint) {
    pthread_t thread[BUDGET_THREADS];
    pinned = 0;
    pthread_barrier_init(&all_full, NULL, BUDGET_THREADS + 1);
    pthread_barrier_init(&measured, NULL, BUDGET_THREADS + 1);
    for (unsigned i = 0; i < BUDGET_THREADS; i++) {
        MUST(!pthread_create(&thread[i], NULL, fill_magazines_thread, NULL));
    }
    pthread_barrier_wait(&all_full);
    *footprint = region_footprint();
    if (fork_when_full) {
        child_must_end_well(child_has_the_budget, NULL);
    }
    pthread_barrier_wait(&measured);
    for (unsigned i = 0; i < BUDGET_THREADS; i++) {
        pthread_join(thread[i], NULL);
    }
    return pinned;
}

Test(magazine, all_magazines_together_pin_a_bounded_number_of_pages) {
    options.magazine_max = 64 * MIB; /* no bound but the process's */
    magazine_flush(owner_get(), true);
    size_t footprint, first = pages_pinned_by_threads(&footprint);
    MUST(first * PAGE_BYTES <= 128 * MIB + footprint / 2);
    /* What exiting threads held is free for others: greed gets as much in every round. */
    for (unsigned round = 0; round < 4; round++) {
        size_t again = pages_pinned_by_threads(&footprint);
        MUST(again * PAGE_BYTES <= 128 * MIB + footprint / 2);
        MUST(again >= first / 2);
    }
    MUST_BE_SOUND();
}

Test(magazine, fork_child_has_the_budget_of_threads_it_does_not_have) {
    SKIP_UNDER_TSAN("children of threads cannot start threads");
    size_t footprint;
    options.magazine_max = 64 * MIB;
    fork_when_full = true;
    pages_pinned_by_threads(&footprint);
    MUST_BE_SOUND();
}

/* --- Misuse --- */

static void free_twice(void *arg) {
    void *p = slabmalloc_malloc(*(size_t *)arg);
    slabmalloc_free(p);
    slabmalloc_free(p);
}

Test(magazine, immediate_double_free_aborts_in_every_class) {
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        size_t bytes = sizeclass_bytes(class);
        must_die_of("double free", free_twice, &bytes);
    }
}

static void free_twice_without_slots(void *arg) {
    options.magazine_max = 0;
    magazine_flush(owner_get(), true);
    free_twice(arg);
}

Test(magazine, immediate_double_free_aborts_without_slots) {
    size_t bytes = 48;
    must_die_of("double free", free_twice_without_slots, &bytes);
}

static void free_twice_with_others_between(void *arg) {
    size_t bytes = *(size_t *)arg;
    void *p = slabmalloc_malloc(bytes), *q = slabmalloc_malloc(bytes);
    slabmalloc_free(p);
    slabmalloc_free(q);
    slabmalloc_free(p);
    slabmalloc_trim();
}

Test(magazine, later_double_free_aborts_at_the_drain) {
    size_t bytes = 100;
    must_die_of("double free", free_twice_with_others_between, &bytes);
}

static void free_after_drain(void *arg) {
    (void)arg;
    allocate(MANY, 64);
    release(MANY); /* the first ones are in their slabs by now */
    for (size_t i = 0; i < MANY; i++) {
        slabmalloc_free(object[i]);
    }
    slabmalloc_trim();
}

Test(magazine, double_free_of_a_drained_object_aborts) {
    must_die_of("double free", free_after_drain, NULL);
}

static void free_inside(void *arg) {
    size_t bytes = *(size_t *)arg;
    char *p = slabmalloc_malloc(bytes);
    slabmalloc_free(p + 8);
    slabmalloc_trim();
}

Test(magazine, free_inside_an_object_aborts_at_the_drain_at_latest) {
    static const size_t sizes[] = {16, 48, 1000, 32 * KIB};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        size_t bytes = sizes[i];
        must_die_of("free of a pointer inside an object", free_inside, &bytes);
    }
}
