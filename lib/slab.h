/*
 * slab.h: a run of pages cut into equal objects of one class.
 *
 *   start     base                                                    start + npages
 *   | skew    | object 0 | object 1 | ...                     | tail waste |
 *
 *   free bitmap   bit i set: object i is in the slab. Clear: it is *out* (live, in a magazine, in flight).
 *   states        full: no bit set; partial; empty: all set.
 *   constructed   in slabs of a cache with a constructor or checks, bit i: object i is constructed (has its red zones
 *                 and poison), in the slab or out of it.
 *
 * The skew is less than a page: 0 in malloc's classes; in those of object caches the *colour* (the tail waste, spread
 * over slabs, so that objects of the same index do not all compete for the same lines of the processor's caches), and
 * the red zone before the first object.
 *
 * Nothing is ever written into an object here. Objects are taken from the lowest index up, so a fresh slab is
 * carved in address order and its pages appear as they are needed. `touched` remembers which of them may be resident;
 * the others are still fresh when the slab is given back. A *hole* is a touched page on which no object is out: its
 * memory can go back to the kernel while the slab lives on (reclaim.h).
 *
 * Lock: all fields but the constants of the first group belong to the owner's lock. The constants are set
 * before the slab's tags are published and stay until its last page is given back; `owner` changes only
 * under the old owner's lock, and only while that owner is idle. Two things are read without the lock, as guesses:
 * `owner`, by who looks for the lock to take, and the free bit of an object that is being freed.
 */
#ifndef SLABMALLOC_SLAB_H
#define SLABMALLOC_SLAB_H

#include "base.h"
#include "kmem_class.h"
#include "pagemap.h"
#include "sizeclass.h"

#define SLAB_OBJECTS_MAX 512

struct owner;

enum slab_bin {
    SLAB_FULL,
    SLAB_BUSY,   /* partial, at most half free: refill takes these first */
    SLAB_SPARSE, /* partial, more than half free */
    SLAB_EMPTY,
    SLAB_HELD, /* its holes are being given back: nothing is taken from it meanwhile */
    SLAB_BINS,
    SLAB_UNFILED = SLAB_BINS, /* in no list: new, or on its way between owners */
};

struct slab {
    /* Constants. */
    uintptr_t base;      /* address of object 0 */
    uint64_t reciprocal; /* ceil(2^40 / bytes): offset * reciprocal >> 40 == offset / bytes */
    struct owner *owner;
    uint32_t bytes; /* object size */
    uint16_t nobjects;
    uint16_t class;
    /* The owner's. */
    struct slab *next, *prev; /* in the owner's list of this bin */
    uint64_t touched;         /* bit i set: page i may be resident */
    uint16_t nfree;
    uint8_t npages; /* constant */
    uint8_t bin;
    uint8_t idle; /* times reclaim looked since an object was taken */
    /* Second cache line. */
    uint64_t free[SLAB_OBJECTS_MAX / 64] __attribute__((aligned(CACHE_LINE)));
};
_Static_assert(sizeof(struct slab) == 2 * (size_t)CACHE_LINE, "a slab descriptor is two cache lines");

/* Who allocated and freed an object: return addresses, 0: nobody yet. */
struct kmem_track {
    uintptr_t alloc_by, free_by; /* return addresses; 0: never */
    int32_t alloc_thread, free_thread;
};

/* Of a class with a constructor or checks. */
struct slab_more {
    struct slab slab;
    uint64_t constructed[SLAB_OBJECTS_MAX / 64]; /* with the owner's lock */
    struct kmem_track *track;                    /* STORE_USER: an array of as many as objects; NULL: no memory */
};

static inline uintptr_t slab_pfn(const struct slab *slab) {
    return slab->base >> PAGE_SHIFT;
}

static inline size_t slab_skew(const struct slab *slab) {
    return slab->base & (PAGE_BYTES - 1);
}

/* Pages of the GENERATION'th slab size of a class: the first slab is small, later ones are about twice the one before.
 */
