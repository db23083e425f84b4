/*
 * zone.h: memory by node and kind, each zone with its own buddy; zonelists; growth; decay.
 *
 *   DMA      pinned, physically contiguous memory; only requests that ask for it, last in no other list
 *   NORMAL   hugepage-backed; everything malloc hands out up to a pageblock
 *   HIGHMEM  ordinary pages, first to be given back; the fallback of NORMAL
 *
 * A request names a node and a kind and walks that pair's zonelist, most preferred first: the kind and its fallback on
 * that node, then on the other nodes by distance. With several nodes there is a set of zones more, NODE_ANY (numa.h),
 * last in each list. A zone without free pages grows by a region. A zone's pages
 * are counted: free in the buddy, or out (slab, run, isolated); the sum is what is mapped.
 *
 * Decay: each interval the zone looks at the least number of dirty free pages it had. These were of no use for the
 * whole interval. On a thread's slow path half of them go back to the kernel, on the background thread all, largest
 * blocks first, taken out of the lists (isolated) and purged without the lock.
 *
 * Watermarks (struct slabmalloc_watermarks in pages.h): min keeps free pages for requests that may not wait, low and
 * high say where decay ends and where purging begins. lowmem_reserve keeps pages of a zone from requests for a higher
 * kind. By default they change nothing but what requests for another kind get from DMA.
 *
 * zone.c has the zones and how they grow, zonelist.c the walk, zone_purge.c what gives memory back.
 *
 * Lock: one per zone.
 */
#ifndef SLABMALLOC_ZONE_H
#define SLABMALLOC_ZONE_H

#include "base.h"
#include "buddy.h"
#include "lock.h"
#include "numa.h"

enum zone_kind { ZONE_DMA, ZONE_NORMAL, ZONE_HIGHMEM, ZONE_KINDS };

#define ZONES_MAX (NODE_SETS * ZONE_KINDS)

/* A decay step leaves this much alone: giving it back would save little and cost page faults. */
#define ZONE_LOW_PAGES (((size_t)256 << 10) >> PAGE_SHIFT)

/* high as the library computes it: zone_high. */
#define ZONE_HIGH_AUTO SIZE_MAX

/* See zone_high. */
#define ZONE_DIRTY_FLOOR_PAGES (((size_t)256 << 10) >> PAGE_SHIFT)
#define ZONE_DIRTY_SHARE 64
#define ZONE_AGAIN_SPARED 4
#define ZONE_AGAIN_SHARE 8

/* Of the memory that DMA's node has in higher zones, 1/RATIO stays free in DMA for those that ask for it. */
#define ZONE_DMA_RESERVE_RATIO 256

/* In pages. Written with the lock, all at once. */
struct zone_marks {
    size_t min, low, high; /* see counter_read */
    size_t reserve_ratio;  /* 0: none */
};

/* In pages, with several nodes only. What the kernel took from another node because the zone's was full is not seen
 * here. */
struct zone_numa {
    uint64_t hit, miss;    /* served for requests that wanted this node, or another one first */
    uint64_t foreign;      /* wanted here, served by another node */
    uint64_t interleave;   /* of hit: spread over all nodes */
    uint64_t local, other; /* served to threads running on this node, or on another one */
};

struct zone {
    struct lock lock;
    uint8_t index; /* node * ZONE_KINDS + kind */
    enum zone_kind kind;
    unsigned node; /* or NODE_ANY */
    struct zone_numa numa;
    struct zone_marks marks;
    struct buddy buddy;
    size_t mapped_pages, mapped_peak; /* now, and at most so far */
    uintptr_t isolated;               /* pfn of blocks taken out for purging at this moment, linked; 0: none */
    size_t isolated_pages;            /* in them */
    size_t dirty_low;                 /* least buddy.dirty_pages since the last decay step */
    _Atomic uint64_t decay_at;        /* ms */
    size_t grown;                     /* regions it got so far: see counter_read */
    uint64_t allocs, purged_pages;
    size_t shed_pages;  /* by zone_shed, less a half for each decay step since: see zone_needed_again */
    uint64_t fallbacks; /* of allocs: another zone was asked first */
    uint64_t misses;    /* requests that it was asked for first and did not serve */
};

