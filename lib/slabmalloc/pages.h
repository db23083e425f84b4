/*
 * pages.h: whole pages by order, from zones: the page allocator beneath malloc, for programs that link libslabmalloc.
 *
 * A page is slabmalloc_page_bytes() bytes (4096 unless the library was built otherwise), order k is 2^k contiguous
 * pages. Blocks of orders 0 to 9 come from the ten free_area lists of a zone: a larger block is split until it fits,
 * and a freed one coalesces with its buddy up to order 9, a pageblock. Above, a block is a run of adjacent pageblocks.
 *
 * A zone is a NUMA node and a kind of memory:
 *   DMA      for requests that ask for it only; see slabmalloc_zone_info for what is behind it on this machine
 *   NORMAL   what malloc uses too, on huge pages once the heap is large
 *   HIGHMEM  ordinary pages, for large buffers
 * Zones grow by asking the kernel for address space, and shrink by giving memory back (purging).
 *
 * All functions are thread safe, keep errno when they succeed, and may not be called from a signal handler. Any thread
 * may free a block. Blocks of this allocator are not malloc's: free, realloc or slabmalloc_free of one ends the process
 * with one line on stderr, as do a wrong order, a page in the middle of a block and a second free.
 */
#ifndef SLABMALLOC_PAGES_H
#define SLABMALLOC_PAGES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The number of free_area lists, and the largest order in one. */
#define SLABMALLOC_NR_ORDERS 10
#define SLABMALLOC_MAX_ORDER (SLABMALLOC_NR_ORDERS - 1)

/* Any node: the one the calling thread's memory comes from. Where a zone is named: memory that the library binds to no
 * node, because the program set a memory policy of its own (set_mempolicy, numactl), or for numa:off and
 * numa:interleave. It exists on machines with several nodes. */
#define SLABMALLOC_ANY_NODE (-1)

/* Flags of a request. Without DMA and HIGHMEM it is for NORMAL. */
#define SLABMALLOC_PAGE_DMA 0x01u     /* from DMA, nowhere else */
#define SLABMALLOC_PAGE_HIGHMEM 0x02u /* from HIGHMEM, then NORMAL */
#define SLABMALLOC_PAGE_ZERO 0x04u    /* reads zero; pages that are known to do so already are not touched */
#define SLABMALLOC_PAGE_NOWAIT                                                                                         \
    0x08u /* no system call and no waiting for a lock: only what is free right now. It may                             \
             take the pages below the watermark min. (Dropping a lock for which another                                \
             thread sleeps wakes that thread, which never blocks.) */
#define SLABMALLOC_PAGE_NORETRY                                                                                        \
    0x10u                              /* when the kernel refuses memory, fail at once; without it caches are emptied  \
                                          and the request is tried once more */
#define SLABMALLOC_PAGE_THISNODE 0x20u /* from no other node than the one asked for */
#define SLABMALLOC_PAGE_ALL 0x3fu      /* all of the above */

enum slabmalloc_zone_kind {
    SLABMALLOC_ZONE_DMA,
    SLABMALLOC_ZONE_NORMAL,
    SLABMALLOC_ZONE_HIGHMEM,
    SLABMALLOC_ZONE_KINDS,
};

/* A zone's name. */
struct slabmalloc_zone {
    int node;
    enum slabmalloc_zone_kind kind;
};

/* Bytes of a page. */
size_t slabmalloc_page_bytes(void);

/*
 * A block of 2^ORDER contiguous pages, aligned to its size but to no more than a pageblock (order 9). Its contents are
 * undefined unless ZERO. The zonelist: the kind asked for and its fallback on the nearest node, then the same on the
 * other nodes by distance. The caller owns the block until slabmalloc_free_pages with the same ORDER.
 * NULL with ENOMEM: no zone has such a block and none could be made; EINVAL: unknown flags, or DMA and HIGHMEM at once.
 * (The kernel's alloc_pages)
 */
void *slabmalloc_alloc_pages(unsigned flags, unsigned order);

/* As slabmalloc_alloc_pages, with NODE as the nearest node. EINVAL: this process has no memory on NODE. */
void *slabmalloc_alloc_pages_node(int node, unsigned flags, unsigned order);

