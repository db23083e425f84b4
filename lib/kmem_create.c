/* kmem_create.c: caches come and go: their layout, merging, destruction, shrinking, what they tell about themselves. */
#include <errno.h>
#include <string.h>

#include "kmem_cache.h"
#include "kmem_debug.h"
#include "meta.h"
#include "reclaim.h"
#include "region.h"
#include "sys.h"

#define FLAGS_ALL                                                                                                      \
    (SLABMALLOC_CACHE_HWCACHE_ALIGN | SLABMALLOC_CACHE_NO_MERGE | SLABMALLOC_CACHE_PANIC | SLABMALLOC_CACHE_CHECKS)

#define ALIGN_MIN 8
#define ALIGN_USUAL 16

/* Orders of a first slab: as few pages as waste little, of at most 32 KiB unless one object needs more. */
#define ORDER_USUAL 3
#define ORDER_MOST 6

/* What destroy waits for others that are just giving its slabs back, or in its functions. */
#define WAIT_STEPS 1000

_Static_assert(SLABMALLOC_CACHE_OBJECT_MAX + 2 * PAGE_BYTES <= PAGE_BYTES << ORDER_MOST, "one object fits into a slab");

/* --- Layout --- */

static size_t alignment(size_t size, size_t align, unsigned flags) {
    size_t natural = min_size(max_size(size & -size, ALIGN_MIN), ALIGN_USUAL);
    size_t result = max_size(align ? align : natural, ALIGN_MIN);
    size_t line = CACHE_LINE;
    while (line / 2 >= size) {
        line /= 2;
    }
    return flags & SLABMALLOC_CACHE_HWCACHE_ALIGN ? max_size(result, line) : result;
}

/* The smallest order whose slab wastes at most 1/16, else 1/8, else 1/4; else just the pages of one object. */
static size_t choose_npages(size_t slot, size_t lead) {
    unsigned least = order_of(pages_of(slot + lead)), most = (unsigned)max_size(ORDER_USUAL, least + 1);
    for (size_t share = 16; share >= 4; share /= 2) {
        for (unsigned order = least; order <= min_size(most, ORDER_MOST); order++) {
            size_t bytes = PAGE_BYTES << order;
            if (bytes - min_size(bytes / slot, SLAB_OBJECTS_MAX) * slot <= bytes / share) {
                return (size_t)1 << order;
            }
        }
    }
    return pages_of(slot + lead);
}

static struct kmem_class layout(size_t size, size_t align, unsigned flags, const struct slabmalloc_cache_args *args) {
    struct kmem_class kmem = {.object_bytes = (uint32_t)size, .flags = flags};
    kmem.align = (uint32_t)alignment(size, align, flags);
    kmem.lead = (uint32_t)kmem_debug_lead(flags, kmem.align);
    size_t tail = flags & SLABMALLOC_CACHE_RED_ZONE ? KMEM_RED_ZONE_MIN : 0;
    kmem.slot_bytes = (uint32_t)round_up(kmem.lead + size + tail, kmem.align);
    kmem.first_npages = (uint16_t)choose_npages(kmem.slot_bytes, kmem.lead);
    if (!kmem_is_checked(&kmem)) {
        kmem.object_bytes = kmem.slot_bytes;
    }
    if (args) {
        kmem.args = *args;
    }
    return kmem;
}

static bool may_merge(const struct kmem_class *kmem) {
    const struct slabmalloc_cache_args *args = &kmem->args;
    return !(kmem->flags & (SLABMALLOC_CACHE_NO_MERGE | SLABMALLOC_CACHE_CHECKS)) && !args->ctor && !args->reclaim;
}

/* --- Creation --- */

/* With the lock: a class in use of the same layout; NULL: none. */
static struct kmem_class *find_alike(const struct kmem_class *wanted) {
    for (unsigned i = 0; may_merge(wanted) && i < kmem_class_count(); i++) {
        struct kmem_class *kmem = kmem_class_of(KMEM_CLASS_FIRST + i);
        if (kmem->caches && may_merge(kmem) && kmem->slot_bytes == wanted->slot_bytes && kmem->align == wanted->align) {
            return kmem;
        }
    }
    return NULL;
}

/* With the lock. */
static void join(struct slabmalloc_cache *cache, struct kmem_class *kmem) {
    unsigned index = kmem->class - KMEM_CLASS_FIRST;
    cache->class = kmem->class;
    cache->offset = (uint32_t)(offsetof(struct class_table, magazine) + index * sizeof(struct magazine));
    cache->align = kmem->align;
    cache->kmem = kmem;
    cache->next = kmem->caches;
    kmem->caches = cache;
}