/* What is asked of a zonelist. */
struct zone_request {
    enum zone_kind kind; /* wanted first */
    enum buddy_group group;
    size_t npages; /* more than BLOCK_PAGES: adjacent pageblocks, and align_order is MAX_ORDER */
    unsigned align_order;
    bool nowait;    /* no system call, no waiting for a lock; may go below the watermark min */
    bool this_node; /* no other node */
    /* The walk's: */
    unsigned node; /* wanted first */
    unsigned here; /* where the thread runs */
};

/* Finds the nodes. Once, before anything else here. */
void zone_init(void);

/* Nodes may have come, or this process may use others than before: true. A system call. */
bool zone_refresh_nodes(void);

/* Nodes that this process may use, or could at some time. Never less than before. */
unsigned zone_node_count(void);

unsigned zone_first_node(void);

/* NODE or NODE_ANY. NULL: this process never could use NODE; NODE_ANY, and there is one node only. */
struct zone *zone_find(unsigned node, enum zone_kind kind);

/* What REQUEST asks for from ZONE alone, which grows if it must and may; FIRST: it is the first of its list. 0: no
 * memory, or less than the watermark and the reserve leave. Fresh bits are as in buddy_alloc. */
uintptr_t zone_serve(struct zone *zone, const struct zone_request *request, bool first);

/* ZONE was asked first and did not serve; another node did, with FOREIGN pages. */
void zone_note_miss(struct zone *zone, bool nowait, size_t foreign);

/* Pages of ZONE that a request for KIND leaves free: a share of what its node has in the zones up to that kind, which
 * lie behind it. */
static inline size_t zone_lowmem_reserve(const struct zone *zone, enum zone_kind kind) {
    size_t above = 0, ratio = counter_read(&zone->marks.reserve_ratio);
    for (unsigned k = zone->kind + 1; k <= kind; k++) {
        above += counter_read(&zone[k - zone->kind].mapped_pages);
    }
    return ratio ? above / ratio : 0;
}

struct zone_marks zone_marks(struct zone *zone);
void zone_set_marks(struct zone *zone, struct zone_marks marks);

static inline size_t zone_used(const struct zone *zone) {
    size_t mapped = counter_read(&zone->mapped_pages);
    return mapped - min_size(mapped, counter_read(&zone->buddy.free_pages));
}

/* Of the pages shed lately, those that are not fresh and free any more were needed again. Half as many are better kept,
 * of those beyond 1/ZONE_AGAIN_SPARED of what is in use, and up to 1/ZONE_AGAIN_SHARE of it. */
static inline size_t zone_needed_again(const struct zone *zone) {
    size_t free = counter_read(&zone->buddy.free_pages), dirty = counter_read(&zone->buddy.dirty_pages);
    size_t used = zone_used(zone), shed = counter_read(&zone->shed_pages);
    size_t not_needed = free - min_size(dirty, free) + used / ZONE_AGAIN_SPARED;
    return min_size((shed - min_size(not_needed, shed)) / 2, used / ZONE_AGAIN_SHARE);
}

/* The watermark high that is in force now. As the library computes it: the dirty pages a zone may keep while it takes
 * fresh ones; its peak then stays near what is in use. */
static inline size_t zone_high(const struct zone *zone) {
    size_t high = counter_read(&zone->marks.high);
    return high == ZONE_HIGH_AUTO
               ? ZONE_DIRTY_FLOOR_PAGES + zone_used(zone) / ZONE_DIRTY_SHARE + zone_needed_again(zone)
               : high;
}

/* More is resident and free than the program set as high: purges down to low. */
void zone_keep_below_high(struct zone *zone);

