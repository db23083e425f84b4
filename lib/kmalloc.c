/* kmalloc.c: the kmalloc family over malloc's size classes; whole pages where a zone or another node is asked for. */
#include "slabmalloc/kmalloc.h"

#include <errno.h>
#include <string.h>

#include "heap.h"
#include "options.h"
#include "owner.h"
#include "pagemap.h"
#include "run.h"
#include "snapshot.h"
#include "zone.h"

#define API __attribute__((visibility("default")))

/* NOLINTNEXTLINE(misc-redundant-expression): two definitions in two headers */
_Static_assert(SLABMALLOC_KMALLOC_CACHE_MAX == SLAB_MAX, "the public limit is the size classes'");

static void *fail(int error) {
    errno = error;
    return NULL;
}

static bool wants_pages(unsigned flags, int node) {
    if (flags & SLABMALLOC_PAGE_DMA) {
        return true;
    }
    if (likely(node == SLABMALLOC_ANY_NODE)) {
        return false;
    }
    const struct owner *owner = heap_enter();
    return !owner || (unsigned)node != owner->node;
}

/* Size classes align powers of two by themselves. */
static void *plain(size_t bytes) {
    if (unlikely(options.slob) && is_pow2(bytes)) {
        return heap_aligned(min_size(bytes, PAGE_BYTES), bytes);
    }
    return heap_malloc(bytes);
}

/* All of the block that ksize will name reads zero, so that krealloc need clear nothing it cannot see. */
static void *zeroed(size_t bytes) {
    if (bytes <= SLAB_MAX && !options.slob) {
        return heap_calloc(1, sizeclass_bytes(sizeclass_of(bytes)));
    }
    if (bytes <= SLAB_MAX) {
        char *p = plain(bytes);
        return p ? memset(p, 0, heap_usable(p)) : NULL;
    }
    if (bytes > PTRDIFF_MAX - PAGE_BYTES) {
        return fail(ENOMEM);
    }
    size_t cleared = round_up(bytes, PAGE_BYTES);
    char *p = heap_calloc(1, cleared);
    if (p) {
        memset(p + cleared, 0, heap_usable(p) - cleared); /* a mapping may be longer than was asked for */
    }
    return p;
}

static inline void *allocate(size_t bytes, unsigned flags, int node) {
    if (unlikely(flags & ~SLABMALLOC_PAGE_ALL)) {
        return fail(EINVAL);
    }
    if (unlikely(wants_pages(flags, node))) {
        return slabmalloc_alloc_pages_exact_node(node, flags, max_size(bytes, 1));
    }
    return unlikely(flags & SLABMALLOC_PAGE_ZERO) ? zeroed(bytes) : plain(bytes);
}

API void *slabmalloc_kmalloc(size_t bytes, unsigned flags) {
    return allocate(bytes, flags, SLABMALLOC_ANY_NODE);
}

API void *slabmalloc_kzalloc(size_t bytes, unsigned flags) {
    return allocate(bytes, flags | SLABMALLOC_PAGE_ZERO, SLABMALLOC_ANY_NODE);
}

API void *slabmalloc_kmalloc_array(size_t n, size_t bytes, unsigned flags) {
    size_t total;
    return __builtin_mul_overflow(n, bytes, &total) ? fail(ENOMEM) : allocate(total, flags, SLABMALLOC_ANY_NODE);
}

API void *slabmalloc_kcalloc(size_t n, size_t bytes, unsigned flags) {
    return slabmalloc_kmalloc_array(n, bytes, flags | SLABMALLOC_PAGE_ZERO);
}

API void *slabmalloc_kmalloc_node(size_t bytes, unsigned flags, int node) {
    return allocate(bytes, flags, node);
}

API void *slabmalloc_kzalloc_node(size_t bytes, unsigned flags, int node) {
    return allocate(bytes, flags | SLABMALLOC_PAGE_ZERO, node);
}