static bool is_valid(const char *name, size_t size, size_t align, unsigned flags,
                     const struct slabmalloc_cache_args *args) {
    return name && *name && size && size <= SLABMALLOC_CACHE_OBJECT_MAX && (!align || is_pow2(align)) &&
           align <= PAGE_BYTES && !(flags & ~FLAGS_ALL) && !(args && args->dtor && !args->ctor);
}

int kmem_create(struct slabmalloc_cache **made, const char *name, size_t size, size_t align, unsigned flags,
                const struct slabmalloc_cache_args *args) {
    if (!is_valid(name, size, align, flags, args)) {
        return EINVAL;
    }
    struct slabmalloc_cache *cache = meta_alloc(sizeof *cache);
    struct kmem_class wanted = layout(size, align, flags, args), *spare = meta_alloc(sizeof *spare), *kmem = NULL;
    if (cache && spare && kmem_make_tables()) {
        cache->size = (uint32_t)size;
        cache->flags = flags;
        memcpy(cache->name, name, strnlen(name, sizeof cache->name - 1));
        lock_take(kmem_lock());
        kmem = find_alike(&wanted);
        kmem = kmem ? kmem : kmem_class_take(&wanted, &spare);
        if (kmem) {
            join(cache, kmem);
        }
        lock_drop(kmem_lock());
    }
    int error = kmem ? 0 : cache && spare && kmem_tables_bytes() ? ENOSPC : ENOMEM;
    if (spare) {
        meta_free(spare, sizeof *spare);
    }
    if (error && cache) {
        meta_free(cache, sizeof *cache);
    }
    *made = error ? NULL : cache;
    return error;
}

/* --- Pins: who calls a cache's functions without being in a call of the cache --- */

static __thread unsigned char pinning __attribute__((tls_model("initial-exec")));

static bool pin(struct kmem_class *kmem) {
    lock_take(kmem_lock());
    bool there = kmem->caches;
    kmem->pins += there;
    pinning += there;
    lock_drop(kmem_lock());
    return there;
}

static void unpin(struct kmem_class *kmem) {
    lock_take(kmem_lock());
    kmem->pins--;
    pinning--;
    lock_drop(kmem_lock());
}

static bool is_pinned(struct kmem_class *kmem) {
    lock_take(kmem_lock());
    bool pinned = kmem->pins;
    lock_drop(kmem_lock());
    return pinned;
}

/* --- Slabs of one class in all owners --- */

struct totals {
    size_t slabs, bytes, objects, out, cached, constructed;
};

static void add_slab(struct totals *totals, const struct slab *slab) {
    const uint64_t *bits = slab_constructed(slab);
    totals->slabs++;
    totals->bytes += (size_t)slab->npages << PAGE_SHIFT;
    totals->objects += slab->nobjects;
    totals->out += slab->nobjects - slab->nfree;
    for (size_t i = 0; bits && i < SLAB_OBJECTS_MAX / 64; i++) {
        totals->constructed += (size_t)__builtin_popcountll(bits[i]);
    }
}

static void add_parked(struct totals *totals, unsigned class) {
    lock_take(kmem_lock());
    for (const struct slab *slab = kmem_class_of(class)->parked; slab; slab = slab->next) {
        add_slab(totals, slab);
    }
    lock_drop(kmem_lock());
}

/* But for those on their way back to the zone. */
static struct totals count(unsigned class) {
    struct totals totals = {.slabs = 0};
    add_parked(&totals, class);
    for (uint32_t id = 1; id <= owner_count(); id++) {
        struct owner *owner = owner_by_id(id);
        owner_lock(owner);
        const struct class_entry *entry = owner_entry(owner, class);
        for (unsigned bin = 0; entry && bin < SLAB_BINS; bin++) {
            for (const struct slab *slab = entry->cache.list[bin]; slab; slab = slab->next) {
                add_slab(&totals, slab);
            }
        }
        totals.cached += entry ? magazine_count(owner, class) + kmem_remote_count(entry) : 0;
        owner_unlock(owner);
    }
    return totals;
}

static void drop_empties(struct owner *owner, unsigned class) {
    owner_lock(owner);
    while (owner_entry(owner, class) && owner_cache(owner, class)->list[SLAB_EMPTY]) {
        owner_drop_slab(owner, owner_cache(owner, class)->list[SLAB_EMPTY]);
    }
    owner_unlock(owner);
}

/* --- Destruction --- */

