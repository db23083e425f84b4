/*
 * slob_large.h: blocks of a SLOB heap that do not fit into one of its pages: page runs, mappings, runs of boot pages.
 *
 * Each has a node in the heap's list of large blocks, which lies in the heap itself (the kernel's bigblock list). The
 * struct page of the block's first page leads to the node.
 */
#ifndef SLABMALLOC_SLOB_LARGE_H
#define SLABMALLOC_SLOB_LARGE_H

#include "slob.h"

/* As slob_alloc. */
void *slob_large_alloc(struct slob *heap, size_t bytes, size_t align, bool zero);

/* P lies in the first page of a large block (its tag or struct page said so); anything but its start aborts. */
void slob_large_free(struct slob *heap, void *p);
size_t slob_large_pages(struct slob *heap, const void *p);

/* The block with room for BYTES, which are too many for a page, moved only by page tables; NULL: cannot. */
void *slob_large_resize(struct slob *heap, void *p, size_t bytes);

/* Copies the first BYTES at FROM, which is freed next, to TO. Malloc's heap gives long ones back piece by piece, so
 * that no two whole copies are ever resident. */
void slob_large_carry(const struct slob *heap, void *to, void *from, size_t bytes);

/* Boot pages that were taken for it go back to the kernel; false: refused, they stay dirty. */
bool slob_boot_return(uintptr_t pfn, size_t npages);

/* Names the first broken rule, else NULL. With the heap's lock. */
const char *slob_large_check(const struct slob *heap);

#endif
