#include "kmem_cache.h"

#include <string.h>

#include "fault.h"
#include "kmem_debug.h"
#include "meta.h"
#include "region.h"
#include "remote.h"

#define BATCH 64

/* Slabs held at a time while objects in them are destructed. */
#define HELD 16

/* Objects of one class freed by an owner that are not its own. */
#define KMEM_REMOTE_OBJECTS 63

struct kmem_remote {
    size_t count;
    void *object[KMEM_REMOTE_OBJECTS];
};
_Static_assert(sizeof(struct kmem_remote) == 512, "half a KiB to gather in");

/* --- Giving back --- */

/* With OWNER's lock: those of N objects that are OWNER's go into their slabs; the others move to the front, and this
 * returns their number. */
static size_t give_own(struct owner *owner, void **objects, size_t n, bool raw) {
    size_t kept = 0;
    for (size_t i = 0; i < n;) {
        struct slab *slab = slab_of(objects[i]);
        if (slab_owner(slab) != owner) {
            objects[kept++] = objects[i++];
            continue;
        }
        if (raw) {
            slab_unconstruct(slab, objects[i]);
        }
        unsigned class = slab->class;
        i += slab_give(slab, objects + i, raw ? 1 : n - i);
        if (owner_file_slab(owner, slab)) {
            owner_announce(owner, class);
        }
    }
    return kept;
}

void kmem_give(void **objects, size_t n, bool raw) {
    while (n) {
        struct owner *owner = slab_owner(slab_of(objects[0]));
        owner_lock(owner);
        n = give_own(owner, objects, n, raw);
        owner_unlock(owner);
    }
}

void kmem_flush_class(struct owner *owner, unsigned class, bool release) {
    struct kmem_remote full = {.count = 0};
    owner_lock(owner);
    struct class_entry *entry = owner_entry(owner, class);
    struct kmem_remote *remote = entry ? entry->remote : NULL;
    if (remote) {
        full = *remote;
        counter_sub(&remote->count, full.count);
        entry->remote = release ? NULL : remote;
        atomic_fetch_add_explicit(&kmem_class_of(class)->moving, 1, memory_order_relaxed);
    }
    owner_unlock(owner);
    kmem_give(full.object, full.count, false);
    if (remote) {
        atomic_fetch_sub_explicit(&kmem_class_of(class)->moving, 1, memory_order_release);
    }
    if (remote && release) {
        meta_free(remote, sizeof *remote);
    }
}

void kmem_flush_remote(struct owner *owner) {
    for (unsigned class = owner_next_class(owner, CLASS_COUNT - 1); class < TAG_CLASSES;
         class = owner_next_class(owner, class)) {
        kmem_flush_class(owner, class, true);
    }
}

/* --- Allocation --- */

/* Of N objects those with a bit in RAW are constructed. Those that are when this returns fill the *end* of OBJECTS: how
 * many. After a failure no further one is tried. */
static size_t construct(struct kmem_class *kmem, void **objects, size_t n, uint64_t raw) {
    void *refused[BATCH];
    size_t nrefused = 0, kept = 0;
    for (size_t i = n; i-- > 0;) {
        void *p = objects[i];
        if (raw >> i % 64 & 1 && (nrefused || kmem->args.ctor(p, kmem->args.private_data))) {
            refused[nrefused++] = p;
        } else {
            objects[n - ++kept] = p;
        }
    }
    kmem_give(refused, nrefused, true);
    return kept;
}

/* P was taken from its slab for the program; RAW: it is not constructed yet. NULL: the constructor failed. */
static void *hand_out(struct kmem_class *kmem, void *p, bool raw, const void *caller) {
    if (raw && kmem_is_checked(kmem)) {
        kmem_debug_prepare(kmem, p);
    }
    if (raw && kmem->args.ctor && !construct(kmem, &p, 1, 1)) {
        return NULL;
    }
    if (kmem_is_checked(kmem)) {
        kmem_debug_alloc(kmem, p, caller);
    }
    return p;
}

/* What is left of a batch goes into the magazine. The constructor may have allocated, and that may have moved this
 * thread to another owner. */