/*
 * BYTES in exactly as many contiguous pages as they need (2.1 MiB cost 2.1 MiB, not 4), aligned to a page; to their
 * size if that is 2^k pages, and to a pageblock above one. 0 bytes: EINVAL. Otherwise as slabmalloc_alloc_pages_node.
 * Free it with slabmalloc_free_pages_exact. (The kernel's alloc_pages_exact_nid)
 */
void *slabmalloc_alloc_pages_exact(unsigned flags, size_t bytes);
void *slabmalloc_alloc_pages_exact_node(int node, unsigned flags, size_t bytes);

/*
 * As slabmalloc_alloc_pages, from the NZONES zones at ZONES and no others, most preferred first. DMA serves here too,
 * after others: then only what it has free beyond its lowmem_reserve, and it does not grow for it. FLAGS without DMA
 * and HIGHMEM; THISNODE leaves those zones of the list that are on the first one's node. EINVAL: flags, an empty list,
 * a kind or node that does not exist.
 */
void *slabmalloc_alloc_pages_zonelist(const struct slabmalloc_zone *zones, size_t nzones, unsigned flags,
                                      unsigned order);

/* Gives back a block of 2^ORDER pages; NULL is ignored. Keeps errno. May give memory back to the kernel. */
void slabmalloc_free_pages(void *block, unsigned order);

/* Gives back a block of slabmalloc_alloc_pages_exact; BYTES as asked for, or any number that needs as many pages. */
void slabmalloc_free_pages_exact(void *block, size_t bytes);

/* --- What is at an address --- */

enum slabmalloc_page_state {
    SLABMALLOC_STATE_FOREIGN,  /* not the library's */
    SLABMALLOC_STATE_FREE,     /* in a free_area list */
    SLABMALLOC_STATE_BLOCK,    /* in a block of this allocator */
    SLABMALLOC_STATE_SLAB,     /* in a slab */
    SLABMALLOC_STATE_RUN,      /* in a malloc block of several pages, up to a pageblock */
    SLABMALLOC_STATE_MAPPING,  /* the first page of a malloc block above a pageblock, which has a mapping of its own */
    SLABMALLOC_STATE_CACHED,   /* in a thread's cache of free blocks or runs */
    SLABMALLOC_STATE_ISOLATED, /* being given back to the kernel, or on the way from one of these states to another */
    SLABMALLOC_STATE_SLOB,     /* in a SLOB heap, where blocks of less than a page share it */
};

enum slabmalloc_page_backing {
    SLABMALLOC_BACKING_NONE,    /* not the library's */
    SLABMALLOC_BACKING_BASE,    /* ordinary pages, which the kernel may move and swap */
    SLABMALLOC_BACKING_HUGE,    /* ordinary memory, advised for transparent huge pages */
    SLABMALLOC_BACKING_PINNED,  /* locked in memory */
    SLABMALLOC_BACKING_HUGETLB, /* pages of the hugetlb pool: physically contiguous by 2 MiB, populated, not moved */
};

struct slabmalloc_page_info {
    enum slabmalloc_page_state state;
    enum slabmalloc_page_backing backing;
    int node;                       /* of the zone; -1: the page is in none, or bound to no node */
    enum slabmalloc_zone_kind kind; /* of the zone; KINDS: the page is in none */
    void *head;                     /* the first page of what the address lies in: free block, block, slab, run */
    size_t pages;                   /* in it, contiguous from HEAD */
    unsigned order;                 /* the smallest order of at least as many pages */
    int fresh;                      /* 1: no memory was ever touched here since it was mapped or purged */
};

/* Fills *INFO for any value of P, which need not be mapped. INFO_BYTES is sizeof *info, so that later versions can add
 * fields at the end. Returns 1 if the page is the library's, else 0. A page that other threads work on is described as
 * it was at some moment. */
int slabmalloc_page_info(const void *p, struct slabmalloc_page_info *info, size_t info_bytes);

/* --- Zones --- */

/* high that the library computes: 256 KiB more than 1/64 of what is in use in the zone. It acts when the memory of the
 * process would exceed its peak; a number acts at every free. */
