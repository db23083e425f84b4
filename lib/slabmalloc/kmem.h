/*
 * kmem.h: the kernel's memory interfaces under the kernel's own names, for kernel-style code in user space.
 *
 * Opt-in: inline wrappers over kmem_cache.h, kmalloc.h and pages.h; the library exports none of these names, so it
 * cannot meet a program's own. Include it instead of linux/slab.h, linux/gfp.h, linux/mm.h, linux/vmalloc.h and
 * linux/mempool.h. What differs from the kernel:
 *
 *   struct page   is opaque, and its address is that of the page itself: page_address and virt_to_page cost nothing.
 *   GFP_ATOMIC    is NOWAIT for alloc_pages: no system call. kmalloc and caches may make one.
 *   PAGE_SHIFT    12, unless defined before for a library that was built with another --with-page-shift.
 *   kmalloc(0)    is a pointer of its own, not ZERO_SIZE_PTR.
 *   missing       __GFP_NOFAIL, SLAB_TYPESAFE_BY_RCU, SLAB_CACHE_DMA: nothing here can keep what they promise.
 *
 * Errors: NULL, or 0 for addresses as numbers; errno says why. Ownership and thread safety are those of the headers
 * beneath. (Linux 6: include/linux/slab.h, gfp_types.h, mm.h, mempool.h)
 */
#ifndef SLABMALLOC_KMEM_H
#define SLABMALLOC_KMEM_H

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "kmalloc.h"
#include "kmem_cache.h"
#include "pages.h"

/* --- Flags of a request --- */

typedef unsigned gfp_t;

#define __GFP_DMA SLABMALLOC_PAGE_DMA
#define __GFP_HIGHMEM SLABMALLOC_PAGE_HIGHMEM
#define __GFP_ZERO SLABMALLOC_PAGE_ZERO
#define __GFP_NORETRY SLABMALLOC_PAGE_NORETRY
#define __GFP_THISNODE SLABMALLOC_PAGE_THISNODE
#define __GFP_NOWARN 0u
#define __GFP_ACCOUNT 0u
#define __GFP_COMP 0u
#define __GFP_RETRY_MAYFAIL 0u
#define GFP_KERNEL 0u
#define GFP_KERNEL_ACCOUNT 0u
#define GFP_NOIO 0u
#define GFP_NOFS 0u
#define GFP_USER 0u
#define GFP_HIGHUSER __GFP_HIGHMEM
#define GFP_DMA __GFP_DMA
#define GFP_NOWAIT SLABMALLOC_PAGE_NOWAIT
#define GFP_ATOMIC SLABMALLOC_PAGE_NOWAIT

#define NUMA_NO_NODE SLABMALLOC_ANY_NODE

/* --- kmalloc --- */

#define KMALLOC_MAX_CACHE_SIZE SLABMALLOC_KMALLOC_CACHE_MAX
#define ZERO_OR_NULL_PTR(p) (!(p))

static inline void *kmalloc(size_t size, gfp_t flags) {
    return slabmalloc_kmalloc(size, flags);
}

static inline void *kzalloc(size_t size, gfp_t flags) {
    return slabmalloc_kzalloc(size, flags);
}

static inline void *kmalloc_array(size_t n, size_t size, gfp_t flags) {
    return slabmalloc_kmalloc_array(n, size, flags);
}

static inline void *kcalloc(size_t n, size_t size, gfp_t flags) {
    return slabmalloc_kcalloc(n, size, flags);
}

static inline void *kmalloc_node(size_t size, gfp_t flags, int node) {
    return slabmalloc_kmalloc_node(size, flags, node);
}

static inline void *kzalloc_node(size_t size, gfp_t flags, int node) {
    return slabmalloc_kzalloc_node(size, flags, node);
}

/* 0 bytes give a pointer of its own in P's place, as kmalloc(0) does: NULL always means that P is still the caller's.
 */
static inline void *krealloc(const void *p, size_t size, gfp_t flags) {
    if (!p || size) {
        return slabmalloc_krealloc(p, size, flags);
    }
    void *empty = slabmalloc_kmalloc(0, flags);
    if (empty) {
        slabmalloc_kfree(p);
    }
    return empty;
}