static void stock(const struct owner *owner, unsigned class, void **objects, size_t n) {
    struct owner *self = owner_have();
    size_t put = 0;
    while (self == owner && put < n && magazine_put(self, class, objects[put])) {
        put++;
    }
    kmem_give(objects + put, n - put, false);
}

static void *refill(struct owner *owner, struct kmem_class *kmem) {
    if (!kmem->args.ctor) {
        return magazine_refill(owner, kmem->class);
    }
    void *object[BATCH];
    uint64_t raw;
    owner_cache(owner, kmem->class)->missed = true;
    size_t n = max_size(magazine_next_batch(owner, kmem->class), 1);
    size_t got = magazine_take(owner, kmem->class, object, n, &raw);
    if (!got) {
        return NULL;
    }
    size_t ready = construct(kmem, object + n - got, got, raw >> (n - got));
    if (!ready) {
        return NULL;
    }
    stock(owner, kmem->class, object + n - ready, ready - 1);
    return object[n - 1];
}

/* OWNER is the thread's, or borrowed for a thread that has none and cannot have one. */
static void *take_one(struct owner *owner, struct kmem_class *kmem, uint64_t *raw) {
    void *p;
    return owner_make_entry(owner, kmem->class) && magazine_take(owner, kmem->class, &p, 1, raw) ? p : NULL;
}

static void *take_borrowed(struct kmem_class *kmem, uint64_t *raw) {
    struct owner *owner = owner_borrow();
    void *p = owner ? take_one(owner, kmem, raw) : NULL;
    if (owner) {
        owner_return(owner);
    }
    return p;
}

void *kmem_alloc_slow(struct owner *owner, struct kmem_class *kmem, const void *caller) {
    if (likely(owner && !kmem_is_checked(kmem))) {
        return owner_make_entry(owner, kmem->class) ? refill(owner, kmem) : NULL;
    }
    uint64_t raw;
    void *p = owner ? take_one(owner, kmem, &raw) : take_borrowed(kmem, &raw);
    return p ? hand_out(kmem, p, raw, caller) : NULL;
}

size_t kmem_alloc_some(struct owner *owner, struct kmem_class *kmem, void **out, size_t n) {
    void *object[BATCH];
    uint64_t raw;
    n = min_size(n, BATCH);
    size_t got = owner_make_entry(owner, kmem->class) ? magazine_take(owner, kmem->class, object, n, &raw) : 0;
    if (got && kmem->args.ctor) {
        got = construct(kmem, object + n - got, got, raw >> (n - got));
    }
    memcpy(out, object + n - got, got * sizeof *out);
    return got;
}

/* --- Frees --- */

void kmem_wrong_cache(const struct slabmalloc_cache *cache, uint32_t tag, void *p) {
    bool object = tag >> TAG_CLASS_BITS && kmem_is_class(tag & TAG_CLASS_MASK);
    kmem_debug_wrong_cache(p, cache->name, object ? kmem_class_of(tag & TAG_CLASS_MASK) : NULL);
}

size_t kmem_remote_count(const struct class_entry *entry) {
    return entry->remote ? counter_read(&entry->remote->count) : 0;
}

static void make_remote(struct owner *owner, struct class_entry *entry) {
    struct kmem_remote *remote = meta_alloc(sizeof *remote);
    owner_lock(owner);
    entry->remote = remote;
    owner_unlock(owner);
}

/* One of another owner's objects is gathered until there are enough for the locks to be worth it. */
static void free_remote(struct owner *owner, const struct kmem_class *kmem, void *p) {
    struct class_entry *entry = owner ? owner_make_entry(owner, kmem->class) : NULL;
    if (entry && !entry->remote) {
        make_remote(owner, entry);
    }
    struct kmem_remote *remote = entry ? entry->remote : NULL;
    if (!remote) {
        kmem_give(&p, 1, false);
        return;
    }
    if (unlikely(remote->count && remote->object[remote->count - 1] == p)) {
        fault_pointer("double free", p);
    }
    remote->object[remote->count] = p;
    counter_add(&remote->count, 1);
    if (remote->count == KMEM_REMOTE_OBJECTS || remote->count * kmem->slot_bytes >= REMOTE_BYTES) {
        kmem_flush_class(owner, kmem->class, false);
    }
}

