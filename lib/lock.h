/*
 * lock.h: the library's mutex: one futex word that names its holder, so that at any instruction fork can tell the locks
 * its own thread holds (fork in a signal handler that interrupted malloc).
 *
 *      31           30                        0
 *      [ contended ][ holder: pthread_self() / 64, odd ]     0: free
 *
 * Thread control blocks are 64-byte aligned and larger than 128 bytes, so two threads share a name only if they lie a
 * multiple of 128 GiB apart; nothing but fork and assertions would mistake one for the other.
 *
 * Locks do not nest: a thread that holds one waits for no other. (The walk over idle owners under the depot's lock
 * only tries.) So fork can take all of them, whatever its thread holds already: depots and the owner table, owners,
 * zones, mapping cache, page map, metadata.
 *
 * No lock is held across a system call that can block for long (madvise, munmap, mremap, populate).
 */
#ifndef SLABMALLOC_LOCK_H
#define SLABMALLOC_LOCK_H

#include "base.h"

struct lock {
    _Atomic uint32_t word;
    uint32_t waits; /* times a taker had to wait; the holder's to write */
};

void lock_take(struct lock *lock);
bool lock_try(struct lock *lock);
void lock_drop(struct lock *lock);
bool lock_held(const struct lock *lock); /* by this thread */

/* In a fork child: the lock is free, whatever the parent's other threads did with it. */
void lock_reset(struct lock *lock);

#endif
