/*
 * snapshot.h: what the heap looked like, in a form that reports are written from.
 *
 * Two readers fill it: gather.c in the process itself, under the locks, and `slabmalloc report PID` from outside, from
 * copies of the same structures. Both hand each slab, magazine, zone and pageblock to the functions here, and reports
 * are written by the same code (report.h), so the two cannot differ in what a number means.
 *
 * The size classes are an array; what there may be many of (zones, caches of the program) is fetched one by one, so
 * a snapshot fits on a thread's stack. Nothing here allocates, locks or follows a pointer of the heap.
 */
#ifndef SLABMALLOC_SNAPSHOT_H
#define SLABMALLOC_SNAPSHOT_H

#include "owner.h"
#include "slabmalloc/slabmalloc.h"
#include "slob.h"
#include "slob_boot.h"
#include "zone.h"

#define SNAPSHOT_NAME SLABMALLOC_CACHE_NAME_BYTES

/* A size class of malloc, or the object caches that share slabs. */
struct snapshot_cache {
    size_t bytes;        /* from one object to the next */
    size_t object_bytes; /* of which the program has these */
    size_t align;
    size_t sharers;      /* object caches; 0: a size class, or caches that were destroyed */
    size_t slabs;        /* number */
    size_t slabs_active; /* of these, with an object out */
    size_t pages;        /* in slabs */
    size_t objects;      /* room for */
    size_t out;          /* objects not in their slab: used + cached */
    size_t cached;       /* of these, in magazines */
    size_t limit, batch; /* the largest magazine of an owner, and the largest last refill */
};

struct snapshot_object_cache {
    char name[SNAPSHOT_NAME]; /* of the last one made of those that share the slabs */
    struct snapshot_cache cache;
};

/* Pages in use by what is behind them, as far as the library knows: what it advised, not what the kernel made of it. */
struct snapshot_backing {
    size_t thp_pages, hugetlb_pages, hugetlb_1g_pages;
};

struct snapshot_zone {
    unsigned node;
    enum zone_kind kind;
    size_t mapped_pages, mapped_peak, isolated_pages, free_pages, dirty_pages, purged_pages, fresh_taken;
    size_t regions, allocs, fallbacks, misses, splits, merges, lock_waits;
    size_t min, low, high;         /* watermarks in force, pages */
    size_t protection[ZONE_KINDS]; /* pages left free by requests for each kind */
    size_t nr_free[NORDERS];
    size_t list[GROUPS][KINDS][NORDERS]; /* free blocks by group and kind; pageblocks all under group 0 */
    size_t blocks[GROUPS];               /* pageblocks in use, by group */
    size_t whole_blocks;                 /* free ones */
    size_t huge_blocks;                  /* advised for huge pages */
    struct snapshot_backing backing;
};

struct snapshot {
    int32_t pid;
    bool consistent; /* nothing moved while it was taken; from inside: each part is exact, under its lock */
    struct snapshot_cache class[CLASS_COUNT];
    struct slabmalloc_stats stats;
    size_t owners;                     /* threads' caches ever made */
    size_t pages_out, page_cache_hits; /* of the page allocator: pages in blocks, and blocks taken from page caches */
    size_t mapping_peak_bytes, mapping_peak_count, zone_peak_bytes;
    /* The zone after *PLACE (NULL at first), the object cache after *PLACE; false: there is none. */
    bool (*next_zone)(const struct snapshot *snapshot, const void **place, struct snapshot_zone *zone);
    bool (*next_cache)(const struct snapshot *snapshot, const void **place, struct snapshot_object_cache *cache);
    const void *source; /* for these */
};

/* No slab and no zone yet. */
void snapshot_init(struct snapshot *snapshot, int32_t pid);

/* "kmalloc-BYTES" */
void snapshot_class_name(unsigned class, char name[SNAPSHOT_NAME]);

/* No slab yet: the SHARERS object caches of KMEM, of which one is called NAME. */
void snapshot_describe(struct snapshot_object_cache *out, const struct kmem_class *kmem, const char *name,
                       size_t sharers);

void snapshot_add_slab(struct snapshot_cache *cache, const struct slab *slab);

/* A magazine with COUNT objects, of an owner of whose slabs OUT objects are out: another thread's magazine may change
 * while it is read, but never holds more than those. */
void snapshot_add_magazine(struct snapshot_cache *cache, const struct owner_cache *of, size_t count, size_t out);

/* Into the totals; malloc's classes are by snapshot_finish. */
void snapshot_add_cache(struct snapshot *snapshot, struct snapshot_cache *cache);

/* A zone: but for its pageblocks into *OUT, those, and with them into the totals. */
void snapshot_set_zone(struct snapshot_zone *out, const struct zone *zone);
void snapshot_add_block(struct snapshot_zone *zone, const struct block *block);
void snapshot_add_zone(struct snapshot *snapshot, const struct snapshot_zone *zone);

/* A pageblock of no zone: if the pool is behind it, it is a live mapping's. */
void snapshot_add_pool_block(struct snapshot *snapshot, const struct block *block);

/* Malloc's SLOB heap, whose pages of small blocks count as slabs, its boot pages as a zone's. After all that sets a
 * total. Adds nothing where malloc is not SLOB. */
void snapshot_add_slob(struct snapshot *snapshot, const struct slob *heap, const struct slob_boot *boot);

/* When all is added, mappings and zones included: the totals that follow from others. */
void snapshot_finish(struct snapshot *snapshot);

/* "DMA", "Normal", "HighMem": the kernel's names. */
const char *snapshot_zone_name(enum zone_kind kind);

#endif
