/*
 * kmem_support.h: a cache whose constructor and destructor keep books.
 *
 * A constructed object begins with STAMP and its own address; a raw one does not. The constructor must find it raw, the
 * destructor must find it constructed, whatever happened to its memory between, so each runs once for each life. An
 * object that is live is marked so, by an exchange: one that two callers got, or that was lost, shows.
 */
#ifndef TEST_UNIT_KMEM_SUPPORT_H
#define TEST_UNIT_KMEM_SUPPORT_H

#include "kmem_cache.h"
#include "owner.h"
#include "slabmalloc/kmem_cache.h"
#include "support.h"

#define STAMP UINT64_C(0x5354414d505f4f4b)

struct thing {
    uint64_t stamp;
    struct thing *self;
    _Atomic uint64_t live;
    uint64_t payload;
};

struct books {
    _Atomic size_t constructed, destructed, reclaims;
    _Atomic size_t fail_after; /* constructions until they fail; 0: they do not */
};

static inline int thing_construct(void *object, void *private_data) {
    struct books *books = private_data;
    struct thing *thing = object;
    MUST(thing->stamp != STAMP || thing->self != thing);
    if (atomic_load(&books->fail_after) && atomic_fetch_sub(&books->fail_after, 1) == 1) {
        atomic_store(&books->fail_after, 1);
        return 1;
    }
    thing->stamp = STAMP;
    thing->self = thing;
    atomic_store(&thing->live, 0);
    atomic_fetch_add(&books->constructed, 1);
    return 0;
}

static inline void thing_destruct(void *object, void *private_data) {
    struct books *books = private_data;
    struct thing *thing = object;
    MUST(thing->stamp == STAMP && thing->self == thing && !atomic_load(&thing->live));
    thing->stamp = 0;
    atomic_fetch_add(&books->destructed, 1);
}

static inline void thing_reclaim(void *private_data) {
    atomic_fetch_add(&((struct books *)private_data)->reclaims, 1);
}

static inline struct slabmalloc_cache *things_create(const char *name, size_t size, unsigned flags,
                                                     struct books *books) {
    struct slabmalloc_cache_args args = {thing_construct, thing_destruct, thing_reclaim, books};
    struct slabmalloc_cache *cache = slabmalloc_cache_create(name, size, 0, flags, &args);
    MUST(cache);
    return cache;
}

/* A live one; NULL when there is no memory. */
static inline struct thing *thing_mark(struct thing *thing) {
    if (thing) {
        MUST(thing->stamp == STAMP && thing->self == thing);
        MUST(!atomic_exchange(&thing->live, 1));
    }
    return thing;
}

static inline struct thing *thing_alloc(struct slabmalloc_cache *cache) {
    return thing_mark(slabmalloc_cache_alloc(cache));
}

static inline void thing_unmark(struct thing *thing) {
    MUST(thing->stamp == STAMP && thing->self == thing);
    MUST(atomic_exchange(&thing->live, 0));
}

static inline void thing_free(struct slabmalloc_cache *cache, struct thing *thing) {
    thing_unmark(thing);
    slabmalloc_cache_free(cache, thing);
}

static inline struct slabmalloc_cache_info info_of(const struct slabmalloc_cache *cache) {
    struct slabmalloc_cache_info info;
    slabmalloc_cache_info(cache, &info, sizeof info);
    return info;
}

/* Destroys it; every object it ever had was destructed as often as constructed. */
static inline void things_destroy(struct slabmalloc_cache *cache, const struct books *books) {
    MUST(!slabmalloc_cache_destroy(cache));
    MUST(atomic_load(&books->constructed) == atomic_load(&books->destructed));
    MUST_BE_SOUND();
}

#endif
