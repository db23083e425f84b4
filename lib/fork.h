/*
 * fork.h: a child of a multi-threaded parent gets a sound, fully usable heap.
 *
 * Before fork the forking thread takes every lock, so all that locks protect is between steps. It
 * skips the locks it holds itself: fork in a signal handler that interrupted a slow path. The child frees the locks.
 * At its first slow call it rebuilds the depots, forgets the magazines and inboxes of threads it does not have (they
 * may have been in mid-step: a bounded leak), and adopts their slabs. Signals wait while fork has the locks.
 */
#ifndef SLABMALLOC_FORK_H
#define SLABMALLOC_FORK_H

#include "base.h"

void fork_init(void);

/* This thread holds a lock of the library: a signal handler runs that interrupted it there. */
bool fork_inside(void);

#endif
