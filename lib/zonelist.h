/*
 * zonelist.h: in which order zones serve a request.
 *
 * By node and kind: the kind and its fallback on that node, then on the others by distance. Or an explicit list, in
 * which DMA may stand too. The zone that was asked first counts a miss when it does not serve, the one that serves
 * instead counts a fallback.
 *
 * No lock of its own, and none held from one zone to the next.
 */
#ifndef SLABMALLOC_ZONELIST_H
#define SLABMALLOC_ZONELIST_H

#include "zone.h"

/* The first page of what REQUEST asks for, from the zonelist of NODE and its kind; 0: no memory. */
uintptr_t zonelist_alloc(unsigned node, const struct zone_request *request);

/* As zonelist_alloc, from the N zones of LIST, most preferred first; the request's kind is the first one's. */
uintptr_t zonelist_alloc_from(struct zone *const *list, size_t n, const struct zone_request *request);

#endif
