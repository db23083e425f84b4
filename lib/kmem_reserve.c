#include "kmem_reserve.h"

#include <errno.h>
#include <string.h>

#include "kmem_api.h"
#include "kmem_class.h"
#include "meta.h"
#include "sys.h"

/* --- Sheaves --- */

struct slabmalloc_sheaf {
    struct slabmalloc_cache *cache;
    size_t count, capacity;
    void **object; /* the last one goes first */
};

static void **slots_alloc(size_t n) {
    void **slots = n <= KMEM_RESERVE_MAX ? meta_alloc_dirty(max_size(n, 1) * sizeof *slots) : NULL;
    if (!slots) {
        errno = ENOMEM;
    }
    return slots;
}

static void slots_free(void **slots, size_t n) {
    meta_free(slots, max_size(n, 1) * sizeof *slots);
}

API struct slabmalloc_sheaf *slabmalloc_sheaf_prefill(struct slabmalloc_cache *cache, size_t count) {
    struct slabmalloc_sheaf *sheaf = meta_alloc(sizeof *sheaf);
    void **slots = slots_alloc(count);
    if (sheaf && slots && slabmalloc_cache_alloc_bulk(cache, count, slots) == count) {
        *sheaf = (struct slabmalloc_sheaf){.cache = cache, .count = count, .capacity = count, .object = slots};
        return sheaf;
    }
    if (slots) {
        slots_free(slots, count);
    }
    if (sheaf) {
        meta_free(sheaf, sizeof *sheaf);
    }
    errno = ENOMEM;
    return NULL;
}

API void *slabmalloc_sheaf_alloc(struct slabmalloc_sheaf *sheaf) {
    if (!sheaf->count) {
        errno = ENOMEM;
        return NULL;
    }
    return sheaf->object[--sheaf->count];
}

API size_t slabmalloc_sheaf_size(const struct slabmalloc_sheaf *sheaf) {
    return sheaf->count;
}

/* Room for COUNT, the objects kept. */
static bool sheaf_grow(struct slabmalloc_sheaf *sheaf, size_t count) {
    void **slots = slots_alloc(count);
    if (!slots) {
        return false;
    }
    memcpy(slots, sheaf->object, sheaf->count * sizeof *slots);
    slots_free(sheaf->object, sheaf->capacity);
    sheaf->object = slots;
    sheaf->capacity = count;
    return true;
}

API int slabmalloc_sheaf_refill(struct slabmalloc_sheaf *sheaf, size_t count) {
    if (count > sheaf->capacity && !sheaf_grow(sheaf, count)) {
        return -1;
    }
    size_t missing = count > sheaf->count ? count - sheaf->count : 0;
    if (missing && !slabmalloc_cache_alloc_bulk(sheaf->cache, missing, sheaf->object + sheaf->count)) {
        return -1;
    }
    sheaf->count += missing;
    return 0;
}

API void slabmalloc_sheaf_return(struct slabmalloc_sheaf *sheaf) {
    if (sheaf) {
        slabmalloc_cache_free_bulk(sheaf->cache, sheaf->count, sheaf->object);
        slots_free(sheaf->object, sheaf->capacity);
        meta_free(sheaf, sizeof *sheaf);
    }
}

/* --- Mempools --- */

struct slabmalloc_mempool {
    struct slabmalloc_cache *cache;
    size_t min;
    size_t count;           /* with the lock; who frees looks without */
    _Atomic uint32_t frees; /* to the reserve while somebody waited: what they wait on */
    _Atomic uint32_t waiters;
    void **object;
};

API struct slabmalloc_mempool *slabmalloc_mempool_create(size_t min, struct slabmalloc_cache *cache) {
    if (!min) {
        errno = EINVAL;
        return NULL;
    }
    struct slabmalloc_mempool *pool = meta_alloc(sizeof *pool);
    void **slots = slots_alloc(min);
    if (pool && slots && slabmalloc_cache_alloc_bulk(cache, min, slots)) {
        pool->cache = cache;
        pool->min = pool->count = min;
        pool->object = slots;
        return pool;
    }
    if (slots) {
        slots_free(slots, min);
    }
    if (pool) {
        meta_free(pool, sizeof *pool);
    }
    errno = ENOMEM;
    return NULL;
}

static void *take_reserved(struct slabmalloc_mempool *pool) {
    lock_take(kmem_lock());
    void *p = NULL;
    if (pool->count) {
        counter_sub(&pool->count, 1);
        p = pool->object[pool->count];
    }
    lock_drop(kmem_lock());
    return p;
}

API void *slabmalloc_mempool_alloc(struct slabmalloc_mempool *pool) {
    int saved = errno;
    void *p = slabmalloc_cache_alloc(pool->cache);
    if (!p && (p = take_reserved(pool))) {
        errno = saved;
    }
    return p;
}

/* Woken by whoever frees after the look at FREES. One who freed before, and found nobody waiting, left the reserve's
 * lock before this thread took it in vain. */
static void *wait_for_one(struct slabmalloc_mempool *pool) {
    void *p;
    atomic_fetch_add_explicit(&pool->waiters, 1, memory_order_relaxed);
    for (;;) {
        uint32_t seen = atomic_load_explicit(&pool->frees, memory_order_acquire);
        p = slabmalloc_mempool_alloc(pool);
        if (p) {
            break;
        }
        sys_futex_wait(&pool->frees, seen);
    }
    atomic_fetch_sub_explicit(&pool->waiters, 1, memory_order_relaxed);
    return p;
}

API void *slabmalloc_mempool_alloc_wait(struct slabmalloc_mempool *pool) {
    int saved = errno;
    void *p = wait_for_one(pool);
    errno = saved;
    return p;
}

static bool somebody_waits(const struct slabmalloc_mempool *pool) {
    return atomic_load_explicit(&pool->waiters, memory_order_relaxed);
}

static void wake_one(struct slabmalloc_mempool *pool) {
    atomic_fetch_add_explicit(&pool->frees, 1, memory_order_release);
    sys_futex_wake(&pool->frees);
}

/* True: P is in the reserve now. */
static bool reserve(struct slabmalloc_mempool *pool, void *p) {
    lock_take(kmem_lock());
    bool room = pool->count < pool->min;
    if (room) {
        pool->object[pool->count] = p;
        counter_add(&pool->count, 1);
    }
    lock_drop(kmem_lock());
    return room;
}

API void slabmalloc_mempool_free(struct slabmalloc_mempool *pool, void *object) {
    if (!object) {
        return;
    }
    /* A pool that looks full is full, or nobody is waiting: who waits found it empty under the lock. */
    bool full = !somebody_waits(pool) && counter_read(&pool->count) == pool->min;
    if (full || !reserve(pool, object)) {
        slabmalloc_cache_free(pool->cache, object);
    }
    if (unlikely(somebody_waits(pool))) {
        wake_one(pool);
    }
}

API void slabmalloc_mempool_destroy(struct slabmalloc_mempool *pool) {
    if (pool) {
        slabmalloc_cache_free_bulk(pool->cache, pool->count, pool->object);
        slots_free(pool->object, pool->min);
        meta_free(pool, sizeof *pool);
    }
}
