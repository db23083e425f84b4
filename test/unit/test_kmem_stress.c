/* Object caches among threads and in children, and long random histories: no object is lost, given to two, or in
 * another state than its books say. */
#include "kmem_support.h"

#include "background.h"
#include "magazine.h"
#include "reclaim.h"

#define THREADS 16
#define MARKET 512

static struct slabmalloc_cache *cache;
static struct books books;
static _Atomic(struct thing *) market[MARKET];
static _Atomic bool stop;

static void empty_market(void) {
    for (size_t i = 0; i < MARKET; i++) {
        struct thing *thing = atomic_exchange(&market[i], NULL);
        if (thing) {
            thing_free(cache, thing);
        }
    }
}

/* --- Threads --- */

/* Most objects go through the market, so most are freed by another thread than allocated them. */
static void trade(struct rng *rng) {
    struct thing *thing = thing_alloc(cache);
    MUST(thing);
    thing->payload = rng_next(rng);
    thing = atomic_exchange(&market[rng_below(rng, MARKET)], thing);
    if (thing) {
        thing_free(cache, thing);
    }
}

static void trade_in_bulk(struct rng *rng) {
    void *own[100];
    size_t n = 1 + rng_below(rng, COUNT_OF(own));
    MUST(slabmalloc_cache_alloc_bulk(cache, n, own) == n);
    for (size_t i = 0; i < n; i++) {
        thing_mark(own[i]);
    }
    for (size_t i = 0; i < n; i++) {
        thing_unmark(own[i]);
    }
    slabmalloc_cache_free_bulk(cache, n, own);
}

static void trader(unsigned index) {
    struct rng rng = {index + 1};
    unsigned long n = rounds(30000) / SUPPORT_SLOWDOWN;
    for (unsigned long i = 0; i < n; i++) {
        trade(&rng);
        if (rng_below(&rng, 64) == 0) {
            trade_in_bulk(&rng);
        }
        if (rng_below(&rng, 4096) == 0) {
            slabmalloc_cache_shrink(cache);
        }
    }
}

static void *watch(void *arg) {
    (void)arg;
    uint64_t now = 0;
    while (!atomic_load(&stop)) {
        MUST_BE_SOUND();
        background_pass(now += 1000);
        slabmalloc_trim();
        usleep(2000);
    }
    return NULL;
}

Test(kmem_stress, sixteen_threads_lose_and_double_no_object) {
    pthread_t watcher;
    cache = things_create("traded", 200, 0, &books);
    MUST(!pthread_create(&watcher, NULL, watch, NULL));
    for (unsigned generation = 0; generation < 2; generation++) {
        threads_run(THREADS, trader);
    }
    atomic_store(&stop, true);
    MUST(!pthread_join(watcher, NULL));
    empty_market();
    MUST(info_of(cache).live == 0);
    things_destroy(cache, &books);
}

static void checked_trader(unsigned index) {
    struct rng rng = {index + 1};
    for (unsigned long i = 0; i < rounds(2000) / SUPPORT_SLOWDOWN; i++) {
        trade(&rng);
    }
}

Test(kmem_stress, checks_find_nothing_where_nothing_is_wrong) {
    cache = things_create("checked", 200, SLABMALLOC_CACHE_CHECKS, &books);
    threads_run(THREADS, checked_trader);
    empty_market();
    things_destroy(cache, &books);
}

static pthread_barrier_t barrier;

/* Leaves objects in its magazine, and others' in what it gathers, and stays. */
static void hoard(unsigned index) {
    struct thing *own[300];
    for (size_t i = 0; i < COUNT_OF(own); i++) {
        own[i] = thing_alloc(cache);
    }
    for (size_t i = 0; i < COUNT_OF(own); i++) {
        thing_free(cache, own[i]);
    }
    if (index) {
        thing_free(cache, atomic_exchange(&market[index], NULL));
    }
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
}

static void destroyer(unsigned index) {
    if (index < 4) {
        hoard(index);
        return;
    }
    pthread_barrier_wait(&barrier);
    MUST(info_of(cache).cached > 4 * 100 && info_of(cache).live == 0);
    things_destroy(cache, &books);
    pthread_barrier_wait(&barrier);
}

