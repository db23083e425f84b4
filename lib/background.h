/*
 * background.h: gives memory back when nobody calls malloc.
 *
 * Purging rides on slow calls, so a process that falls idle after a peak would keep the peak. One helper thread
 * starts when more than BACKGROUND_BYTES of free memory are resident, gives back each decay interval what was of no use
 * during the last one, and ends by itself when little is left or nothing more can be given back. An idle process
 * has no thread of ours.
 *
 * The thread is the kernel's alone (clone): the C library does not count it, so that __libc_single_threaded and the
 * locks of stdio stay as they are, and starting it takes no lock of the C library, which may be held by whoever called
 * malloc. It runs nothing but this library, with all signals blocked, on thread-local storage of its own.
 *
 * It never starts in a process with one thread some object of which refers to unshare or setns, which fail in processes
 * with more than one, or to prctl or libseccomp, with which a sandbox is entered that may end the process at a clone.
 * It is not in fork children; they start their own.
 */
#ifndef SLABMALLOC_BACKGROUND_H
#define SLABMALLOC_BACKGROUND_H

#include "base.h"

#define BACKGROUND_BYTES ((size_t)16 << 20)

/* On a slow path without locks, now and then: starts the helper if it is wanted. SPARSE_PAGES: pages in sparse slabs
 * that the caller knows of. Keeps errno. */
void background_consider(size_t sparse_pages);

/* The helper is at work, so slow paths need not purge. */
bool background_runs(uint64_t now_ms);

/* What the helper does each interval; returns the bytes given back. */
size_t background_pass(uint64_t now_ms);

/* This process is another one than before. At start and in a fork child. */
void background_new_process(void);

#endif