static size_t block_pages(const void *p) {
    return pagemap_page(pointer_pfn(p))->link;
}

static bool is_block(const void *p) {
    return pagemap_tag(p) == TAG_BLOCK;
}

API size_t slabmalloc_ksize(const void *p) {
    return unlikely(is_block(p)) ? block_pages(p) << PAGE_SHIFT : heap_usable(p);
}

/* Callers hold blocks they never write to as pointers to const, and free them so. */
static void *unconst(const void *p) {
    return (void *)(uintptr_t)p;
}

API void slabmalloc_kfree(const void *p) {
    if (likely(magazine_push(unconst(p)))) {
        return;
    }
    if (unlikely(is_block(p))) {
        slabmalloc_free_pages_exact(unconst(p), block_pages(p) << PAGE_SHIFT);
    } else {
        heap_free_slow(unconst(p));
    }
}

API void slabmalloc_kfree_sensitive(const void *p) {
    if (p) {
        void *q = unconst(p);
        memset(q, 0, slabmalloc_ksize(q));
        __asm__ volatile("" : : "r"(q) : "memory"); /* somebody may look: the stores stay */
        slabmalloc_kfree(q);
    }
}

static void *move(void *p, size_t old_bytes, size_t bytes, unsigned flags) {
    void *to = allocate(bytes, flags, SLABMALLOC_ANY_NODE);
    if (to) {
        memcpy(to, p, min_size(old_bytes, bytes));
        slabmalloc_kfree(p);
    }
    return to;
}

/* SLOB resizes and moves without regard to alignment; whatever is no small block is page aligned. */
static bool slob_misplaces(const void *p, size_t usable, size_t bytes) {
    if (likely(!options.slob) || !is_pow2(bytes) || bytes >= PAGE_BYTES) {
        return false;
    }
    return bytes > usable || usable >= PAGE_BYTES || (uintptr_t)p & (bytes - 1);
}

API void *slabmalloc_krealloc(const void *p, size_t bytes, unsigned flags) {
    if (!p) {
        return allocate(bytes, flags, SLABMALLOC_ANY_NODE);
    }
    if (!bytes) {
        slabmalloc_kfree(p);
        return NULL;
    }
    if (flags & ~SLABMALLOC_PAGE_ALL) {
        return fail(EINVAL);
    }
    size_t usable = slabmalloc_ksize(p);
    if (is_block(p) || (flags & SLABMALLOC_PAGE_ZERO && bytes > usable)) {
        return bytes <= usable ? unconst(p) : move(unconst(p), usable, bytes, flags);
    }
    if (slob_misplaces(p, usable, bytes)) {
        return move(unconst(p), usable, bytes, flags);
    }
    return heap_realloc(unconst(p), bytes);
}

API void *slabmalloc_kvmalloc(size_t bytes, unsigned flags) {
    return allocate(bytes, flags, SLABMALLOC_ANY_NODE);
}

API void *slabmalloc_kvmalloc_node(size_t bytes, unsigned flags, int node) {
    return allocate(bytes, flags, node);
}

API void slabmalloc_kvfree(const void *p) {
    slabmalloc_kfree(p);
}

API size_t slabmalloc_kmalloc_cache_size(size_t bytes) {
    return bytes <= SLAB_MAX && !options.slob ? sizeclass_bytes(sizeclass_of(bytes)) : 0;
}

API size_t slabmalloc_kmalloc_cache_name(size_t bytes, char *name, size_t name_bytes) {
    if (!slabmalloc_kmalloc_cache_size(bytes)) {
        if (name_bytes) {
            *name = 0;
        }
        return 0;
    }
    char full[SNAPSHOT_NAME];
    snapshot_class_name(sizeclass_of(bytes), full);
    size_t length = strlen(full);
    if (name_bytes) {
        size_t kept = min_size(length, name_bytes - 1);
        memcpy(name, full, kept);
        name[kept] = 0;
    }
    return length;
}