Test(kmem_stress, destroy_collects_from_all_threads_at_once) {
    cache = things_create("hoarded", 64, 0, &books);
    for (size_t i = 1; i < 4; i++) {
        atomic_store(&market[i], thing_alloc(cache));
    }
    MUST(!pthread_barrier_init(&barrier, NULL, 5));
    threads_run(5, destroyer);
    MUST_BE_SOUND();
}

static void comes_and_goes(unsigned index) {
    struct slabmalloc_cache *mine = things_create("short", 40 + 8 * index, 0, &books);
    for (unsigned round = 0; round < 30; round++) {
        struct thing *some[64];
        for (size_t i = 0; i < COUNT_OF(some); i++) {
            some[i] = thing_alloc(mine);
        }
        for (size_t i = 0; i < COUNT_OF(some); i++) {
            thing_free(mine, some[i]);
        }
        MUST(!slabmalloc_cache_destroy(mine));
        mine = things_create("short", 40 + 8 * index, 0, &books);
    }
    MUST(!slabmalloc_cache_destroy(mine));
}

Test(kmem_stress, caches_come_and_go_while_threads_exit_and_trim) {
    pthread_t watcher;
    MUST(!pthread_create(&watcher, NULL, watch, NULL));
    for (unsigned round = 0; round < 6; round++) {
        threads_run(8, comes_and_goes);
    }
    atomic_store(&stop, true);
    MUST(!pthread_join(watcher, NULL));
    MUST(books.constructed == books.destructed);
    MUST_BE_SOUND();
}

/* --- State --- */

static void free_all_in_market(unsigned index) {
    (void)index;
    empty_market();
}

Test(kmem_stress, objects_freed_by_other_threads_stay_constructed) {
    cache = things_create("remote", sizeof(struct thing), 0, &books);
    options.decay_ms = -1;
    for (unsigned round = 0; round < 20; round++) {
        for (size_t i = 0; i < MARKET; i++) {
            atomic_store(&market[i], thing_alloc(cache));
        }
        threads_run(1, free_all_in_market);
    }
    MUST(books.constructed < 2 * MARKET && books.destructed == 0 && info_of(cache).live == 0);
    things_destroy(cache, &books);
}

static void fill_market(unsigned index) {
    (void)index;
    for (size_t i = 0; i < MARKET; i++) {
        atomic_store(&market[i], thing_alloc(cache));
    }
}

Test(kmem_stress, slabs_of_threads_that_are_gone_serve_others_constructed) {
    cache = things_create("inherited", 1000, 0, &books);
    threads_run(1, fill_market);
    size_t constructed = books.constructed;
    for (size_t i = 0; i < MARKET; i += 2) {
        thing_free(cache, atomic_exchange(&market[i], NULL));
    }
    slabmalloc_cache_shrink(cache); /* what this thread gathered */
    for (size_t i = 0; i < MARKET; i += 2) {
        atomic_store(&market[i], thing_alloc(cache));
    }
    MUST(books.constructed - books.destructed <= constructed + 64);
    empty_market();
    things_destroy(cache, &books);
}

/* --- Histories --- */

#define SLOTS 700

static struct thing *slot[SLOTS];

static void one_step(struct rng *rng, uint64_t *now) {
    struct thing **at = &slot[rng_below(rng, SLOTS)];
    switch (rng_below(rng, 400)) {
    case 0:
        slabmalloc_cache_shrink(cache);
        break;
    case 1:
        slabmalloc_trim();
        break;
    case 2:
        background_pass(*now += 1000);
        break;
    case 3:
        reclaim_slabs(true);
        break;
    case 4:
        books.fail_after = 0;
        trade_in_bulk(rng);

        break;
    case 5:
        books.fail_after = 1 + rng_below(rng, 20);
        break;
    default:
        if (*at) {
            thing_free(cache, *at);
            *at = NULL;
        } else {
            *at = thing_alloc(cache);
            MUST(*at || books.fail_after);
            books.fail_after = *at ? books.fail_after : 0;
        }
    }
}

