/*
 * malloc.c: the malloc family. ABI, argument checks and errno; all policy is behind heap.h.
 *
 * Sources: ISO C17 7.22.3, C23 7.24.3 (free_sized, free_aligned_sized), POSIX.1-2024 (posix_memalign, free keeps
 * errno, reallocarray), the glibc manual (memalign, valloc, pvalloc, cfree, realloc(p, 0)).
 */
#include <errno.h>

#include "family.h"
#include "heap.h"

#define EXPORT __attribute__((visibility("default")))
#define EXPORT_AS(name) __attribute__((visibility("default"), alias(#name)))

/* Declared here, not by <stdlib.h> and <malloc.h>: their attributes and inline forms are for callers. */
void *malloc(size_t bytes);
void free(void *p);
void *calloc(size_t count, size_t bytes);
void *realloc(void *p, size_t bytes);
void *reallocarray(void *p, size_t count, size_t bytes);
void *memalign(size_t align, size_t bytes);
void *aligned_alloc(size_t align, size_t bytes);
int posix_memalign(void **out, size_t align, size_t bytes);
void *valloc(size_t bytes);
void *pvalloc(size_t bytes);
size_t malloc_usable_size(void *p);
void cfree(void *p);
void free_sized(void *p, size_t bytes);
void free_aligned_sized(void *p, size_t align, size_t bytes);

EXPORT void *malloc(size_t bytes) {
    return heap_malloc(bytes);
}

EXPORT void free(void *p) {
    heap_free(p);
}

EXPORT void *calloc(size_t count, size_t bytes) {
    return heap_calloc(count, bytes);
}

EXPORT void *realloc(void *p, size_t bytes) {
    if (!p) {
        return heap_malloc(bytes);
    }
    if (!bytes) {
        heap_free(p);
        return NULL;
    }
    return heap_realloc(p, bytes);
}

EXPORT void *reallocarray(void *p, size_t count, size_t bytes) {
    size_t total;
    if (__builtin_mul_overflow(count, bytes, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(p, total);
}

/* glibc rounds odd alignments up to a power of two; above half the address space none is left. */
EXPORT void *memalign(size_t align, size_t bytes) {
    if (align > SIZE_MAX / 2 + 1) {
        errno = EINVAL;
        return NULL;
    }
    size_t rounded = 1;
    while (rounded < align) {
        rounded *= 2;
    }
    return heap_aligned(rounded, bytes);
}

EXPORT void *aligned_alloc(size_t align, size_t bytes) {
    if (!is_pow2(align)) {
        errno = EINVAL;
        return NULL;
    }
    return heap_aligned(align, bytes);
}

/* *OUT and errno stay as they are on failure. */
EXPORT int posix_memalign(void **out, size_t align, size_t bytes) {
    if (!is_pow2(align) || align % sizeof(void *)) {
        return EINVAL;
    }
    int saved = errno;
    void *p = heap_aligned(align, bytes);
    errno = saved;
    if (!p) {
        return ENOMEM;
    }
    *out = p;
    return 0;
}

EXPORT void *valloc(size_t bytes) {
    return heap_aligned(PAGE_BYTES, bytes);
}

EXPORT void *pvalloc(size_t bytes) {
    if (bytes > SIZE_MAX - PAGE_BYTES) {
        errno = ENOMEM;
        return NULL;
    }
    return heap_aligned(PAGE_BYTES, round_up(bytes, PAGE_BYTES));
}

EXPORT size_t malloc_usable_size(void *p) {
    return heap_usable(p);
}

EXPORT void cfree(void *p) {
    heap_free(p);
}

/* The size is the caller's promise; what the page map says needs no help from it. */
EXPORT void free_sized(void *p, size_t bytes) {
    (void)bytes;
    heap_free(p);
}

EXPORT void free_aligned_sized(void *p, size_t align, size_t bytes) {
    (void)align;
    (void)bytes;
    heap_free(p);
}

void *family_new(size_t bytes) {
    if (likely(bytes <= SLAB_MAX)) {
        void *p = magazine_pop(bytes);
        if (likely(p != NULL)) {
            return p;
        }
    }
    void *p = heap_malloc_slow(bytes);
    return likely(p != NULL) ? p : new_failed(bytes);
}

void *family_new_aligned(size_t bytes, size_t align) {
    return is_pow2(align) ? heap_aligned(align, bytes) : NULL;
}

void family_delete(void *p) {
    heap_free(p);
}

/* The names under which glibc itself and some programs reach past the public ones. */
void *__libc_malloc(size_t bytes) EXPORT_AS(malloc);
void __libc_free(void *p) EXPORT_AS(free);
void *__libc_calloc(size_t count, size_t bytes) EXPORT_AS(calloc);
void *__libc_realloc(void *p, size_t bytes) EXPORT_AS(realloc);
void *__libc_reallocarray(void *p, size_t count, size_t bytes) EXPORT_AS(reallocarray);
void *__libc_memalign(size_t align, size_t bytes) EXPORT_AS(memalign);
void *__libc_valloc(size_t bytes) EXPORT_AS(valloc);
void *__libc_pvalloc(size_t bytes) EXPORT_AS(pvalloc);
int __posix_memalign(void **out, size_t align, size_t bytes);
EXPORT int __posix_memalign(void **out, size_t align, size_t bytes) {
    return posix_memalign(out, align, bytes);
}
