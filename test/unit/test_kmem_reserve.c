/* Sheaves and mempools have what they promised when the cache has nothing. */
#include "kmem_support.h"

static struct books books;
static struct slabmalloc_cache *cache;

static void init(void) {
    cache = things_create("reserved", 256, 0, &books);
}

/* From now on the constructor fails, so only objects that are constructed already can be had. */
static void drought(void) {
    void *rest[4096];
    size_t n = 0;
    books.fail_after = 1;
    while (n < COUNT_OF(rest) && (rest[n] = slabmalloc_cache_alloc(cache))) {
        n++;
    }
    MUST(n < COUNT_OF(rest));
}

TestSuite(kmem_reserve, .init = init);

Test(kmem_reserve, a_sheaf_s_objects_cannot_fail) {
    struct slabmalloc_sheaf *sheaf = slabmalloc_sheaf_prefill(cache, 300);
    MUST(sheaf && slabmalloc_sheaf_size(sheaf) == 300);
    drought();
    for (size_t i = 0; i < 300; i++) {
        MUST(thing_mark(slabmalloc_sheaf_alloc(sheaf)));
    }
    errno = 0;
    MUST(!slabmalloc_sheaf_alloc(sheaf) && errno == ENOMEM);
    slabmalloc_sheaf_return(sheaf);
}

Test(kmem_reserve, a_sheaf_is_filled_again_or_left_as_it_was) {
    struct slabmalloc_sheaf *sheaf = slabmalloc_sheaf_prefill(cache, 10);
    struct thing *one = thing_mark(slabmalloc_sheaf_alloc(sheaf));
    MUST(!slabmalloc_sheaf_refill(sheaf, 100) && slabmalloc_sheaf_size(sheaf) == 100);
    MUST(!slabmalloc_sheaf_refill(sheaf, 5) && slabmalloc_sheaf_size(sheaf) == 100);
    books.fail_after = 1;
    errno = 0;
    MUST(slabmalloc_sheaf_refill(sheaf, 5000) == -1 && errno == ENOMEM && slabmalloc_sheaf_size(sheaf) == 100);
    size_t metadata = stats_now().metadata_bytes;
    for (size_t i = 0; i < 100; i++) {
        MUST(!slabmalloc_sheaf_prefill(cache, 5000) && errno == ENOMEM);
    }
    MUST(stats_now().metadata_bytes <= metadata + MIB);
    books.fail_after = 0;
    slabmalloc_sheaf_return(sheaf);
    slabmalloc_sheaf_return(NULL);
    MUST(info_of(cache).live == 1);
    thing_free(cache, one);
    things_destroy(cache, &books);
}

Test(kmem_reserve, a_mempool_gives_its_reserve_last_and_fills_it_first) {
    struct slabmalloc_mempool *pool = slabmalloc_mempool_create(5, cache);
    MUST(pool && info_of(cache).live == 5);
    struct thing *early = slabmalloc_mempool_alloc(pool);
    MUST(early && info_of(cache).live == 6);
    drought();
    void *p[5];
    for (size_t i = 0; i < 5; i++) {
        p[i] = slabmalloc_mempool_alloc(pool);
        MUST(p[i]);
    }
    errno = 0;
    MUST(!slabmalloc_mempool_alloc(pool) && errno == ENOMEM);
    slabmalloc_mempool_free(pool, early);
    slabmalloc_mempool_free(pool, NULL);
    MUST(!slabmalloc_cache_alloc(cache));
    MUST(slabmalloc_mempool_alloc(pool) == early);
}

Test(kmem_reserve, a_mempool_leaves_nothing_behind) {
    errno = 0;
    MUST(!slabmalloc_mempool_create(0, cache) && errno == EINVAL);
    MUST(!slabmalloc_mempool_create((size_t)1 << 40, cache) && errno == ENOMEM);
    books.fail_after = 3;
    MUST(!slabmalloc_mempool_create(10, cache) && errno == ENOMEM);
    books.fail_after = 0;
    struct slabmalloc_mempool *pool = slabmalloc_mempool_create(10, cache);
    slabmalloc_mempool_free(pool, slabmalloc_mempool_alloc(pool));
    slabmalloc_mempool_destroy(pool);
    slabmalloc_mempool_destroy(NULL);
    things_destroy(cache, &books);
}

static struct slabmalloc_mempool *shared_pool;

static void borrow_and_return(unsigned index) {
    struct rng rng = {index};
    for (unsigned long i = 0; i < rounds(3000) / SUPPORT_SLOWDOWN; i++) {
        struct thing *thing = thing_mark(slabmalloc_mempool_alloc_wait(shared_pool));
        if (rng_below(&rng, 16) == 0) {
            usleep(10);
        }
        thing_unmark(thing);
        slabmalloc_mempool_free(shared_pool, thing);
    }
}

Test(kmem_reserve, who_waits_for_a_mempool_gets_an_object) {
    shared_pool = slabmalloc_mempool_create(2, cache);
    drought();
    threads_run(8, borrow_and_return);
}