/* The model: how many are live, by our slots; how many constructed, by the books. */
static void must_agree(void) {
    size_t live = 0;
    for (size_t i = 0; i < SLOTS; i++) {
        live += slot[i] != NULL;
    }
    struct slabmalloc_cache_info info = info_of(cache);
    MUST(info.live == live && info.live + info.cached <= info.objects);
    MUST(info.constructed <= books.constructed - books.destructed);
    MUST_BE_SOUND();
}

Test(kmem_stress, random_histories_agree_with_the_books) {
    static const size_t sizes[] = {sizeof(struct thing), 200, 1000, 5000, 40000};
    for (unsigned seed = 0; seed < 10; seed++) {
        struct rng rng = {seed};
        uint64_t now = 0;
        unsigned flags = seed % 2 ? 0 : SLABMALLOC_CACHE_CHECKS;
        cache = things_create("history", sizes[seed % COUNT_OF(sizes)], flags, &books);
        for (unsigned long i = 0; i < rounds(20000) / SUPPORT_SLOWDOWN; i++) {
            one_step(&rng, &now);
            if (i % 1000 == 0) {
                must_agree();
            }
        }
        books.fail_after = 0;
        must_agree();
        for (size_t i = 0; i < SLOTS; i++) {
            if (slot[i]) {
                thing_free(cache, slot[i]);
                slot[i] = NULL;
            }
        }
        things_destroy(cache, &books);
    }
}

/* --- Children --- */

static void child_of_one_thread(void *arg) {
    (void)arg;
    MUST_BE_SOUND();
    empty_market();
    fill_market(0);
    empty_market();
    things_destroy(cache, &books);
}

Test(kmem_stress, a_child_has_the_caches_of_its_parent) {
    cache = things_create("forked", 100, 0, &books);
    fill_market(0);
    child_must_end_well(child_of_one_thread, NULL);
    empty_market();
    things_destroy(cache, &books);
}

#define TRADERS 3

static _Atomic unsigned traders;

static void *keep_trading(void *arg) {
    struct rng rng = {(uintptr_t)arg};
    meet_before_fork(&traders, TRADERS + 1);
    while (!atomic_load(&stop)) {
        trade(&rng);
    }
    return NULL;
}

/* Through a market of their own: that of the parent may be in the middle of an exchange. */
static void trade_a_little(unsigned index) {
    static _Atomic(struct thing *) own_market[MARKET];
    struct rng rng = {index};
    for (unsigned i = 0; i < 2000; i++) {
        struct thing *thing = thing_mark(slabmalloc_cache_alloc(cache));
        thing = atomic_exchange(&own_market[rng_below(&rng, MARKET)], thing);
        if (thing) {
            thing_free(cache, thing);
        }
    }
}

/* What vanished threads had in hand stays out: the cache cannot be destroyed, but serves. The market may show an object
 * twice to the child, once in the state before an exchange: it is left alone. */
static void child_of_busy_parent(void *arg) {
    (void)arg;
    alarm(20);
    for (unsigned round = 0; round < 3; round++) {
        struct thing *some[500];
        for (size_t i = 0; i < COUNT_OF(some); i++) {
            some[i] = thing_alloc(cache);
            MUST(some[i]);
        }
        for (size_t i = 0; i < COUNT_OF(some); i++) {
            thing_free(cache, some[i]);
        }
        slabmalloc_cache_shrink(cache);
    }
    if (CHILDREN_MAY_START_THREADS) {
        threads_run(4, trade_a_little); /* they take over what the parent's threads left */
    }
    MUST_BE_SOUND();
}

Test(kmem_stress, children_of_busy_parents_use_the_caches) {
    SKIP_UNDER_TSAN("a child of a process with threads");
    pthread_t thread[TRADERS];
    cache = things_create("busy", 100, 0, &books);
    for (uintptr_t i = 0; i < COUNT_OF(thread); i++) {
        MUST(!pthread_create(&thread[i], NULL, keep_trading, (void *)(i + 1)));
    }
    meet_before_fork(&traders, TRADERS + 1);
    for (unsigned i = 0; i < rounds(60); i++) {
        child_must_end_well(child_of_busy_parent, NULL);
    }
    atomic_store(&stop, true);
    for (size_t i = 0; i < COUNT_OF(thread); i++) {
        MUST(!pthread_join(thread[i], NULL));
    }
    empty_market();
    things_destroy(cache, &books);
}
