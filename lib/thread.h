/*
 * thread.h: a thread of the library's own, which the C library does not know.
 *
 *      memory  | guard page | stack, downwards | thread-local storage ... thread pointer ... |
 *
 * The thread-local storage is a zeroed copy of the place the initial objects have around the thread pointer, as large
 * as it takes to hold errno and this library's variables. So the thread may use these, but no function of the C library
 * that keeps thread state (malloc, stdio, locks, cancellation): in practice, thin wrappers of system calls.
 */
#ifndef SLABMALLOC_THREAD_H
#define SLABMALLOC_THREAD_H

#include "base.h"

struct thread {
    void *stack_top, *pointer; /* NULL: no memory yet; it is kept for the next time */
};

/*
 * Starts MAIN, with all signals blocked. *ALIVE is the thread's id, and becomes 0 when THREAD can be used again. False:
 * refused. MAIN begins with thread_started.
 */
bool thread_start(struct thread *thread, int (*main)(void *), _Atomic uint32_t *alive);

/* By the new thread: its name, and an ordinary, unhurried schedule. */
void thread_started(const char *name);

#endif
