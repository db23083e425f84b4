/*
 * lock.h: the library's mutex. One word for the futex, and the holder beside it so that fork can tell the
 * locks its own thread holds (fork in a signal handler that interrupted malloc).
 *
 * Ranks, in the order in which locks nest (a thread may take a lock only of a higher rank than those it holds;
 * two locks of one rank only in fork, in ascending address or table order):
 *
 *     1 depot    idle owners of a node                       owner.c
 *     2 owner    slabs, bitmaps and lists of one owner       owner.c, magazine.c, remote.c
 *     3 zone     free_area lists, pageblocks                 zone.c
 *     4 mapping  cache of freed own mappings                 mapping.c
 *     5 pagemap  creation of leaves                          pagemap.c
 *     6 meta     metadata chunks                             meta.c
 *
 * No lock is held across a system call that can block for long (madvise, munmap, mremap, populate).
 */
#ifndef SLABMALLOC_LOCK_H
#define SLABMALLOC_LOCK_H

#include "base.h"

struct lock {
    _Atomic uint32_t word;    /* 0 free, 1 held, 2 held and somebody waits */
    uint32_t contended;       /* times a taker had to wait; written by the holder */
    _Atomic uintptr_t holder; /* pthread_self() of the holder, 0 when free */
};

void lock_take(struct lock *lock);
bool lock_try(struct lock *lock);
void lock_drop(struct lock *lock);
bool lock_held(const struct lock *lock); /* by this thread */

/* In a fork child: the lock is free, whatever the parent's other threads did with it. */
void lock_reset(struct lock *lock);

#endif
