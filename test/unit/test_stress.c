/*
 * Everything at once, every byte checked: threads that allocate all sizes, hand blocks to each other, resize and free
 * what others made, exit and are replaced, while the heap's own check runs beside them.
 */
#include "heap.h"
#include "magazine.h"
#include "mapping.h"
#include "owner.h"
#include "pagemap.h"
#include "remote.h"
#include "support.h"

#define THREADS 5

struct held {
    char *p;
    size_t bytes;
    uint64_t seed;
};

/* Blocks on their way from thread to thread. */
#define MARKET 1024

static _Atomic(struct held *) market[MARKET];
static _Atomic bool stop;

static void held_check(const struct held *h) {
    MUST(words_hold(h->p, h->bytes, h->seed));
}

static size_t stress_size(struct rng *rng) {
    size_t kind = rng_below(rng, 256);
    return 1 + random_size(rng, kind < 200 ? 2 * KIB : kind < 240 ? 40 * KIB : kind < 254 ? 300 * KIB : 4 * MIB);
}

/* The record is itself a block of the heap, usually another thread's when it is freed. */
static struct held *held_new(struct rng *rng) {
    struct held *h = slabmalloc_malloc(sizeof *h);
    MUST(h != NULL);
    h->bytes = stress_size(rng);
    h->seed = rng_next(rng);
    switch (rng_below(rng, 8)) {
    case 0: {
        size_t align = (size_t)16 << rng_below(rng, 10);
        h->p = slabmalloc_aligned_alloc(align, h->bytes);
        MUST(((uintptr_t)h->p & (align - 1)) == 0);
        break;
    }
    case 1:
        h->p = slabmalloc_calloc(h->bytes, 1);
        MUST(h->p && all_bytes_are(h->p, h->bytes, 0));
        break;
    default:
        h->p = slabmalloc_malloc(h->bytes);
        break;
    }
    MUST(h->p && slabmalloc_usable_size(h->p) >= h->bytes);
    words_fill(h->p, h->bytes, h->seed);
    return h;
}

static void held_resize(struct held *h, struct rng *rng) {
    size_t bytes = rng_below(rng, 2) ? 1 + h->bytes / 2 + rng_below(rng, h->bytes + 1) : stress_size(rng);
    char *p = slabmalloc_realloc(h->p, bytes);
    MUST(p && words_hold(p, min_size(bytes, h->bytes) & ~(size_t)7, h->seed));
    h->p = p;
    h->bytes = bytes;
    words_fill(p, bytes, h->seed);
}

static void held_free(struct held *h) {
    held_check(h);
    slabmalloc_free(h->p);
    slabmalloc_free(h);
}

static void trade(struct rng *rng, unsigned nsteps) {
    for (unsigned step = 0; step < nsteps; step++) {
        struct held *h = held_new(rng);
        if (rng_below(rng, 4) == 0) {
            held_resize(h, rng);
        }
        h = atomic_exchange(&market[rng_below(rng, MARKET)], h);
        if (!h) {
            continue;
        }
        if (rng_below(rng, 4) == 0) {
            held_check(h);
            held_resize(h, rng); /* another thread's block */
        }
        held_free(h);
    }
}

static void empty_market(void) {
    for (size_t i = 0; i < MARKET; i++) {
        struct held *h = atomic_exchange(&market[i], NULL);
        if (h) {
            held_free(h);
        }
    }
}

static void must_be_empty(void) {
    empty_market();
    slabmalloc_trim();
    MUST_BE_SOUND();
    MUST(stats_now().used_bytes == 0);
    MUST(stats_now().owners_active == 1);
}

static void *inspect(void *arg) {
    (void)arg;
    struct rng rng = {99};
    while (!stop) {
        MUST_BE_SOUND();
        (void)stats_now();
        if (rng_below(&rng, 4) == 0) {
            slabmalloc_trim();
        }
        usleep(1000);
    }
    return NULL;
}

static void run_inspected(void (*body)(void)) {
    pthread_t inspector;
    stop = false;
    MUST(!pthread_create(&inspector, NULL, inspect, NULL));
    body();
    stop = true;
    pthread_join(inspector, NULL);
    must_be_empty();
}

/* --- Threads that stay --- */

static void trade_long(unsigned index) {
    struct rng rng = {index + 1};
    trade(&rng, (unsigned)rounds(40000 / SUPPORT_SLOWDOWN));
}

