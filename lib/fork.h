/*
 * fork.h: a child of a multi-threaded parent gets a sound, fully usable heap.
 *
 * Before fork the forking thread takes every lock, so all that locks protect is between steps. It
 * skips the locks it holds itself: fork in a signal handler that interrupted a slow path. The child frees the locks.
 * When it first needs a slab, it forgets what was in the magazines of threads it does not have (they may have been in
 * mid-step: a bounded leak), and puts their owners with their slabs into the depots.
 */
#ifndef SLABMALLOC_FORK_H
#define SLABMALLOC_FORK_H

void fork_init(void);

#endif
