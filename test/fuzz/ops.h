/*
 * ops.h: single operations on the heap, each checked against the model. Any thread may do any of them at any time.
 */
#ifndef TEST_FUZZ_OPS_H
#define TEST_FUZZ_OPS_H

#include "base.h"

#define OP_THREADS 4

enum op_code {
    OP_MALLOC, /* allocating into a slot that has a block frees that instead */
    OP_CALLOC,
    OP_ALIGNED,
    OP_REALLOC,
    OP_FREE,
    OP_USE_ALL,
    OP_VERIFY,
    OP_MALLOC_MANY,
    OP_FREE_MANY,
    OP_TRIM,
    OP_CHECK,
    OP_COMPARE,
    OP_AGE,     /* the clock is moved for what decays */
    OP_FAULTS,  /* some of the next system calls are refused */
    OP_MIGRATE, /* the thread moves to another node */
    OP_EXIT,    /* the thread ends; another takes its place */
};

struct op {
    enum op_code code;
    unsigned thread;
    size_t slot;
    unsigned extra; /* 0..63 */
    uint8_t kind, detail;
};

/* Decodes SEQUENCE_OP_BYTES bytes. */
struct op op_decode(const uint8_t *bytes);

/* ORDERED: no other thread is in the heap. */
void op_do(const struct op *op, bool ordered);

/* Frees all blocks. */
void op_free_all(void);

/* From the first to the second faults can be planned; after it there are none. */
void op_faults_begin(void);
void op_faults_end(void);

#endif
