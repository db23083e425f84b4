/*
 * slabmalloc.h: the interface of libslabmalloc for programs that link it.
 *
 * The library also exports the malloc family, so a program that links or preloads it need not call anything here: the
 * functions below are the same heap under names of their own, and what malloc has no name for.
 *
 * All functions are thread safe. None may be called from a signal handler. Memory from any function may be freed by
 * any thread with slabmalloc_free or free.
 */
#ifndef SLABMALLOC_SLABMALLOC_H
#define SLABMALLOC_SLABMALLOC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SLABMALLOC_VERSION_MAJOR 0
#define SLABMALLOC_VERSION_MINOR 1
#define SLABMALLOC_VERSION_PATCH 0

/* "MAJOR.MINOR.PATCH" of the library that is loaded. Static storage. */
const char *slabmalloc_version(void);

/*
 * BYTES of memory, aligned to 16 bytes at least, contents undefined; 0 bytes give a unique pointer that can be freed.
 * The caller owns it until slabmalloc_free. NULL with errno ENOMEM: no memory, or more than PTRDIFF_MAX asked for.
 * (ISO C17 7.22.3.4)
 */
void *slabmalloc_malloc(size_t bytes);

/* COUNT objects of BYTES each, zeroed. NULL with ENOMEM, also when the product overflows. (C17 7.22.3.2) */
void *slabmalloc_calloc(size_t count, size_t bytes);

/*
 * P's contents in a block of BYTES, which may be P itself. P NULL: as slabmalloc_malloc. BYTES 0: frees P and returns
 * NULL. NULL with ENOMEM: P is unchanged and still owned by the caller. Large blocks are moved by page tables, not by
 * copying. (C17 7.22.3.5; glibc's choice for 0 bytes)
 */
void *slabmalloc_realloc(void *p, size_t bytes);

/*
 * BYTES aligned to ALIGN, a power of two of any size. NULL with EINVAL: ALIGN is not a power of two; ENOMEM: no memory.
 * (C17 7.22.3.1, without its demand that BYTES be a multiple of ALIGN)
 */
void *slabmalloc_aligned_alloc(size_t align, size_t bytes);

/*
 * Gives P back; NULL is ignored. errno is kept. A P that is not the start of a live block is undefined behaviour: the
 * process aborts with one line on stderr wherever that is noticed. (C17 7.22.3.3, POSIX.1-2024 free)
 */
void slabmalloc_free(void *p);

/* Bytes that may be used at P, at least as many as asked for; 0 for NULL. All of them may be written, and
 * realloc keeps them. */
size_t slabmalloc_usable_size(const void *p);

/*
 * Gives free memory back to the kernel: this thread's magazines, empty slabs of all threads, cached mappings,
 * free pages. Returns 1 if any memory was given back, else 0. Takes time in proportion to the free memory.
 */
int slabmalloc_trim(void);

/*
 * Totals in bytes unless the name says otherwise. Exact when no other thread allocates meanwhile. Where malloc is SLOB
 * (SLABMALLOC_CONF=heap:slob), its pages of small blocks count as slabs, and its first 4 MiB as a zone's pages.
 */
struct slabmalloc_stats {
    size_t mapped_bytes;         /* address space held for user memory: zones and mappings */
    size_t metadata_bytes;       /* held for the library's own structures, page map not included */
    size_t used_bytes;           /* in blocks the program holds: slab_used + run + mapping + page */
    size_t slab_bytes;           /* pages of slabs */
    size_t slab_used_bytes;      /* objects out of them, by class size */
    size_t magazine_bytes;       /* objects waiting in magazines */
    size_t run_bytes;            /* live page runs */
    size_t run_cached_bytes;     /* freed runs kept by threads */
    size_t mapping_bytes;        /* live own mappings */
    size_t mapping_cached_bytes; /* freed mappings kept for reuse */
    size_t zone_bytes;           /* pages of all zones */
    size_t zone_free_bytes;      /* of these, in free_area lists */
    size_t zone_dirty_bytes;     /* of these, pages that may be resident */
    size_t purged_bytes;         /* given back to the kernel so far */
    size_t slabs;                /* number */
    size_t mappings;             /* number of live own mappings */
    size_t owners_active;        /* threads with a cache */
    size_t lock_waits;           /* times a thread waited for a lock of the library */
    size_t page_bytes;           /* live blocks of the page allocator (pages.h) */
    size_t page_cached_bytes;    /* freed ones kept by threads */
    /* Of what is in use (zone_bytes - zone_free_bytes + mapping_bytes), pages on memory that: */
    size_t thp_bytes;        /* is advised for transparent huge pages and was not broken up since */
    size_t hugetlb_bytes;    /* is pages of 2 MiB of the hugetlb pool */
    size_t hugetlb_1g_bytes; /* is pages of 1 GiB of it */
};

/* Fills *STATS. STATS_BYTES is sizeof *stats, so that later versions can add fields at the end. */
void slabmalloc_stats(struct slabmalloc_stats *stats, size_t stats_bytes);

/* NULL if the heap's invariants hold, else a sentence naming the first that does not. For tests; slow. */
const char *slabmalloc_check(void);

#ifdef __cplusplus
}
#endif

#endif