/* No thread is in a call of the cache: everything in magazines and under way goes home, empty slabs go. */
static void collect(struct kmem_class *kmem) {
    for (uint32_t id = 1; id <= owner_count(); id++) {
        struct owner *owner = owner_by_id(id);
        kmem_flush_class(owner, kmem->class, true);
        owner_lock(owner);
        bool entry = owner_entry(owner, kmem->class);
        owner_unlock(owner);
        if (entry) {
            magazine_flush_class(owner, kmem->class, true);
        }
    }
    for (uint32_t id = 1; id <= owner_count(); id++) {
        drop_empties(owner_by_id(id), kmem->class);
    }
    kmem_destruct_parked(kmem);
}

/* False: objects are live, or other threads did not leave the cache's functions. */
static bool end_class(struct kmem_class *kmem) {
    for (unsigned step = 0; step < WAIT_STEPS; step++) {
        collect(kmem);
        bool pinned = is_pinned(kmem) || atomic_load_explicit(&kmem->moving, memory_order_acquire);
        if (!pinned && count(kmem->class).out) {
            return false;
        }
        if (!pinned && !atomic_load_explicit(&kmem->nslabs, memory_order_acquire)) {
            return true;
        }
        sys_sleep(1); /* the helper holds a slab, or a thread that exits is giving one back */
    }
    return false;
}

/* With the lock. */
static void leave(struct slabmalloc_cache *cache) {
    struct slabmalloc_cache **at = &cache->kmem->caches;
    while (*at != cache) {
        at = &(*at)->next;
    }
    *at = cache->next;
}

int kmem_destroy(struct slabmalloc_cache *cache) {
    struct kmem_class *kmem = cache->kmem;
    if (kmem_is_checked(kmem)) {
        kmem_debug_verify(kmem);
    }
    lock_take(kmem_lock());
    leave(cache);
    bool last = !kmem->caches;
    lock_drop(kmem_lock());
    bool ended = !last || end_class(kmem);
    if (!ended && kmem_is_checked(kmem)) {
        kmem_debug_report_live(kmem, cache->name);
    }
    lock_take(kmem_lock());
    if (!ended) {
        join(cache, kmem);
    } else if (last) {
        kmem_class_return(kmem);
    }
    lock_drop(kmem_lock());
    if (ended) {
        meta_free(cache, sizeof *cache);
    }
    return ended ? 0 : EBUSY;
}

/* --- Giving memory back --- */

/* Objects of empty slabs and holes are destructed before; then these are pages like any others. */
static size_t reclaim_all(struct kmem_class *kmem) {
    size_t npages = 0;
    for (uint32_t id = 1; id <= owner_count(); id++) {
        kmem_destruct_holes(owner_by_id(id), kmem);
        drop_empties(owner_by_id(id), kmem->class);
    }
    kmem_destruct_parked(kmem);
    bool outer = region_purging;
    region_purging = true;
    for (uint32_t id = 1; id <= owner_count(); id++) {
        struct owner *owner = owner_by_id(id);
        owner_lock(owner);
        bool entry = owner_entry(owner, kmem->class);
        owner_unlock(owner);
        npages += entry ? reclaim_class(owner, kmem->class, 0) : 0;
    }
    region_purging = outer;
    return npages;
}

static void call_reclaim(const struct kmem_class *kmem) {
    if (kmem->args.reclaim) {
        kmem->args.reclaim(kmem->args.private_data);
    }
}

size_t kmem_shrink(struct kmem_class *kmem) {
    size_t before = count(kmem->class).bytes;
    call_reclaim(kmem);
    struct owner *self = owner_have(); /* not before: what the program did may have moved this thread to another */
    if (self) {
        kmem_flush_class(self, kmem->class, false);
        if (owner_entry(self, kmem->class)) {
            magazine_flush_class(self, kmem->class, false);
        }
    }
    size_t npages = reclaim_all(kmem), after = count(kmem->class).bytes;
    return (before > after ? before - after : 0) + (npages << PAGE_SHIFT);
}

void kmem_trim(void) {
    for (unsigned i = 0; i < kmem_class_count(); i++) {
        struct kmem_class *kmem = kmem_class_of(KMEM_CLASS_FIRST + i);
        if (pin(kmem)) {
            kmem_shrink(kmem);
            unpin(kmem);
        }
    }
}

size_t kmem_release_parked(bool all) {
    size_t npages = 0;
    for (unsigned i = 0; i < kmem_class_count(); i++) {
        struct kmem_class *kmem = kmem_class_of(KMEM_CLASS_FIRST + i);
        if (!kmem_has_parked(kmem) || !pin(kmem)) {
            continue;
        }
        if (!kmem->args.dtor && (all || kmem_parked_too_long(kmem))) {
            npages += kmem_destruct_parked(kmem);
        }
        unpin(kmem);
    }
    return npages;
}

