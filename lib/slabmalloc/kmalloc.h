/*
 * kmalloc.h: the kernel's kmalloc family: blocks by size, from the caches kmalloc-16 to kmalloc-32768.
 *
 * A request of up to SLABMALLOC_KMALLOC_CACHE_MAX bytes is searched for among the caches by its size, as in the kernel,
 * and gets an object of the smallest that is large enough: malloc's size classes, which reports show as kmalloc-N.
 * Larger ones get exactly the pages they need. So these are malloc's blocks: slabmalloc_free and free take them, and
 * kfree takes malloc's. A size that is a power of two is aligned to itself, up to a page; any other to 16 bytes.
 *
 * FLAGS are those of pages.h. ZERO: reads zero, all of slabmalloc_ksize. DMA: whole pages from the zone DMA. THISNODE,
 * NODE: see slabmalloc_kmalloc_node. The others are accepted and change nothing: a request that finds its thread's
 * magazine empty may make a system call whatever they say.
 *
 * All functions are thread safe and keep errno when they succeed; none may be called from a signal handler.
 */
#ifndef SLABMALLOC_KMALLOC_H
#define SLABMALLOC_KMALLOC_H

#include "pages.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SLABMALLOC_KMALLOC_CACHE_MAX ((size_t)32 << 10)

/*
 * BYTES, contents undefined; 0 bytes give a unique pointer. The caller owns the block until slabmalloc_kfree. NULL with
 * ENOMEM: no memory, or more than PTRDIFF_MAX asked for; EINVAL: unknown flags. (Linux: kmalloc, kzalloc)
 */
void *slabmalloc_kmalloc(size_t bytes, unsigned flags);
void *slabmalloc_kzalloc(size_t bytes, unsigned flags);

/* N objects of BYTES each, kcalloc's zeroed. ENOMEM also when the product overflows. (Linux: kmalloc_array, kcalloc) */
void *slabmalloc_kmalloc_array(size_t n, size_t bytes, unsigned flags);
void *slabmalloc_kcalloc(size_t n, size_t bytes, unsigned flags);

/*
 * As the functions above, from NODE: SLABMALLOC_ANY_NODE or the calling thread's own node cost nothing; for another one
 * the block is whole pages of that node, or with THISNODE unset of one near it. EINVAL: this process has no memory on
 * NODE. (Linux: kmalloc_node, kzalloc_node)
 */
void *slabmalloc_kmalloc_node(size_t bytes, unsigned flags, int node);
void *slabmalloc_kzalloc_node(size_t bytes, unsigned flags, int node);

/*
 * P's contents in a block of BYTES, which may be P itself. P NULL: as kmalloc. BYTES 0: frees P and returns NULL. With
 * ZERO, what is beyond the old block's ksize reads zero: so all that was never written does, if the block was always
 * allocated and resized with it and never shrunk. NULL with ENOMEM: P is unchanged. DMA is not kept. (Linux: krealloc)
 */
void *slabmalloc_krealloc(const void *p, size_t bytes, unsigned flags);

/* Gives P back; NULL is ignored, errno is kept. What is no live block ends the process as slabmalloc_free does. */
void slabmalloc_kfree(const void *p);

/* As kfree, after clearing all of ksize in a way no compiler leaves out. (Linux: kfree_sensitive) */
void slabmalloc_kfree_sensitive(const void *p);

/* Bytes that may be used at P, at least as many as asked for; 0 for NULL. */
size_t slabmalloc_ksize(const void *p);

/*
 * kvmalloc is for blocks that need not be physically contiguous. No block here is, so it is kmalloc, without a limit to
 * the size; kvfree is kfree. (Linux: kvmalloc, kvfree)
 */
void *slabmalloc_kvmalloc(size_t bytes, unsigned flags);
void *slabmalloc_kvmalloc_node(size_t bytes, unsigned flags, int node);
void slabmalloc_kvfree(const void *p);

/*
 * The search: object size of the cache that serves a request of BYTES. 0: none does, the request gets whole pages, or
 * malloc is SLOB (SLABMALLOC_CONF=heap:slob), which has no caches.
 */
size_t slabmalloc_kmalloc_cache_size(size_t bytes);

/* Its name, "kmalloc-N", into NAME of NAME_BYTES, cut if need be; empty if there is none. Returns the name's length. */
size_t slabmalloc_kmalloc_cache_name(size_t bytes, char *name, size_t name_bytes);

#ifdef __cplusplus
}
#endif

#endif
