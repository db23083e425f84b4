/*
 * kmem_cache.h: object caches: all objects of one type, in slabs of their own, kept constructed while they are free.
 *
 *      create --> alloc <--> free --> destroy        each thread allocates and frees through a magazine of its own
 *
 * An object of a cache with a constructor is always in one of two states. *Raw*: its memory is there, the constructor
 * has not run. *Constructed*: from the constructor's return until the destructor is called. alloc returns constructed
 * objects, and the program gives them back in the constructed state (a list empty again, a lock free again); they keep
 * it while they are free, in whatever thread's magazine or slab. The constructor runs once for each object that leaves
 * its slab raw, the destructor once for each constructed object whose memory leaves the cache.
 *
 * All functions are thread safe unless they say otherwise. None may be called from a signal handler.
 *
 * slabmalloc_free, free and realloc take objects of caches too, whatever the cache: they do what slabmalloc_cache_free
 * does (realloc moves to a block of malloc's unless the object is big enough). An object that is not live, not the
 * start of one, or of another cache than the one named is undefined behaviour: the process aborts with one line on
 * stderr wherever that is noticed; the wrong cache always is, unless the two are merged.
 */
#ifndef SLABMALLOC_KMEM_CACHE_H
#define SLABMALLOC_KMEM_CACHE_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A cache, by the name it was created with. */
struct slabmalloc_cache;

/* Objects may have up to this many bytes, and be aligned to up to a page. */
#define SLABMALLOC_CACHE_OBJECT_MAX ((size_t)128 << 10)

/* Of a name, with its end; longer ones are cut. */
#define SLABMALLOC_CACHE_NAME_BYTES 64

/* Objects begin at cache lines; small ones at 1/2, 1/4, ... of one, so that none crosses a line needlessly. */
#define SLABMALLOC_CACHE_HWCACHE_ALIGN 0x01u

/* Never shares slabs with another cache. Without it, caches of the same object and slab layout share them, if they have
 * no constructor, destructor or reclaim function and no checks. */
#define SLABMALLOC_CACHE_NO_MERGE 0x02u

/* Where create would return NULL, the process aborts with one line on stderr. */
#define SLABMALLOC_CACHE_PANIC 0x04u

/*
 * Checks. A cache with any of these has no magazines: each call goes to the slab, under a lock. What they find wrong
 * aborts the process with one line on stderr that names the cache, the object, and with STORE_USER who allocated it.
 *
 * RED_ZONE: bytes before (unless aligned to more than 1 KiB) and after each object that nobody may write; looked at
 * when it is freed and allocated, and by destroy. POISON: a free object is filled with 0x6b and its last byte 0xa5,
 * which must still be so when it is allocated; an allocated one with 0x5a. Not in caches with a constructor, whose free
 * objects are constructed. STORE_USER: remembers which call, and thread, allocated and freed each object.
 * CONSISTENCY_CHECKS: each free checks the object's start, state and cache, and the slab's own records.
 */
#define SLABMALLOC_CACHE_RED_ZONE 0x10u
#define SLABMALLOC_CACHE_POISON 0x20u
#define SLABMALLOC_CACHE_STORE_USER 0x40u
#define SLABMALLOC_CACHE_CONSISTENCY_CHECKS 0x80u
#define SLABMALLOC_CACHE_CHECKS                                                                                        \
    (SLABMALLOC_CACHE_RED_ZONE | SLABMALLOC_CACHE_POISON | SLABMALLOC_CACHE_STORE_USER |                               \
     SLABMALLOC_CACHE_CONSISTENCY_CHECKS)

/* What a cache may be given beyond its layout; each may be NULL. Copied by create. */
struct slabmalloc_cache_args {
    /*
     * Makes a raw object constructed; 0: done. Anything else: it stays raw, the allocation fails with ENOMEM. Called in
     * alloc, alloc_bulk and prefill, for a few objects at a time, with no lock held: it may allocate and free anywhere,
     * in other caches and in malloc (in its own it would call itself). Must not leave by longjmp or an exception.
     */
    int (*ctor)(void *object, void *private_data);

    /*
     * Makes a constructed object raw, before its memory leaves the cache. Called in free, shrink and destroy of
     * this cache and in slabmalloc_trim and malloc_trim, with no lock held; never in malloc and free, and never by a
     * thread that is not the program's. May allocate and free. Needs a constructor.
     */
    void (*dtor)(void *object, void *private_data);

    /*
     * Asks the program to free objects it keeps in the cache and can do without. Called by shrink, by slabmalloc_trim,
     * and when the kernel refuses memory to any allocation of the process, by the thread that asked, with no lock of
     * the library held: it must not wait for a lock that the program holds while it allocates.
     */
    void (*reclaim)(void *private_data);

    /* Passed to the three. */
    void *private_data;
};

/*
 * A cache of objects of SIZE bytes (1..SLABMALLOC_CACHE_OBJECT_MAX), aligned to ALIGN, a power of two up to a page; 0:
 * the largest power of two that divides SIZE, 8 at least and 16 at most, which is enough for a type of sizeof SIZE.
 * NAME is copied and need not be unique. FLAGS: SLABMALLOC_CACHE_*. ARGS NULL: none of them.
 *
 * The caller owns the cache until slabmalloc_cache_destroy. A plugin destroys its caches before it is unloaded: their
 * functions are called until then.
 *
 * NULL with errno EINVAL: no name, size, alignment or flags out of range, a destructor without constructor; ENOMEM: no
 * memory; ENOSPC: 896 caches are there. (Linux mm/slab: kmem_cache_create)
 */
