/*
 * page.h: the page allocator: blocks of whole pages for programs that ask for them (slabmalloc/pages.h).
 *
 *      first page of a block        tag TAG_BLOCK, state PAGE_BLOCK, link: number of pages
 *      of each further pageblock    state PAGE_BLOCK_ON, link: pfn of the first page
 *
 * A block is exactly the pages asked for, from whichever zone the request names. Each owner keeps some free blocks of
 * NORMAL memory of its node by order, last in first out, in its page cache: PAGE_CACHE_SLOTS of an order and
 * PAGE_CACHE_PAGES in all. They are out of the buddy, so uncoalesced, until the owner's decay interval ends or its
 * thread exits. The cache is made when the first block is put in it.
 *
 * Who frees must name the number of pages. The tag is changed by a compare and swap, so that of two frees of one block
 * one always fails, whatever threads they are in.
 *
 * No lock of its own: the page cache is under the owner's lock, the rest under the zone's.
 */
#ifndef SLABMALLOC_PAGE_H
#define SLABMALLOC_PAGE_H

#include "base.h"
#include "zonelist.h"

#define PAGE_CACHE_SLOTS 16
#define PAGE_CACHE_PAGES (2 * BLOCK_PAGES - 1)

struct owner;

/* What is asked of the page allocator. */
struct page_request {
    struct zone_request pages;
    unsigned node;            /* where to begin; not with a list */
    struct zone *const *list; /* these zones and no others; NULL: the zonelist of node and kind */
    size_t nlist;
    bool zero; /* reads zero */
};

/* A block; NULL: no memory. OWNER may be NULL. */
void *page_alloc(struct owner *owner, const struct page_request *request);

/* Gives the block P of NPAGES back, or ends the process if it is none. OWNER may be NULL. */
void page_free(struct owner *owner, void *p, size_t npages);

/* Empties OWNER's page cache; returns its pages. By any thread, without the owner's lock. */
size_t page_cache_flush(struct owner *owner);

/* As page_cache_flush, unless something was taken from the cache since the last call, or ALL. */
void page_cache_reclaim(struct owner *owner, bool all);

/* In a fork child: OWNER's cache is another thread's; what it holds stays out. */
void page_cache_forget(struct owner *owner);

/* Pages in OWNER's cache, and blocks taken from it so far. With its lock. */
size_t page_cache_pages(const struct owner *owner);
uint64_t page_cache_hits(const struct owner *owner);

/* What is in OWNER's page cache is what its tags and sum say? Names the first broken rule, else NULL. With its lock. */
const char *page_cache_check(const struct owner *owner);

/* Pages in blocks, live and cached. */
size_t page_pages_out(void);

#endif
