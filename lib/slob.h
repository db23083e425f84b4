/*
 * slob.h: heaps for small footprints: the kernel's SLOB.
 *
 *      list[0]  blocks of less than 256 bytes        page <-> page <-> page     with room, next fit: a search starts
 *      list[1]  of less than 1 KiB                                              where the last one ended
 *      list[2]  of less than a page
 *      list[3..5]  the same for sized blocks, in pages of their own
 *      list[6]  pages without room
 *      large    everything else: page runs and mappings, each with a node from list[0]
 *
 * A request looks at the next pages of the list of its size and takes, of those, the one whose longest free block is
 * just long enough; if there is none it takes room in the other lists, and then a new page. So small blocks stay out of
 * the pages of large ones as long as there is another way, long free blocks last, and the search's start moves on.
 * Inside a page the first block that fits is taken (slob_page.h). A page whose blocks are all free goes back at once.
 * There are no caches of any kind: what is not allocated is in a page's free list or not the heap's.
 *
 * Sized blocks (slob_alloc_sized) have no header: who frees names the size, as the kernel's object caches do, whose
 * objects have none in its SLOB either.
 *
 * A heap has a step: payloads are aligned to 8 bytes (step 1), or to 16 (step 2, malloc's).
 *
 * Lock: one per heap for its pages, lists and nodes, and one for the list of heaps. Pages are got from the zone and
 * given back to it without either.
 */
#ifndef SLABMALLOC_SLOB_H
#define SLABMALLOC_SLOB_H

#include "base.h"
#include "lock.h"
#include "slabmalloc/slob.h"
#include "slob_page.h"
#include "zone.h"

#define SLOB_SMALL 256
#define SLOB_MEDIUM 1024

enum slob_list {
    SLOB_LIST_SMALL,
    SLOB_LIST_MEDIUM,
    SLOB_LIST_LARGE,
    SLOB_LISTS,
    SLOB_SIZED = SLOB_LISTS, /* the first of those of sized blocks */
    SLOB_FULL = 2 * SLOB_LISTS
};

/* Of one large block. Lies in the heap itself. */
struct slob_node {
    struct slob_node *next, *prev;
    struct slob *heap;
    void *p;
    size_t npages;
};

struct slob {
    struct lock lock;
    uint8_t id;
    uint8_t step;
    bool boot;                     /* the process's malloc: may use boot pages */
    enum zone_kind kind;           /* where its pages come from */
    uintptr_t list[SLOB_FULL + 1]; /* pfn of the page a search starts at; 0: empty */
    size_t npages[SLOB_FULL + 1];  /* in each list */
    size_t used_units, nblocks;    /* allocated, headers included; nodes are blocks too */
    size_t nsized;                 /* sized blocks; their units are in used_units */
    struct slob_node *large;
    size_t large_pages, nlarge;
    struct slob *next; /* in the list of heaps */
};

/* The heap of malloc, where SLABMALLOC_CONF says heap:slob. */
struct slob *slob_of_process(void);

/* Once, before the first use of slob_of_process. */
void slob_start_process(void);

/* A heap of its own. NULL: no memory. */
struct slob *slob_create(unsigned step);
void slob_destroy(struct slob *heap);

/* BYTES, at least at the heap's alignment and at ALIGN (a power of two). ZERO: reads zero. NULL: no memory. */
void *slob_alloc(struct slob *heap, size_t bytes, size_t align, bool zero);

/* Without a header; 8-byte alignment in any heap. Freed by slob_free_sized with the same BYTES, and by nothing else. */
void *slob_alloc_sized(struct slob *heap, size_t bytes);
void slob_free_sized(struct slob *heap, void *p, size_t bytes);

/* P is not NULL. Aborts, naming it, if it is not the start of a live block of HEAP. */
void slob_free(struct slob *heap, void *p);

/* As realloc, P not NULL. */
void *slob_realloc(struct slob *heap, void *p, size_t bytes);

/* Bytes that may be used at P, a live block of HEAP. */
size_t slob_usable(struct slob *heap, const void *p);

/* Zones for a process that began without: they start with the first page that boot pages cannot serve. */
void slob_need_zones(void);

/* Zones are there, now or since the start. */
bool slob_zones_started(void);

static inline bool slob_is_sized(const struct slob_page *sp) {
    return sp->list >= SLOB_SIZED;
}

/* What the struct page of a page of small blocks says. With the heap's lock. */
struct slob_page slob_page_at(uintptr_t pfn);

/* Names the first broken invariant, else NULL. */
const char *slob_check(struct slob *heap);

void slob_stats(struct slob *heap, struct slabmalloc_slob_stats *stats);

/* Free boot pages that may be resident: an estimate, without the lock. */
size_t slob_dirty_pages(void);

/* Gives the memory of free boot pages back to the kernel; returns the pages. */
size_t slob_trim(void);

void slob_each_lock(void (*visit)(struct lock *lock));

#endif
