/*
 * place.h: what does an address lie in? For reports and for naming faults; any 64-bit value will do.
 *
 * The page map says at the first page of a thing what it is, and nothing at the pages behind it. So the way from a page
 * to its thing is the way back to the nearest first page, within the pageblock but for a few kinds that say where
 * theirs is. What other threads change meanwhile is described as it was at some moment.
 *
 * Lock: takes the zone's of the page.
 */
#ifndef SLABMALLOC_PLACE_H
#define SLABMALLOC_PLACE_H

#include "base.h"
#include "pagemap.h"

struct zone;

struct place {
    enum page_state state; /* of the thing; PAGE_NONE: not ours; PAGE_BODY: on the way from one thing to another */
    uint32_t tag;          /* of its first page */
    uintptr_t head;        /* pfn of its first page */
    size_t npages;
    struct zone *zone; /* NULL: in none */
    bool fresh;        /* no memory is behind the page */
    bool huge;         /* its pageblock was advised for huge pages */
};

struct place place_of(const void *p);

#endif