#define SLABMALLOC_WATERMARK_AUTO SIZE_MAX

/*
 * In pages. The kernel's watermarks say when it takes memory from programs; a zone in user space has no end, so these
 * say when memory goes back, and what stays for those that cannot wait.
 *   min   free pages that only NOWAIT requests take; others make the zone grow, or go to the next zone. Purging
 *         leaves as many pages resident. At most 1 GiB. Default 0.
 *   low   a zone with no more resident free pages is left alone by the decay. Default 256 KiB.
 *   high  with more resident free pages, purging begins at once and goes down to low. Default: WATERMARK_AUTO.
 *   reserve_ratio  lowmem_reserve: a request for a higher kind leaves 1/RATIO of the pages that the higher zones of
 *         the node have mapped free here. 0: no reserve. Default 256 for DMA, 0 for
 *         the others, which can grow.
 * slabmalloc_trim and lack of memory give everything back, whatever the watermarks say.
 */
struct slabmalloc_watermarks {
    size_t min, low, high;
    size_t reserve_ratio;
};

/* EINVAL: no such zone, not min <= low <= high, or min too large. Returns 0 or -1 with errno. */
int slabmalloc_zone_watermarks(struct slabmalloc_zone zone, struct slabmalloc_watermarks *marks);
int slabmalloc_zone_set_watermarks(struct slabmalloc_zone zone, const struct slabmalloc_watermarks *marks);

struct slabmalloc_zone_info {
    size_t mapped_pages;                          /* address space of the zone */
    size_t free_pages;                            /* in the free_area lists */
    size_t dirty_pages;                           /* of these, pages that may be resident */
    size_t cached_pages;                          /* free blocks in threads' page caches, in no list */
    size_t isolated_pages;                        /* being purged */
    size_t nr_free[SLABMALLOC_NR_ORDERS];         /* free blocks by order: a line of /proc/buddyinfo */
    size_t high_pages;                            /* the watermark high in force now */
    size_t lowmem_reserve[SLABMALLOC_ZONE_KINDS]; /* pages left free by requests for that kind */
    uint64_t hits;         /* requests to the zone that it served as the first of their zonelist, malloc's included */
    uint64_t fallbacks;    /* requests it served after another zone could not */
    uint64_t misses;       /* requests that it was first for and did not serve: another zone did, or none */
    uint64_t splits;       /* blocks halved */
    uint64_t merges;       /* buddies coalesced */
    uint64_t purged_pages; /* given back to the kernel */
    uint64_t cache_hits;   /* blocks served from threads' page caches, not among hits */
};

/* Fills *INFO. INFO_BYTES is sizeof *info. Returns 0, or -1 with EINVAL: no such zone. */
int slabmalloc_zone_info(struct slabmalloc_zone zone, struct slabmalloc_zone_info *info, size_t info_bytes);

/*
 * What a node's zones served, in pages, as numastat counts it; nothing is counted while there is one node only. Blocks
 * above malloc's limit of one pageblock are not among it. When a node is full, the kernel takes memory bound to it from
 * the nearest node that is not: that is seen in its own numastat, not here.
 */
struct slabmalloc_numa_stats {
    uint64_t hit;        /* for requests that wanted this node */
    uint64_t miss;       /* for requests that wanted another node first */
    uint64_t foreign;    /* wanted here, served by another node */
    uint64_t interleave; /* of hit: spread over all nodes; counted for SLABMALLOC_ANY_NODE */
    uint64_t local;      /* to threads that ran on this node */
    uint64_t other;      /* to threads that ran on another node */
};

/* Fills *STATS for NODE or SLABMALLOC_ANY_NODE. STATS_BYTES is sizeof *stats. Returns 0, or -1 with EINVAL: no such
 * node. */
int slabmalloc_numa_stats(int node, struct slabmalloc_numa_stats *stats, size_t stats_bytes);

/* The zones there are, node by node, those of SLABMALLOC_ANY_NODE last: writes at most MAX of them to ZONES, returns
 * their number. */
size_t slabmalloc_zones(struct slabmalloc_zone *zones, size_t max);

#ifdef __cplusplus
}
#endif

#endif
