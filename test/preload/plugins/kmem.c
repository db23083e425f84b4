/* A plugin with an object cache of its own, whose constructor and destructor are in its code. */
#include "../../../lib/slabmalloc/kmem_cache.h"

static struct slabmalloc_cache *cache;
static int constructed, destructed;

static int construct(void *object, void *unused) {
    (void)unused;
    *(int *)object = 42;
    __atomic_fetch_add(&constructed, 1, __ATOMIC_RELAXED);
    return 0;
}

static void destruct(void *object, void *unused) {
    (void)unused;
    __atomic_fetch_add(&destructed, *(int *)object == 42, __ATOMIC_RELAXED);
}

static void reclaim(void *unused) {
    (void)unused;
}

__attribute__((constructor)) static void load(void) {
    static const struct slabmalloc_cache_args args = {.ctor = construct, .dtor = destruct, .reclaim = reclaim};
    cache = slabmalloc_cache_create("plugin", 100, 0, 0, &args);
}

void *plugin_alloc(void) {
    return slabmalloc_cache_alloc(cache);
}

void plugin_free(void *object) {
    slabmalloc_cache_free(cache, object);
}

/* What a plugin does before it is unloaded. 0: its functions will not be called any more. */
int plugin_end(void) {
    int status = slabmalloc_cache_destroy(cache);
    return status ? status : constructed - destructed;
}
