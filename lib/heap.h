/*
 * heap.h: routes a size.
 *
 *      bytes <= 32 KiB         magazine -> slab of the size class
 *      bytes <= one pageblock  page run
 *      larger                  own mapping
 *
 * heap_malloc and heap_free are the fast paths, inlined into the exported functions; everything else is here
 * behind a call. All functions keep errno unless they fail; failing is NULL with ENOMEM.
 */
#ifndef SLABMALLOC_HEAP_H
#define SLABMALLOC_HEAP_H

#include "magazine.h"

void *heap_malloc_slow(size_t bytes) __attribute__((noinline));
void heap_free_slow(void *p) __attribute__((noinline));

static inline __attribute__((always_inline)) void *heap_malloc(size_t bytes) {
    if (likely(bytes <= SLAB_MAX)) {
        void *p = magazine_pop(bytes);
        if (likely(p != NULL)) {
            return p;
        }
    }
    return heap_malloc_slow(bytes);
}

static inline __attribute__((always_inline)) void heap_free(void *p) {
    if (unlikely(!magazine_push(p))) {
        heap_free_slow(p);
    }
}

/* The process's first slow call starts the heap; any other does nothing. Every part that does not enter it needs this.
 */
void heap_begin(void);

/* Every slow call begins with it: this thread's owner, after the work that rides on slow calls; NULL: it has none. */
struct owner *heap_enter(void);

/* The kernel refuses memory: others give up what they keep for reuse. Calls reclaim functions of object caches, so this
 * thread may have another owner afterwards. False: there was nothing. */
bool heap_relieve(void);

/* Zeroed; N * BYTES may overflow (ENOMEM). */
void *heap_calloc(size_t n, size_t bytes);

/* As realloc, P not NULL and BYTES not 0. */
void *heap_realloc(void *p, size_t bytes);

/* ALIGN is a power of two, any size of it. */
void *heap_aligned(size_t align, size_t bytes);

/* Bytes that may be used at P, which must be live; 0 for NULL. */
size_t heap_usable(const void *p);

/* As heap_enter, without any work; false: the process has made no slow call yet, and nothing here may be used. */
bool heap_enter_nowait(struct owner **owner);

/* Gives free memory back to the kernel; true: some was given back. */
bool heap_trim(void);

#endif
