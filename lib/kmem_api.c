/* kmem_api.c: the slabmalloc_cache_* functions. Arguments, errno, another try after others gave memory back. */
#include "kmem_api.h"

#include <errno.h>
#include <string.h>

#include "fault.h"
#include "heap.h"
#include "kmem_cache.h"

/* Each in as few cache lines as it can be. */
#define HOT __attribute__((aligned(CACHE_LINE)))
#define CALLER __builtin_return_address(0)

static void panic(const char *name, int error) {
    struct message m = {.length = 0};
    message_string(&m, "slabmalloc: fatal: no cache '");
    message_string(&m, name ? name : "");
    message_string(&m, error == EINVAL ? "': invalid argument" : error == ENOSPC ? "': too many" : "': no memory");
    message_fatal(&m);
}

API struct slabmalloc_cache *slabmalloc_cache_create(const char *name, size_t size, size_t align, unsigned flags,
                                                     const struct slabmalloc_cache_args *args) {
    struct slabmalloc_cache *cache;
    int error = kmem_create(&cache, name, size, align, flags, args);
    if (!error) {
        return cache;
    }
    if (flags & SLABMALLOC_CACHE_PANIC) {
        panic(name, error);
    }
    errno = error;
    return NULL;
}

API int slabmalloc_cache_destroy(struct slabmalloc_cache *cache) {
    int saved = errno;
    heap_enter(); /* a fork child first settles what its parent's other threads left in mid-step */
    int error = cache ? kmem_destroy(cache) : 0;
    errno = error ? error : saved;
    return error ? -1 : 0;
}

static __attribute__((noinline)) void *alloc_slow(struct slabmalloc_cache *cache, const void *caller) {
    void *p = kmem_alloc_slow(heap_enter(), cache->kmem, caller);
    if (unlikely(!p) && heap_relieve()) {
        p = kmem_alloc_slow(heap_enter(), cache->kmem, caller);
    }
    if (unlikely(!p)) {
        errno = ENOMEM;
    }
    return p;
}

HOT API void *slabmalloc_cache_alloc(struct slabmalloc_cache *cache) {
    void *p = kmem_pop(cache);
    return likely(p != NULL) ? p : alloc_slow(cache, CALLER);
}

API void *slabmalloc_cache_zalloc(struct slabmalloc_cache *cache) {
    if (cache->kmem->args.ctor) {
        errno = EINVAL;
        return NULL;
    }
    void *p = kmem_pop(cache);
    p = likely(p != NULL) ? p : alloc_slow(cache, CALLER);
    return p ? memset(p, 0, cache->size) : NULL;
}

/* A slab that became empty may be waiting for the destructor: this is a call of the cache, and no lock is held. */
static __attribute__((noinline)) void free_slow(struct slabmalloc_cache *cache, void *p, const void *caller) {
    if (!p) {
        return;
    }
    uint32_t tag = pagemap_tag(p);
    if (!(tag >> TAG_CLASS_BITS) || (tag & TAG_CLASS_MASK) != cache->class) {
        kmem_wrong_cache(cache, tag, p);
    }
    int saved = errno;
    kmem_free_slow(heap_enter(), tag, p, caller);
    if (kmem_parked_too_long(cache->kmem)) {
        kmem_destruct_parked(cache->kmem);
    }
    errno = saved;
}

HOT API void slabmalloc_cache_free(struct slabmalloc_cache *cache, void *object) {
    if (unlikely(!kmem_push(cache, object))) {
        free_slow(cache, object, CALLER);
    }
}

/* Up to N objects; 0: no memory. */
static size_t alloc_some(struct slabmalloc_cache *cache, size_t n, void **out, const void *caller) {
    void *p = kmem_pop(cache);
    if (p) {
        *out = p;
        return 1;
    }
    struct owner *owner = heap_enter();
    if (owner && !kmem_is_checked(cache->kmem)) {
        size_t got = kmem_alloc_some(owner, cache->kmem, out, n);
        if (got) {
            return got;
        }
    }
    *out = alloc_slow(cache, caller);
    return *out != NULL;
}

API size_t slabmalloc_cache_alloc_bulk(struct slabmalloc_cache *cache, size_t count, void **objects) {
    for (size_t have = 0; have < count;) {
        size_t got = alloc_some(cache, count - have, objects + have, CALLER);
        if (!got) {
            slabmalloc_cache_free_bulk(cache, have, objects);
            errno = ENOMEM;
            return 0;
        }
        have += got;
    }
    return count;
}

API void slabmalloc_cache_free_bulk(struct slabmalloc_cache *cache, size_t count, void *const *objects) {
    for (size_t i = 0; i < count; i++) {
        if (unlikely(!kmem_push(cache, objects[i]))) {
            free_slow(cache, objects[i], CALLER);
        }
    }
}

API size_t slabmalloc_cache_shrink(struct slabmalloc_cache *cache) {
    int saved = errno;
    heap_enter();
    size_t bytes = kmem_shrink(cache->kmem);
    errno = saved;
    return bytes;
}

API size_t slabmalloc_cache_size(const struct slabmalloc_cache *cache) {
    return cache->size;
}

API const char *slabmalloc_cache_name(const struct slabmalloc_cache *cache) {
    return cache->name;
}

API void slabmalloc_cache_info(const struct slabmalloc_cache *cache, struct slabmalloc_cache_info *info,
                               size_t info_bytes) {
    struct slabmalloc_cache_info all;
    heap_enter();
    kmem_info(cache, &all);
    memcpy(info, &all, min_size(info_bytes, sizeof all));
}
