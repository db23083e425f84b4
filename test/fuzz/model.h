/*
 * model.h: the shadow of the heap: what it handed out, and what must be true of that.
 *
 *   - No two live blocks share a byte.
 *   - A block has the alignment asked for, can be used as far as usable_size says, and keeps what was written to it
 *     until it is freed, through realloc too. What calloc gives is zero.
 *   - The heap's totals are those of the live blocks.
 *
 * Blocks up to 32 KiB are written and read whole. Larger ones at their ends and at every multiple of 64 KiB in the
 * address space: at fixed addresses, so that what one block left there the next one finds.
 *
 * All functions are thread safe; what is wrong ends the process with one line on stderr and the abort signal.
 */
#ifndef TEST_FUZZ_MODEL_H
#define TEST_FUZZ_MODEL_H

#include "base.h"
#include "slabmalloc/slabmalloc.h"

#define MODEL_BLOCKS 1024

struct live {
    char *p;
    size_t usable;
    size_t filled; /* bytes from P that have the pattern of SEED */
    uint64_t seed;
};

/* P, not NULL, was allocated for BYTES; it joins the live blocks. */
struct live *model_add(void *p, size_t bytes, size_t align, bool zeroed);

/* Everything is as it was written? */
void model_verify(const struct live *block);

/* Writes to every byte that usable_size allows. */
void model_use_all(struct live *block);

/* BLOCK is about to be freed or resized: verified, and no longer live; its address is the caller's to give away. */
void model_leave(struct live *block);

/* After model_leave: realloc moved the block to P, or refused (P is block->p, BYTES block->filled). Live again. */
void model_rejoin(struct live *block, void *p, size_t bytes);

/* After model_leave: freed. */
void model_forget(struct live *block);

size_t model_live_bytes(void);

/* The heap's totals, when no other thread is in it: what lies in remote magazines counts as used, unless EXACT. */
void model_compare(bool exact);

/* Ends the process. */
void model_fail(const char *file, int line, const char *what) __attribute__((noreturn));

#define HOLDS(cond) ((cond) ? (void)0 : model_fail(__FILE__, __LINE__, #cond))

/* slabmalloc_check() has nothing to say. */
void model_check_heap(void);

#endif