void kmem_free_slow(struct owner *owner, uint32_t tag, void *p, const void *caller) {
    unsigned class = tag & TAG_CLASS_MASK;
    struct kmem_class *kmem = kmem_class_of(class);
    const struct slab *slab = slab_of(p);
    long index = slab_index(slab, p);
    if (unlikely(kmem_is_checked(kmem))) {
        kmem_debug_free(kmem, p, caller);
        kmem_give(&p, 1, false);
    } else if (unlikely(index < 0)) {
        fault_pointer("free of a pointer inside an object", p);
    } else if (unlikely(slab_is_free(slab, (size_t)index))) {
        fault_pointer("double free", p);
    } else if (owner && (tag ^ owner_tag(owner)) == class) {
        magazine_push_slow(owner, class, p);
    } else {
        free_remote(owner, kmem, p);
    }
}

/* --- Destruction --- */

static void destruct(const struct kmem_class *kmem, const struct slab *slab, const uint64_t *objects) {
    for (size_t i = 0; i < slab->nobjects; i++) {
        if (objects[i / 64] >> i % 64 & 1) {
            kmem->args.dtor((void *)(slab->base + i * slab->bytes), kmem->args.private_data);
        }
    }
}

size_t kmem_destruct_parked(struct kmem_class *kmem) {
    struct slab *slab;
    size_t npages = 0;
    while ((slab = kmem_unpark(kmem))) {
        uint64_t objects[SLAB_OBJECTS_MAX / 64];
        if (slab_take_constructed(slab, ~(uint64_t)0, objects) && kmem->args.dtor) {
            destruct(kmem, slab, objects);
        }
        npages += slab->npages;
        slab_free(slab);
    }
    return npages;
}

struct condemned {
    struct slab *slab;
    uint64_t objects[SLAB_OBJECTS_MAX / 64];
};

/* With the lock: looks at the *LEFT first slabs of a list, holds those with objects to destruct, up to HELD. */
static size_t condemn(struct owner *owner, unsigned class, enum slab_bin bin, size_t *left, struct condemned *batch) {
    size_t n = 0;
    for (; n < HELD && *left; --*left) {
        struct slab *slab = owner_cache(owner, class)->list[bin];
        if (!slab) {
            *left = 0;
            break;
        }
        if (slab_take_constructed(slab, slab_free_pages(slab), batch[n].objects)) {
            batch[n++].slab = slab;
            owner_hold_slab(owner, slab);
        } else {
            owner_rotate(owner, class, bin);
        }
    }
    return n;
}

static void destruct_holes_of(struct owner *owner, const struct kmem_class *kmem, enum slab_bin bin) {
    struct condemned batch[HELD];
    size_t left = SIZE_MAX, n;
    do {
        owner_lock(owner);
        left = min_size(left, owner_entry(owner, kmem->class) ? owner_cache(owner, kmem->class)->count[bin] : 0);
        n = condemn(owner, kmem->class, bin, &left, batch);
        owner_unlock(owner);
        for (size_t i = 0; i < n; i++) {
            destruct(kmem, batch[i].slab, batch[i].objects);
        }
        owner_lock(owner);
        for (size_t i = 0; i < n; i++) {
            owner_unhold_slab(owner, batch[i].slab);
        }
        owner_unlock(owner);
        owner_announce(owner, kmem->class);
    } while (left);
}

void kmem_destruct_holes(struct owner *owner, struct kmem_class *kmem) {
    if (!kmem->args.dtor) {
        return;
    }
    /* As while purging: should a signal handler, or the destructor, fork, the child's slabs stay held until it goes on.
     */
    bool outer = region_purging;
    region_purging = true;
    destruct_holes_of(owner, kmem, SLAB_BUSY);
    destruct_holes_of(owner, kmem, SLAB_SPARSE);
    region_purging = outer;
}
