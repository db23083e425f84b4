/*
 * reclaim.h: the memory of holes goes back to the kernel while their slabs live on.
 *
 * A slab with one object out keeps all its pages from the zone. But the allocator's own data lies elsewhere, so a page
 * on which no object is out (a hole, slab.h) can be purged at any time: it reads zero when an object of it is handed
 * out again, and nobody may expect contents there. After a peak that leaves a tenth of the objects alive, scattered,
 * this is most of what comes back.
 *
 * Slabs with holes are *held* in small batches: under the owner's lock they move from their list to that of held slabs,
 * from which nothing is taken; the pages are purged without a lock; then the slabs are filed again. Frees go on
 * meanwhile and only set bits in the slab. A slab that was used since the last look is left alone unless all is wanted.
 */
#ifndef SLABMALLOC_RECLAIM_H
#define SLABMALLOC_RECLAIM_H

#include "owner.h"

/* Looks at all slabs of all owners, gives back holes and empty slabs that were of no use since the last look, or with
 * ALL every one, and runs cached by owners as idle. Returns the pages given back, runs and empty slabs not counted
 * (they go to the zone). */
size_t reclaim_slabs(bool all);

/* On slow paths: if the heap's peak has grown by a share since the last look and slabs that are more than half free are
 * as much, gives back about as many pages of holes as it grew by, of slabs that were of no use since that look. */
void reclaim_at_peak(void);

/* The holes of one class of OWNER's, in slabs that were looked at MIN_IDLE times since they were used. */
size_t reclaim_class(struct owner *owner, unsigned class, unsigned min_idle);

/* Pages in slabs that are more than half free, in all owners: an estimate, without locks. */
size_t reclaim_sparse_pages(void);

/* In a fork child of a thread that was not in the library: slabs that other threads held are filed again, and what
 * had been received goes into its slabs. */
void reclaim_fork_child(void);

#endif