size_t slab_npages(unsigned class, unsigned generation);

/* A new slab of CLASS for OWNER from NODE's zonelist, all objects in it. NULL: no memory. */
struct slab *slab_create(struct owner *owner, uint32_t tag, unsigned node, unsigned class, unsigned generation);

/* Gives an empty slab's pages and descriptor back, or parks it if objects in it are constructed. */

void slab_destroy(struct slab *slab);

/* The same when none is, or none matters. */

void slab_free(struct slab *slab);

/* The bits of a slab of a class with constructor or checks, else NULL. */
uint64_t *slab_constructed(const struct slab *slab);

/* The N objects at OBJECTS, just taken, count as constructed from now on. Bit i: OBJECTS[i] did not; the caller, who
 * dropped the lock, constructs it. N <= 64 unless the class has none of this. With the lock. */
uint64_t slab_construct(struct slab *slab, void *const *objects, size_t n);

/* OBJECT, which is out, is raw. With the lock. */
void slab_unconstruct(struct slab *slab, const void *object);

/* The constructed objects that lie on PAGES, on which none is out, count as raw from now on: OUT has their bits.
 * Returns how many. With the lock, or of a slab in no list. */
size_t slab_take_constructed(struct slab *slab, uint64_t pages, uint64_t out[SLAB_OBJECTS_MAX / 64]);

/* Takes up to N free objects, lowest first, and stores them so that OUT[N - 1] is the lowest. Returns how many;
 * they fill the *end* of OUT. */
size_t slab_take(struct slab *slab, void **out, size_t n);

/* The slab P's page belongs to; the tag said that it is one. */
static inline struct slab *slab_of(const void *p) {
    const struct page *page = pagemap_page(pointer_pfn(p));
    ASSERT(page->state == PAGE_SLAB);
    return (struct slab *)(uintptr_t)page->link;
}

/* Exact with the owner's lock. Acquire: the lock of a thief that has not added the slab yet orders nothing after what
 * was done to the slab under the lock of the owner before. */
static inline struct owner *slab_owner(const struct slab *slab) {
    return __atomic_load_n(&slab->owner, __ATOMIC_ACQUIRE);
}

/* The index of the object that starts at P, or -1 when none does. */
static inline long slab_index(const struct slab *slab, const void *p) {
    uint64_t offset = (uintptr_t)p - slab->base;
    uint64_t index = offset * slab->reciprocal >> 40;
    return index < slab->nobjects && index * slab->bytes == offset ? (long)index : -1;
}

/* Whether an object of CLASS may start at P, from the page map alone: the slab's descriptor is its owner's to write,
 * and reading it would cost a freeing thread a cache miss. Only the waste behind the last object is taken for objects.
 */
static inline bool slab_may_start(const void *p, unsigned class) {
    uintptr_t pfn = pointer_pfn(p), first = pfn - pagemap_page(pfn)->extra;
    return sizeclass_divides(class, (uint32_t)((uintptr_t)p - (first << PAGE_SHIFT)));
}

static inline bool slab_is_free(const struct slab *slab, size_t index) {
    return __atomic_load_n(&slab->free[index / 64], __ATOMIC_RELAXED) >> (index % 64) & 1;
}

/* Puts objects back, up to the first that does not lie in the slab; returns how many. Aborts, naming it, at one that is
 * not the start of an object or is in the slab already. */
size_t slab_give(struct slab *slab, void *const *objects, size_t n);

/* Its holes, bit i for page i; without those on which objects are to be destructed before they can be given back. */
uint64_t slab_holes(const struct slab *slab);

/* The same with them: touched pages on which no object is out. */
uint64_t slab_free_pages(const struct slab *slab);

/* Hands the slab to another owner: new tags on all its pages. Under the old owner's lock. */
void slab_retag(struct slab *slab, struct owner *owner, uint32_t tag);

/* Constants, counts, bitmap and pages agree? Names the first broken rule, else NULL. With the owner's lock. */
const char *slab_check(const struct slab *slab);

#endif