/* One thread at a time: a reclaim function that runs out of memory itself is not called again. */
static _Atomic bool relieving;

bool kmem_relieve(void) {
    bool none = false;
    uint32_t n = kmem_class_count();
    if (!n ||
        !atomic_compare_exchange_strong_explicit(&relieving, &none, true, memory_order_acquire, memory_order_relaxed)) {
        return false;
    }
    size_t dropped = 0;
    for (unsigned class = KMEM_CLASS_FIRST; class < KMEM_CLASS_FIRST + n; class ++) {
        struct kmem_class *kmem = kmem_class_of(class);
        if (pin(kmem)) {
            call_reclaim(kmem);
            uint32_t before = atomic_load_explicit(&kmem->nslabs, memory_order_relaxed);
            for (uint32_t id = 1; id <= owner_count(); id++) {
                drop_empties(owner_by_id(id), class);
            }
            uint32_t after = atomic_load_explicit(&kmem->nslabs, memory_order_relaxed);
            dropped += before > after ? before - after : 0;
            unpin(kmem);
        }
    }
    atomic_store_explicit(&relieving, false, memory_order_release);
    return dropped + kmem_release_parked(true);
}

void kmem_fork_child(void) {
    if (pinning) {
        return;
    }
    for (unsigned i = 0; i < kmem_class_count(); i++) {
        struct kmem_class *kmem = kmem_class_of(KMEM_CLASS_FIRST + i);
        if (kmem->pins || atomic_load_explicit(&kmem->moving, memory_order_relaxed)) {
            kmem->pins = 0;
            atomic_store_explicit(&kmem->moving, 0, memory_order_relaxed);
        }
    }
    atomic_store_explicit(&relieving, false, memory_order_relaxed);
}

/* --- Reports --- */

const char *kmem_name(const struct kmem_class *kmem) {
    lock_take(kmem_lock());
    const char *name = kmem->caches ? kmem->caches->name : "(destroyed)";
    lock_drop(kmem_lock());
    return name;
}

/* With the lock. */
static void describe(const struct slabmalloc_cache *cache, struct slabmalloc_cache_info *info) {
    const struct kmem_class *kmem = cache->kmem;
    *info = (struct slabmalloc_cache_info){.object_bytes = cache->size,
                                           .slot_bytes = kmem->slot_bytes,
                                           .align = cache->align,
                                           .flags = cache->flags,
                                           .slab_pages = kmem->first_npages};
    memcpy(info->name, cache->name, sizeof info->name);
    info->slab_objects = min_size((info->slab_pages << PAGE_SHIFT) / kmem->slot_bytes, SLAB_OBJECTS_MAX);
    for (const struct slabmalloc_cache *sharer = kmem->caches; sharer; sharer = sharer->next) {
        info->sharers++;
    }
}

static void add_totals(const struct kmem_class *kmem, bool constructs, struct slabmalloc_cache_info *info) {
    struct totals totals = count(kmem->class);
    info->slab_bytes = totals.bytes;
    info->slabs = totals.slabs;
    info->objects = totals.objects;
    info->cached = min_size(totals.cached, totals.out);
    info->live = totals.out - info->cached;
    info->constructed = constructs ? totals.constructed : 0;
}

void kmem_info(const struct slabmalloc_cache *cache, struct slabmalloc_cache_info *info) {
    lock_take(kmem_lock());
    describe(cache, info);
    lock_drop(kmem_lock());
    add_totals(cache->kmem, cache->kmem->args.ctor, info);
}

/* The Nth cache of the class. */
static bool describe_nth(const struct kmem_class *kmem, unsigned n, struct slabmalloc_cache_info *info,
                         bool *constructs) {
    lock_take(kmem_lock());
    const struct slabmalloc_cache *cache = kmem->caches;
    for (; cache && n; n--) {
        cache = cache->next;
    }
    if (cache) {
        describe(cache, info);
        *constructs = kmem->args.ctor;
    }
    lock_drop(kmem_lock());
    return cache;
}

void kmem_each(void (*visit)(const struct slabmalloc_cache_info *info, const struct kmem_class *kmem, void *arg),
               void *arg) {
    for (unsigned i = 0; i < kmem_class_count(); i++) {
        const struct kmem_class *kmem = kmem_class_of(KMEM_CLASS_FIRST + i);
        struct slabmalloc_cache_info info;
        bool constructs;
        for (unsigned n = 0; describe_nth(kmem, n, &info, &constructs); n++) {
            add_totals(kmem, constructs, &info);
            visit(&info, kmem, arg);
        }
    }
}
