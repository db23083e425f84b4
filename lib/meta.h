/*
 * meta.h: memory for the library's own structures, apart from everything a user can write to.
 *
 * Sizes are rounded up to powers of two from META_MIN; freed pieces wait in a list per size and are never
 * unmapped (metadata peaks with the heap and is under 1% of it). The first chunk is static, so a small
 * program needs no mapping for it. Lock: one.
 */
#ifndef SLABMALLOC_META_H
#define SLABMALLOC_META_H

#include "base.h"

#define META_MIN 64
#define META_SHIFT_MAX 20
#define META_MAX ((size_t)1 << META_SHIFT_MAX)

/* BYTES of zeroed memory, aligned to the smaller of its rounded size and 256; NULL: no memory. */
void *meta_alloc(size_t bytes);

/* As meta_alloc, contents undefined. */
void *meta_alloc_dirty(size_t bytes);

/* PIECE came from meta_alloc of the same BYTES. */
void meta_free(void *piece, size_t bytes);

/* Bytes of chunks obtained so far. */
size_t meta_mapped(void);

struct lock *meta_lock(void);

#endif
