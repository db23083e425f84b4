/*
 * kmem_reserve.h: objects set aside for when a cache can give none: sheaves (one thread's) and mempools (everybody's).
 *
 * Lock: that of kmem_class.h for what a mempool holds; it is taken only when the pool is not full, or the cache failed.
 */
#ifndef SLABMALLOC_KMEM_RESERVE_H
#define SLABMALLOC_KMEM_RESERVE_H

#include "base.h"

/* Objects a sheaf or a mempool can hold. */
#define KMEM_RESERVE_MAX ((size_t)64 << 10)

#endif
