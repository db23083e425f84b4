/*
 * slob.h: explicit heaps for small footprints, the kernel's SLOB.
 *
 * A heap keeps small blocks in pages of its own by three lists (less than 256 bytes, less than 1 KiB, less than a
 * page), takes the first free block that fits, and merges free neighbours; each block has a header of four bytes, but
 * for sized ones (slabmalloc_slob_alloc_sized), which are in pages of their own. A page is given back as soon as
 * nothing in it is allocated. Blocks that do not fit into a page are page runs.
 *
 * Choose it where resident memory counts and speed does not: one lock serves a whole heap, and an allocation may look
 * at several pages. SLABMALLOC_CONF=heap:slob makes malloc itself such a heap.
 *
 * All functions are thread safe, also on one heap; none may be called from a signal handler. Blocks belong to the heap
 * they came from: free and slabmalloc_free abort when given one. (Linux 6.3 mm/slob.c is the model.)
 */
#ifndef SLABMALLOC_SLOB_API_H
#define SLABMALLOC_SLOB_API_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct slabmalloc_slob;

/*
 * A new heap without pages. The caller owns it until slabmalloc_slob_destroy. NULL with errno ENOMEM: no memory.
 */
struct slabmalloc_slob *slabmalloc_slob_create(void);

/* Frees every block of HEAP and HEAP itself; NULL is ignored. No other thread may use it any more. */
void slabmalloc_slob_destroy(struct slabmalloc_slob *heap);

/*
 * BYTES of memory aligned to 8 bytes, contents undefined; 0 bytes give a unique pointer. The caller owns it until
 * slabmalloc_slob_free or the heap's end. NULL with ENOMEM: no memory, or more than PTRDIFF_MAX asked for.
 */
void *slabmalloc_slob_alloc(struct slabmalloc_slob *heap, size_t bytes);

/* As slabmalloc_slob_alloc, zeroed. */
void *slabmalloc_slob_zalloc(struct slabmalloc_slob *heap, size_t bytes);

/* As slabmalloc_slob_alloc, aligned to ALIGN, a power of two of any size; else NULL with EINVAL. */
void *slabmalloc_slob_aligned(struct slabmalloc_slob *heap, size_t align, size_t bytes);

/*
 * P's contents in a block of BYTES, P itself if there is room. P NULL: as slabmalloc_slob_alloc. BYTES 0: frees P and
 * returns NULL. NULL with ENOMEM: P is unchanged and still the caller's. A larger alignment than 8 is not kept.
 */
void *slabmalloc_slob_realloc(struct slabmalloc_slob *heap, void *p, size_t bytes);

/*
 * Gives P back to HEAP; NULL is ignored, errno is kept. A P that is not the start of a live block of HEAP ends the
 * process with one line on stderr: always if it is free already and its page was not given out again, else wherever
 * its header shows it.
 */
void slabmalloc_slob_free(struct slabmalloc_slob *heap, void *p);

/*
 * Sized blocks: as slabmalloc_slob_alloc and slabmalloc_slob_free for callers that know the size of what they free, as
 * the kernel's object caches do. Blocks of less than a page have no header then: BYTES are rounded up to a multiple
 * of 8, and that is all. BYTES must be the same in both calls. A wrong size, or freeing twice, ends the process where
 * it collides with free memory or the page's end, else it is not noticed. A sized block cannot be given to
 * slabmalloc_slob_free, _realloc or _size, nor others to _free_sized: the process ends. errno is kept by freeing.
 */
void *slabmalloc_slob_alloc_sized(struct slabmalloc_slob *heap, size_t bytes);
void slabmalloc_slob_free_sized(struct slabmalloc_slob *heap, void *p, size_t bytes);

/* Bytes that may be used at P, at least as many as asked for; 0 for NULL. */
size_t slabmalloc_slob_size(struct slabmalloc_slob *heap, const void *p);

/* NULL if the heap's invariants hold, else a sentence naming the first that does not. For tests; slow. */
const char *slabmalloc_slob_check(struct slabmalloc_slob *heap);

/* Bytes unless the name says otherwise. Exact when no other thread uses the heap meanwhile. */
struct slabmalloc_slob_stats {
    size_t held_bytes;   /* pages of small blocks, and large blocks: what the heap has from the page allocator */
    size_t used_bytes;   /* allocated of these, headers included */
    size_t blocks;       /* number of live small blocks */
    size_t pages[3];     /* pages with room in the lists of < 256, < 1024 and < PAGE_SIZE bytes */
    size_t full_pages;   /* pages without room */
    size_t large_blocks; /* number of blocks of a page and more */
    size_t large_bytes;  /* their pages */
};

/* Fills *STATS. STATS_BYTES is sizeof *stats, so that later versions can add fields at the end. */
void slabmalloc_slob_stats(struct slabmalloc_slob *heap, struct slabmalloc_slob_stats *stats, size_t stats_bytes);

#ifdef __cplusplus
}
#endif

#endif