static inline void *krealloc_array(const void *p, size_t n, size_t size, gfp_t flags) {
    size_t total;
    if (__builtin_mul_overflow(n, size, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    return krealloc(p, total, flags);
}

static inline void kfree(const void *p) {
    slabmalloc_kfree(p);
}

static inline void kfree_sensitive(const void *p) {
    slabmalloc_kfree_sensitive(p);
}

static inline size_t ksize(const void *p) {
    return slabmalloc_ksize(p);
}

static inline void *kmemdup(const void *from, size_t size, gfp_t flags) {
    void *p = slabmalloc_kmalloc(size, flags);
    return p ? memcpy(p, from, size) : NULL;
}

/* NULL gives NULL. */
static inline char *kstrdup(const char *text, gfp_t flags) {
    return text ? (char *)kmemdup(text, strlen(text) + 1, flags) : NULL;
}

static inline char *kstrndup(const char *text, size_t most, gfp_t flags) {
    size_t length = text ? strnlen(text, most) : 0;
    char *p = text ? (char *)slabmalloc_kmalloc(length + 1, flags) : NULL;
    if (p) {
        memcpy(p, text, length);
        p[length] = 0;
    }
    return p;
}

static inline void *kvmalloc(size_t size, gfp_t flags) {
    return slabmalloc_kvmalloc(size, flags);
}

static inline void *kvzalloc(size_t size, gfp_t flags) {
    return slabmalloc_kvmalloc(size, flags | __GFP_ZERO);
}

static inline void *kvmalloc_node(size_t size, gfp_t flags, int node) {
    return slabmalloc_kvmalloc_node(size, flags, node);
}

static inline void *kvmalloc_array(size_t n, size_t size, gfp_t flags) {
    return slabmalloc_kmalloc_array(n, size, flags);
}

static inline void *kvcalloc(size_t n, size_t size, gfp_t flags) {
    return slabmalloc_kcalloc(n, size, flags);
}

static inline void kvfree(const void *p) {
    slabmalloc_kvfree(p);
}

/* Whole pages; 0 bytes: NULL. */
static inline void *vmalloc(size_t size) {
    return slabmalloc_alloc_pages_exact(GFP_KERNEL, size);
}

static inline void *vzalloc(size_t size) {
    return slabmalloc_alloc_pages_exact(__GFP_ZERO, size);
}

static inline void vfree(const void *p) {
    slabmalloc_kvfree(p);
}

/* --- Object caches --- */

typedef unsigned slab_flags_t;

#define kmem_cache slabmalloc_cache /* struct kmem_cache */

#define SLAB_HWCACHE_ALIGN SLABMALLOC_CACHE_HWCACHE_ALIGN
#define SLAB_NO_MERGE SLABMALLOC_CACHE_NO_MERGE
#define SLAB_PANIC SLABMALLOC_CACHE_PANIC
#define SLAB_RED_ZONE SLABMALLOC_CACHE_RED_ZONE
#define SLAB_POISON SLABMALLOC_CACHE_POISON
#define SLAB_STORE_USER SLABMALLOC_CACHE_STORE_USER
#define SLAB_CONSISTENCY_CHECKS SLABMALLOC_CACHE_CONSISTENCY_CHECKS
#define SLAB_RECLAIM_ACCOUNT 0u
#define SLAB_ACCOUNT 0u
#define SLAB_TEMPORARY 0u

/* A constructor of the kernel's form: it cannot fail. */
static inline int kmem_construct(void *object, void *ctor) {
    ((void (*)(void *))(uintptr_t)ctor)(object);
    return 0;
}

static inline struct kmem_cache *kmem_cache_create(const char *name, unsigned size, unsigned align, slab_flags_t flags,
                                                   void (*ctor)(void *object)) {
    struct slabmalloc_cache_args args;
    memset(&args, 0, sizeof args);
    args.ctor = kmem_construct;
    args.private_data = (void *)(uintptr_t)ctor;
    return slabmalloc_cache_create(name, size, align, flags, ctor ? &args : NULL);
}

/* A cache of struct TYPE, named after it. */
#define KMEM_CACHE(type, flags) kmem_cache_create(#type, sizeof(struct type), __alignof__(struct type), (flags), NULL)

/* Objects that are still live keep the cache alive: see slabmalloc_cache_destroy. */
static inline void kmem_cache_destroy(struct kmem_cache *cache) {
    slabmalloc_cache_destroy(cache);
}

static inline void *kmem_cache_alloc(struct kmem_cache *cache, gfp_t flags) {
    return flags & __GFP_ZERO ? slabmalloc_cache_zalloc(cache) : slabmalloc_cache_alloc(cache);
}

/* The node is that of the calling thread. */
static inline void *kmem_cache_alloc_node(struct kmem_cache *cache, gfp_t flags, int node) {
    (void)node;
    return kmem_cache_alloc(cache, flags);
}

static inline void *kmem_cache_zalloc(struct kmem_cache *cache, gfp_t flags) {
    return kmem_cache_alloc(cache, flags | __GFP_ZERO);
}

static inline void kmem_cache_free(struct kmem_cache *cache, void *object) {
    slabmalloc_cache_free(cache, object);
}

/* N, or 0: then none was allocated. Zeroed ones come from no cache with a constructor, as kmem_cache_zalloc. */
static inline int kmem_cache_alloc_bulk(struct kmem_cache *cache, gfp_t flags, size_t n, void **objects) {
    if (!(flags & __GFP_ZERO)) {
        return (int)slabmalloc_cache_alloc_bulk(cache, n, objects);
    }
    for (size_t i = 0; i < n; i++) {
        objects[i] = slabmalloc_cache_zalloc(cache);
        if (!objects[i]) {
            slabmalloc_cache_free_bulk(cache, i, objects);
            return 0;
        }
    }
    return (int)n;
}

static inline void kmem_cache_free_bulk(struct kmem_cache *cache, size_t n, void **objects) {
    slabmalloc_cache_free_bulk(cache, n, objects);
}

static inline int kmem_cache_shrink(struct kmem_cache *cache) {
    slabmalloc_cache_shrink(cache);
    return 0;
}

static inline unsigned kmem_cache_size(struct kmem_cache *cache) {
    return (unsigned)slabmalloc_cache_size(cache);
}

/* --- Reserves --- */

typedef struct slabmalloc_mempool mempool_t;

static inline mempool_t *mempool_create_slab_pool(int min, struct kmem_cache *cache) {
    return slabmalloc_mempool_create(min > 0 ? (size_t)min : 0, cache);
}

/* Waits for an object unless the flags forbid to wait. */
static inline void *mempool_alloc(mempool_t *pool, gfp_t flags) {
    return flags & GFP_NOWAIT ? slabmalloc_mempool_alloc(pool) : slabmalloc_mempool_alloc_wait(pool);
}

static inline void mempool_free(void *object, mempool_t *pool) {
    slabmalloc_mempool_free(pool, object);
}

static inline void mempool_destroy(mempool_t *pool) {
    slabmalloc_mempool_destroy(pool);
}

/* --- Pages --- */

#ifndef PAGE_SHIFT
#define PAGE_SHIFT 12
#endif
#ifndef PAGE_SIZE
#define PAGE_SIZE (1UL << PAGE_SHIFT)
#endif
#ifndef PAGE_MASK
#define PAGE_MASK (~(PAGE_SIZE - 1))
#endif
#define PAGE_ALIGN(address) (((address) + PAGE_SIZE - 1) & PAGE_MASK)
#define MAX_ORDER SLABMALLOC_MAX_ORDER

struct page;

static inline void *page_address(const struct page *page) {
    return (void *)(uintptr_t)page;
}

static inline struct page *virt_to_page(const void *address) {
    return (struct page *)((uintptr_t)address & PAGE_MASK);
}

/* Numbers of virtual pages. */
static inline unsigned long page_to_pfn(const struct page *page) {
    return (uintptr_t)page >> PAGE_SHIFT;
}

static inline struct page *pfn_to_page(unsigned long pfn) {
    return (struct page *)(uintptr_t)(pfn << PAGE_SHIFT);
}

/* -1: not a page of the library's. */
static inline int page_to_nid(const struct page *page) {
    struct slabmalloc_page_info info;
    slabmalloc_page_info(page, &info, sizeof info);
    return info.node;
}

/* The smallest order of SIZE bytes, at least 1. */
static inline int get_order(unsigned long size) {
    int order = 0;
    for (unsigned long n = (size - 1) >> PAGE_SHIFT; n; n >>= 1) {
        order++;
    }
    return order;
}

static inline struct page *alloc_pages(gfp_t flags, unsigned order) {
    return (struct page *)slabmalloc_alloc_pages(flags, order);
}

static inline struct page *alloc_pages_node(int node, gfp_t flags, unsigned order) {
    return (struct page *)slabmalloc_alloc_pages_node(node, flags, order);
}

static inline struct page *alloc_page(gfp_t flags) {
    return alloc_pages(flags, 0);
}

static inline void __free_pages(struct page *page, unsigned order) {
    slabmalloc_free_pages(page, order);
}

static inline void __free_page(struct page *page) {
    slabmalloc_free_pages(page, 0);
}

static inline unsigned long __get_free_pages(gfp_t flags, unsigned order) {
    return (unsigned long)(uintptr_t)slabmalloc_alloc_pages(flags, order);
}

static inline unsigned long __get_free_page(gfp_t flags) {
    return __get_free_pages(flags, 0);
}

static inline unsigned long get_zeroed_page(gfp_t flags) {
    return __get_free_pages(flags | __GFP_ZERO, 0);
}

static inline unsigned long __get_dma_pages(gfp_t flags, unsigned order) {
    return __get_free_pages(flags | __GFP_DMA, order);
}

static inline void free_pages(unsigned long address, unsigned order) {
    slabmalloc_free_pages((void *)(uintptr_t)address, order);
}

static inline void free_page(unsigned long address) {
    free_pages(address, 0);
}

static inline void *alloc_pages_exact(size_t size, gfp_t flags) {
    return slabmalloc_alloc_pages_exact(flags, size);
}

static inline void free_pages_exact(void *address, size_t size) {
    slabmalloc_free_pages_exact(address, size);
}

#endif
