/*
 * micro_kmem.c: object caches beside malloc: the same size allocated and freed, and objects whose construction costs 200 ns,
 * which a cache keeps constructed and malloc's user constructs each time. The functions are those of the preloaded library;
 * without them these cases are skipped.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "micro.h"

#include <dlfcn.h>
#include <time.h>

#include "slabmalloc/kmem_cache.h"

static struct {
    struct slabmalloc_cache *(*create)(const char *, size_t, size_t, unsigned, const struct slabmalloc_cache_args *);
    int (*destroy)(struct slabmalloc_cache *);
    void *(*alloc)(struct slabmalloc_cache *);
    void (*free)(struct slabmalloc_cache *, void *);
} kmem;

/* POSIX has function pointers fit into void *; ISO C has no cast for it. */
static void find(void *function, const char *name) {
    void *symbol = dlsym(RTLD_DEFAULT, name);
    memcpy(function, &symbol, sizeof symbol);
}

static bool have_caches(struct gbench_state *state) {
    find(&kmem.create, "slabmalloc_cache_create");
    find(&kmem.destroy, "slabmalloc_cache_destroy");
    find(&kmem.alloc, "slabmalloc_cache_alloc");
    find(&kmem.free, "slabmalloc_cache_free");
    if (!kmem.create || !kmem.destroy || !kmem.alloc || !kmem.free) {
        gbench_skip(state, "no slabmalloc_cache_create: preload libslabmalloc.so");
        return false;
    }
    return true;
}

/* --- The same size --- */

static void kmem_run_pair(struct gbench_state *state) {
    if (!have_caches(state))
        return;
    struct slabmalloc_cache *cache = kmem.create("pair", (size_t)gbench_arg(state, 0), 0, 0, NULL);
    void *(*const alloc)(struct slabmalloc_cache *) = kmem.alloc;
    void (*const release)(struct slabmalloc_cache *, void *) = kmem.free;
    for (struct gbench_loop loop = gbench_start(state, 1024); gbench_next(&loop);) {
        void *p = alloc(cache);
        gbench_keep(p);
        release(cache, p);
    }
    kmem.destroy(cache);
    gbench_set_items(state, gbench_iterations(state));
}

static void kmem_run_malloc(struct gbench_state *state) {
    size_t size = (size_t)gbench_arg(state, 0);
    void *(*volatile alloc)(size_t) = malloc;
    void (*volatile release)(void *) = free;
    void *(*const alloc_now)(size_t) = alloc;
    void (*const release_now)(void *) = release;
    for (struct gbench_loop loop = gbench_start(state, 1024); gbench_next(&loop);) {
        void *p = alloc_now(size);
        gbench_keep(p);
        release_now(p);
    }
    gbench_set_items(state, gbench_iterations(state));
}

/* --- Construction --- */

#define OBJECT_BYTES 256
#define CONSTRUCT_NS 200
#define BATCH_MAX 1000

static unsigned spins;

/* A chain of dependent multiplications, so that its time does not depend on what is around it. */
static uint64_t spin(unsigned n) {
    uint64_t value = n | 1;
    for (unsigned i = 0; i < n; i++) {
        value = value * 6364136223846793005u + 1442695040888963407u;
        __asm__ volatile("" : "+r"(value));
    }
    return value;
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* The best of some tries: others run on this machine. */
static void calibrate(void) {
    enum { TRY = 100000 };
    int64_t best = INT64_MAX;
    for (int i = 0; i < 20; i++) {
        int64_t begin = now_ns();
        gbench_keep((void *)(uintptr_t)spin(TRY));
        int64_t took = now_ns() - begin;
        best = took < best ? took : best;
    }
    spins = (unsigned)((int64_t)CONSTRUCT_NS * TRY / best);
}

static int construct(void *object, void *unused) {
    (void)unused;
    *(uint64_t *)object = spin(spins);
    return 0;
}

static void destruct(void *object, void *unused) {
    (void)unused;
    *(uint64_t *)object = 0;
}

/* Argument 0: objects allocated before the first is freed. */
static void kmem_run_constructed(struct gbench_state *state) {
    if (!have_caches(state))
        return;
    static const struct slabmalloc_cache_args args = {.ctor = construct, .dtor = destruct};
    void *object[BATCH_MAX];
    size_t n = (size_t)gbench_arg(state, 0);
    calibrate();
    struct slabmalloc_cache *cache = kmem.create("constructed", OBJECT_BYTES, 0, 0, &args);
    for (struct gbench_loop loop = gbench_start(state, 1); gbench_next(&loop);) {
        for (size_t i = 0; i < n; i++)
            object[i] = kmem.alloc(cache);
        for (size_t i = 0; i < n; i++)
            kmem.free(cache, object[i]);
    }
    kmem.destroy(cache);
    gbench_set_items(state, gbench_iterations(state) * (int64_t)n);
}

static void kmem_run_init_destroy(struct gbench_state *state) {
    void *object[BATCH_MAX];
    size_t n = (size_t)gbench_arg(state, 0);
    calibrate();
    for (struct gbench_loop loop = gbench_start(state, 1); gbench_next(&loop);) {
        for (size_t i = 0; i < n; i++) {
            object[i] = malloc(OBJECT_BYTES);
            construct(object[i], NULL);
        }
        for (size_t i = 0; i < n; i++) {
            destruct(object[i], NULL);
            free(object[i]);
        }
    }
    gbench_set_items(state, gbench_iterations(state) * (int64_t)n);
}

void micro_add_kmem(void) {
    static const int64_t sizes[] = {16, 64, 256, 1024, 4096, 32768};
    static const int64_t batches[] = {1, 100, BATCH_MAX};
    micro_add_args(gbench_add("kmem_pair", kmem_run_pair), sizes, MICRO_COUNT(sizes));
    micro_add_args(gbench_add("kmem_malloc_pair", kmem_run_malloc), sizes, MICRO_COUNT(sizes));
    micro_add_args(gbench_add("kmem_constructed", kmem_run_constructed), batches, MICRO_COUNT(batches));
    micro_add_args(gbench_add("kmem_init_destroy", kmem_run_init_destroy), batches, MICRO_COUNT(batches));
}