struct slabmalloc_cache *slabmalloc_cache_create(const char *name, size_t size, size_t align, unsigned flags,
                                                 const struct slabmalloc_cache_args *args);

/*
 * Ends CACHE: destructs its objects, gives its memory back. No other thread may be using the cache, nor use it
 * afterwards. 0: done, also for NULL. -1 with errno EBUSY: objects are live; the cache is as before, and with
 * STORE_USER or another check each of them is named on stderr, with where it was allocated. (In a child of fork, what
 * the parent's other threads had in their magazines counts as live.) A merged cache goes without looking while others
 * share its slabs. (Linux: kmem_cache_destroy)
 */
int slabmalloc_cache_destroy(struct slabmalloc_cache *cache);

/* A constructed object, contents undefined if there is no constructor. The caller owns it until it is freed. NULL with
 * ENOMEM. */
void *slabmalloc_cache_alloc(struct slabmalloc_cache *cache);

/* As alloc, zeroed. NULL with EINVAL: the cache has a constructor. */
void *slabmalloc_cache_zalloc(struct slabmalloc_cache *cache);

/* Gives OBJECT, in the constructed state, back to CACHE, by any thread; NULL is ignored. errno is kept. */
void slabmalloc_cache_free(struct slabmalloc_cache *cache, void *object);

/* COUNT objects into OBJECTS[0..COUNT). Returns COUNT, or 0 with ENOMEM: then none was allocated. */
size_t slabmalloc_cache_alloc_bulk(struct slabmalloc_cache *cache, size_t count, void **objects);

/* As COUNT calls of free. OBJECTS is only read. */
void slabmalloc_cache_free_bulk(struct slabmalloc_cache *cache, size_t count, void *const *objects);

/*
 * Calls reclaim, then gives the calling thread's magazine and the empty slabs of all threads back, and the memory of
 * pages inside slabs on which no object is out. Objects in other threads' magazines stay there. Returns the bytes given
 * back. (Linux: kmem_cache_shrink)
 */
size_t slabmalloc_cache_shrink(struct slabmalloc_cache *cache);

/* The SIZE and NAME it was created with; the name lives as long as the cache. */
size_t slabmalloc_cache_size(const struct slabmalloc_cache *cache);
const char *slabmalloc_cache_name(const struct slabmalloc_cache *cache);

/* Exact when no other thread uses the cache meanwhile. Of the slabs: shared with all that are merged with this one. */
struct slabmalloc_cache_info {
    char name[SLABMALLOC_CACHE_NAME_BYTES];
    size_t object_bytes; /* as asked for */
    size_t slot_bytes;   /* from one object to the next */
    size_t align;        /* of each object */
    unsigned flags;      /* as asked for */
    unsigned sharers;    /* caches that share the slabs, this one included */
    size_t slab_bytes;   /* of all slabs */
    size_t slabs;        /* number */
    size_t objects;      /* there is room for in them */
    size_t live;         /* allocated */
    size_t cached;       /* free, in magazines of threads */
    size_t constructed;  /* of all objects, live or free; 0 without constructor */
    size_t slab_pages;   /* pages of the smallest slab */
    size_t slab_objects; /* in the smallest slab */
};

/* Fills *INFO. INFO_BYTES is sizeof *info, so that later versions can add fields at the end. */
void slabmalloc_cache_info(const struct slabmalloc_cache *cache, struct slabmalloc_cache_info *info, size_t info_bytes);

/*
 * A sheaf: COUNT objects of a cache set aside, so that as many allocations cannot fail. It belongs to one thread at a
 * time. prefill allocates them all, or none: NULL with ENOMEM. sheaf_alloc never fails while the sheaf has objects, and
 * is NULL with ENOMEM when it has none. A sheaf or a mempool has room for 65,536. refill makes it COUNT again: 0, or -1
 * with ENOMEM and the sheaf as it was. return frees what is left, and the sheaf. (Linux: kmem_cache_prefill_sheaf)
 */
struct slabmalloc_sheaf;
struct slabmalloc_sheaf *slabmalloc_sheaf_prefill(struct slabmalloc_cache *cache, size_t count);
void *slabmalloc_sheaf_alloc(struct slabmalloc_sheaf *sheaf);
size_t slabmalloc_sheaf_size(const struct slabmalloc_sheaf *sheaf);
int slabmalloc_sheaf_refill(struct slabmalloc_sheaf *sheaf, size_t count);
void slabmalloc_sheaf_return(struct slabmalloc_sheaf *sheaf);

/*
 * A mempool: a reserve of MIN objects of a cache, shared by all threads, for when the cache can give none. alloc asks
 * the cache first, then the reserve: NULL with ENOMEM when that is empty too; alloc_wait waits instead until an object
 * is freed to the pool, and so never fails. free fills the reserve before the cache. create allocates the reserve: NULL
 * with ENOMEM, or EINVAL for a MIN of 0. destroy frees it; no object may be live then that is to be freed to the pool.
 * (Linux: mempool_create_slab_pool)
 */
struct slabmalloc_mempool;
struct slabmalloc_mempool *slabmalloc_mempool_create(size_t min, struct slabmalloc_cache *cache);
void *slabmalloc_mempool_alloc(struct slabmalloc_mempool *pool);
void *slabmalloc_mempool_alloc_wait(struct slabmalloc_mempool *pool);
void slabmalloc_mempool_free(struct slabmalloc_mempool *pool, void *object);
void slabmalloc_mempool_destroy(struct slabmalloc_mempool *pool);

#ifdef __cplusplus
}
#endif

#endif