static void traders(void) {
    threads_run(THREADS, trade_long);
}

Test(stress, blocks_keep_their_bytes_while_threads_trade_them) {
    run_inspected(traders);
}

/* --- Threads that come and go --- */

static void trade_shortly(unsigned index) {
    struct rng rng = {index + (uint64_t)(uintptr_t)pthread_self()};
    trade(&rng, 20 + (unsigned)rng_below(&rng, 400));
}

static void generations(void) {
    for (unsigned i = 0; i < rounds(120 / SUPPORT_SLOWDOWN); i++) {
        threads_run(1 + i % THREADS, trade_shortly);
    }
}

Test(stress, blocks_outlive_the_threads_that_made_them) {
    run_inspected(generations);
}

/* --- Few sizes, so that slabs are stolen, adopted and emptied all the time --- */

#define NARROW 256

static _Atomic(char *) narrow[NARROW];

static void swap_narrow(unsigned index) {
    struct rng rng = {index + (uint64_t)(uintptr_t)pthread_self()};
    static const size_t size[] = {4096, 8192, 3584, 32768};
    unsigned nsteps = 500 + (unsigned)rng_below(&rng, 2000);
    for (unsigned step = 0; step < nsteps; step++) {
        /* The size is in the slot's number, the stamp in the first and last word: most of the time goes to the heap. */
        size_t at = rng_below(&rng, NARROW), bytes = size[at % COUNT_OF(size)];
        char *p = slabmalloc_malloc(bytes);
        memcpy(p, &p, 8);
        memcpy(p + bytes - 8, &p, 8);
        p = atomic_exchange(&narrow[at], p);
        if (p) {
            MUST(!memcmp(p, &p, 8) && !memcmp(p + bytes - 8, &p, 8));
            slabmalloc_free(p);
        }
    }
}

static void narrow_generations(void) {
    for (unsigned i = 0; i < rounds(200 / SUPPORT_SLOWDOWN); i++) {
        threads_run(2 + i % THREADS, swap_narrow);
    }
    for (size_t i = 0; i < NARROW; i++) {
        slabmalloc_free(atomic_exchange(&narrow[i], NULL));
    }
}

Test(stress, slabs_of_few_objects_change_owners_safely) {
    run_inspected(narrow_generations);
}

/* --- The same under every option --- */

static void short_trade(unsigned index) {
    struct rng rng = {index + 5};
    trade(&rng, (unsigned)rounds(6000 / SUPPORT_SLOWDOWN));
}

static void short_traders(void) {
    threads_run(THREADS, short_trade);
}

Test(stress, every_option_is_safe) {
    static const char *const conf[] = {
        "decay_ms:0,map_cache:0,magazine_max:0",
        "decay_ms:-1,map_cache:1G,magazine_max:1M",
        "huge_threshold:0,decay_ms:1",
        "hugepages:off,map_cache:4M",
    };
    for (size_t i = 0; i < COUNT_OF(conf); i++) {
        options_parse(conf[i]);
        run_inspected(short_traders);
    }
}

/* --- Migration, borrowing and faults among the rest --- */

static void trade_and_migrate(unsigned index) {
    struct rng rng = {index + 31};
    for (unsigned i = 0; i < rounds(60 / SUPPORT_SLOWDOWN); i++) {
        trade(&rng, 100);
        if (owner_have()) {
            owner_migrate(owner_have(), (unsigned)rng_below(&rng, 3));
        }
    }
}

static void migrants(void) {
    threads_run(THREADS, trade_and_migrate);
}

Test(stress, threads_may_migrate_at_any_time) {
    pthread_t inspector;
    MUST(!pthread_create(&inspector, NULL, inspect, NULL));
    migrants();
    stop = true;
    pthread_join(inspector, NULL);
    must_be_empty();
}

static _Atomic unsigned dice;

/* One call in eight is refused, but for those that may make malloc return NULL. */
static bool refuse_some(enum sys_call call) {
    return call != SYS_MAP && atomic_fetch_add(&dice, 1) % 8 == 0;
}

Test(stress, refused_system_calls_harm_nobody) {
    sys_fault_hook = refuse_some;
    traders();
    sys_fault_hook = NULL;
    empty_market();
    slabmalloc_trim();
    MUST_BE_SOUND();
    MUST(stats_now().used_bytes == 0);
}