/* NPAGES (1..BLOCK_PAGES) pages aligned to 2^align_order pages, from the zonelist of (NODE, KIND). 0: no memory.
 * Fresh bits are as in buddy_alloc. */
uintptr_t zone_alloc(unsigned node, enum zone_kind kind, enum buddy_group group, size_t npages, unsigned align_order);

/* As zone_alloc, of *NPAGES halved as often as it helps to use resident memory, but not below LEAST; *NPAGES says how
 * many it became. */
uintptr_t zone_alloc_fit(unsigned node, enum zone_kind kind, enum buddy_group group, size_t *npages, size_t least);

/* Gives back pages that zone_alloc or zone_extend handed out, any run of them inside one pageblock. The first
 * NTOUCHED may have been written to; the rest are as they were handed out. */
void zone_free(uintptr_t pfn, size_t npages, size_t ntouched);

/* As zone_free, of at most 64 pages: those with a bit in TOUCHED may be resident, the others are fresh. */
void zone_free_mask(uintptr_t pfn, size_t npages, uint64_t touched);

/* Takes the free pages [PFN, PFN + NPAGES) that follow a block in its own pageblock; false: not all free. */
bool zone_extend(uintptr_t pfn, size_t npages);

/* Gives free dirty pages back to the kernel until at most KEEP_PAGES are left. Returns the dirty pages given back. */
size_t zone_purge(struct zone *zone, size_t keep_pages);

/* NPAGES of new memory are about to become resident. If that makes a new peak, gives back as many dirty
 * pages, as far as they exceed a share of what is in use: the peak of the process is then not the sum of the peaks of
 * its parts. Below an old peak nothing is given back here, so a heap that swings does not purge what it will reuse. */
void zone_shed(size_t npages);

/* Pages by which the peak grew since this was last told, to one caller, once they are a share of it; 0: fewer. */
size_t zone_peak_step(void);

/* True if new memory is worth huge pages: so much is in use, here and in own mappings, that the half-empty pageblocks
 * of each group are noise. */
bool zone_wants_huge(void);

/* As zone_wants_huge, for an own mapping of BYTES. It leaves no half-empty pageblock but its last one, and its pages
 * are given back with it: half as much in use will do, itself included. */
bool zone_wants_huge_mapping(size_t bytes);

/* One decay step for every zone whose interval is over. Cheap when none is. */
void zone_decay(uint64_t now_ms);

/* One decay step for every zone that gives back all that was of no use since the last one. Returns the pages. */
size_t zone_decay_all(void);

/* Free pages that may be resident and can be given back, in all zones: an estimate, without locks. */
size_t zone_dirty_pages(void);

/* Part of the pageblock of PFN is about to be purged: the kernel shall not make it a huge page again. By a thread that
 * holds pages of it (isolated or in a held slab). */
void zone_break_huge(uintptr_t pfn);

/* In a fork child of a thread that was not in the library: blocks that other threads were purging come back. */
void zone_fork_child(void);

/* zone_purge to nothing for every zone. */
size_t zone_trim(void);

/* Unmaps free pageblocks, and gives back what their tables took. Returns the pages unmapped. */
size_t zone_unmap_free(void);

/* Unmaps free pages of the hugetlb pool until at most KEEP_PAGES are left: others can have them. Returns how many. */
size_t zone_return_pool(struct zone *zone, size_t keep_pages);

/* The kernel refused memory (RLIMIT_AS, overcommit): from now on zones keep few free pageblocks mapped. */
void zone_note_scarce(void);

/* Every zone that has or had memory, in index order; NULL at the end. */
struct zone *zone_next(struct zone *after);

struct zone *zone_of(uintptr_t pfn);

/* As zone_of, of any page; NULL: in no zone. Unless the caller holds the page, that may change while it looks. */
struct zone *zone_of_any(uintptr_t pfn);

/* numa_lock, and the locks of all zones, with memory or not. */
void zone_each_lock(void (*visit)(struct lock *lock));

#endif
