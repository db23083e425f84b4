/*
 * slob_page.h: one page of a SLOB heap: blocks with headers, address-ordered first fit, coalescing.
 *
 *      byte 0    4      8             8(k+1)
 *           |    | head | payload ... | head | payload ... | head | free ...          |4 bytes|
 *                 block 0               block k
 *
 * A unit is 8 bytes. Block k begins at byte 8k + 4 with a header of two 16-bit words, so payloads lie at multiples of
 * 8, and of 16 where blocks begin at odd units and have even sizes (a page's *step* is 2 then, else 1).
 *
 *      size   units of the block, header included; the top bit says that it is allocated
 *      next   allocated: the unit where the following block begins, which is k + size again, so that a header can be
 *             told from anything else; free: the next free block of the page, 0: none
 *
 * Free blocks of a page are linked in the order of their addresses, and two of them never touch. What the heap knows
 * of a page without looking into it (slob_page) lies in its struct page.
 *
 * A page of *sized* blocks has headers in its free blocks only: who frees says how long the block is. Its blocks begin
 * at byte 8k, where their payload does, so its grid begins four bytes before the page (slob_grid), and all 512 units
 * are blocks. Functions that take a BASE take slob_grid's.
 *
 * No lock: the heap's covers its pages.
 */
#ifndef SLABMALLOC_SLOB_PAGE_H
#define SLABMALLOC_SLOB_PAGE_H

#include "base.h"
#include "pagemap.h"

#define SLOB_UNIT 8
#define SLOB_HEAD 4
#define SLOB_END (PAGE_BYTES / SLOB_UNIT - 1)   /* the unit behind the last block */
#define SLOB_SIZED_END (PAGE_BYTES / SLOB_UNIT) /* the same of a page of sized blocks */
#define SLOB_NONE 0x3fffu                       /* no block */

struct slob_page {
    uintptr_t next, prev; /* pfn of the neighbours in a list of the heap */
    unsigned list;        /* the heap's list it belongs to while it has room */
    unsigned heap;        /* id of its heap */
    unsigned head;        /* first free block; SLOB_NONE: the page is full */
    unsigned nfree;       /* free units */
    unsigned longest;     /* units of its longest free block */
};

/* As it lies in a struct page; the first word is read by who looks at a neighbour. */
struct slob_page slob_page_load(const struct page *page);
void slob_page_store(struct page *page, const struct slob_page *sp);

/* What a search looks at: one word of a struct page. */
struct slob_hint {
    uintptr_t next;
    unsigned longest;
};
struct slob_hint slob_page_hint(const struct page *page);

/* The first unit of a page's first block. */
static inline unsigned slob_first(unsigned step) {
    return step - 1;
}

static inline char *slob_payload(void *base, unsigned block) {
    return (char *)base + (size_t)(block + 1) * SLOB_UNIT;
}

/* Where block 0 of the page at BASE would have begun, less four bytes. */
static inline void *slob_grid(void *base, bool sized) {
    return (void *)((uintptr_t)base - (sized ? SLOB_HEAD : 0));
}

/* All of the page is one free block. */
void slob_page_init(struct slob_page *sp, void *base, unsigned step);
void slob_page_init_sized(struct slob_page *sp, void *base);

static inline bool slob_page_empty(const struct slob_page *sp, unsigned step) {
    return sp->nfree == SLOB_END - slob_first(step);
}

/* The first free block of UNITS whose payload lies at a multiple of ALIGN units; SLOB_NONE: there is none. */
unsigned slob_page_take(struct slob_page *sp, void *base, unsigned units, unsigned align);

enum slob_verdict { SLOB_GOOD, SLOB_FREE_ALREADY, SLOB_NO_BLOCK };

/* Is BLOCK, any number, an allocated block of the page? */
enum slob_verdict slob_page_judge(const struct slob_page *sp, const void *base, unsigned block);

/* Is BLOCK, any number, of UNITS, any number but 0, an allocated block of a page of sized ones, or a part of such? */
enum slob_verdict slob_page_judge_sized(const struct slob_page *sp, const void *base, unsigned block, size_t units);

/* Units of an allocated block. */
unsigned slob_block_units(const void *base, unsigned block);

/* Frees an allocated block. */
void slob_page_give(struct slob_page *sp, void *base, unsigned block);
void slob_page_give_sized(struct slob_page *sp, void *base, unsigned block, unsigned units);

/* Makes an allocated block UNITS long where it is; false: what follows is not free, nothing changed. */
bool slob_page_resize(struct slob_page *sp, void *base, unsigned block, unsigned units);

/* Names the first broken rule, else NULL. Adds the number of allocated blocks to *NBLOCKS. */
const char *slob_page_check(const struct slob_page *sp, const void *base, unsigned step, size_t *nblocks);

/* The same of a page of sized blocks, whose allocated ones cannot be told apart. */
const char *slob_page_check_sized(const struct slob_page *sp, const void *base);

#endif
