/*
 * kmem_class.h: the slab classes of object caches, made and ended at run time.
 *
 *      tag class     0 .. CLASS_COUNT - 1    malloc's size classes
 *                    KMEM_CLASS_FIRST ..     one for each set of caches that share slabs
 *
 * To owners, slabs, depots, fork and reclaim a cache is just one more class; what differs is where its layout comes
 * from, and that its objects may be constructed. A struct kmem_class is never freed: who looks at one that just ended
 * sees stale numbers, not foreign memory. A class is used for another cache only when no page's tag names it.
 *
 * A slab whose objects are all free, but some of them constructed, is not given back where it becomes empty: that would
 * be the constructor's work lost, and a destructor cannot run there, perhaps inside free or on the helper thread. It is
 * *parked* with its class, in no owner's list, until a call of the cache takes it up again, or finds that it was not
 * wanted for decay_ms, destructs the objects and gives it back. Without destructor anybody may do so.
 *
 * Lock: one, for the table, the free classes, the lists of caches and of parked slabs, pins.
 */
#ifndef SLABMALLOC_KMEM_CLASS_H
#define SLABMALLOC_KMEM_CLASS_H

#include "base.h"
#include "lock.h"
#include "pagemap.h"
#include "sizeclass.h"
#include "slabmalloc/kmem_cache.h"

#define KMEM_CLASS_FIRST 128u
#define KMEM_CLASSES (TAG_CLASSES - KMEM_CLASS_FIRST)

_Static_assert(KMEM_CLASS_FIRST >= CLASS_COUNT, "classes of caches come after malloc's");

struct slab;

struct kmem_class {
    /* Constants while a cache uses the class. */
    uint32_t slot_bytes;   /* from one object to the next */
    uint32_t object_bytes; /* what the program may write */
    uint32_t align;
    uint32_t lead; /* red zone before each object: the first one begins that far into the slab */
    uint16_t class;
    uint16_t first_npages; /* of the smallest slab */
    unsigned flags;
    struct slabmalloc_cache_args args;
    /* With the lock. */
    struct slabmalloc_cache *caches; /* that share the class; NULL: it is free, or ending */
    struct kmem_class *next_free;
    struct slab *parked;
    uint64_t parked_at; /* ms; when the oldest of them was parked */
    unsigned pins;      /* threads of other calls that are about to call the cache's functions */
    /* Anybody's. */
    _Atomic uint32_t moving; /* threads that took gathered objects and did not give them back yet */
    _Atomic uint32_t nslabs; /* whose tags name the class */
    _Atomic uint32_t colour; /* of the next slab */
    _Atomic bool has_parked; /* a look before the lock */
};

static inline bool kmem_is_class(unsigned class) {
    return class >= KMEM_CLASS_FIRST;
}

/* CLASS has or had slabs, or a cache. */
struct kmem_class *kmem_class_of(unsigned class);

/* Classes ever used: KMEM_CLASS_FIRST .. KMEM_CLASS_FIRST + kmem_class_count() - 1. */
unsigned kmem_class_count(void);

/* Before the first class is taken; false: no memory. */
bool kmem_make_tables(void);
size_t kmem_tables_bytes(void);

/* Where a bit says that an idle owner of NODE may have free objects of CLASS. */
_Atomic uint32_t *kmem_partial_word(unsigned node, unsigned class);

/* A class without caches, for objects as WANTED says. With the lock. *SPARE, a zeroed struct from meta_alloc, is taken
 * and set to NULL if it is needed. NULL: all are used. */
struct kmem_class *kmem_class_take(const struct kmem_class *wanted, struct kmem_class **spare);

/* No page's tag names it any more, and no cache uses it. With the lock. */
void kmem_class_return(struct kmem_class *kmem);

struct lock *kmem_lock(void);

/* SLAB, all of whose objects are free, waits with its class. */
void kmem_park(struct slab *slab);

/* A parked slab, the caller's now; NULL: none. */
struct slab *kmem_unpark(struct kmem_class *kmem);

/* A look without the lock. */
static inline bool kmem_has_parked(const struct kmem_class *kmem) {
    return atomic_load_explicit(&kmem->has_parked, memory_order_relaxed);
}

/* Slabs are parked that were not wanted for so long that they should go. */
bool kmem_parked_too_long(struct kmem_class *kmem);

/* Checks that go with each call: objects bypass the magazines. */
static inline bool kmem_is_checked(const struct kmem_class *kmem) {
    return kmem->flags & SLABMALLOC_CACHE_CHECKS;
}

/* Bytes from one object of CLASS to the next. */
static inline size_t class_bytes(unsigned class) {
    return likely(class < CLASS_COUNT) ? sizeclass_bytes(class) : kmem_class_of(class)->slot_bytes;
}

#endif
