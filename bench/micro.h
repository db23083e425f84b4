/*
 * micro.h: what the files of the micro-benchmark program share.
 *
 * Each micro_*.c measures one kind of call under whatever malloc is preloaded and adds its cases in one function. A
 * micro-benchmark explains a result; whether an allocator is better is asked of whole programs (bench/compare).
 */
#ifndef SLABMALLOC_BENCH_MICRO_H
#define SLABMALLOC_BENCH_MICRO_H

#include "gbench_shim.h"

#include <stdlib.h>
#include <string.h>

void micro_add_pairs(void);
void micro_add_batches(void);
void micro_add_churn(void);
void micro_add_realloc(void);
void micro_add_special(void);
void micro_add_cross(void);
void micro_add_threads(void);
void micro_add_large(void);
void micro_add_pages(void);
void micro_add_kmem(void);

#define MICRO_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* xorshift64 (Marsaglia 2003): cheap enough to stand inside a measured loop. */
static inline uint64_t micro_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static inline uint64_t micro_below(uint64_t *state, uint64_t bound) {
    return (micro_random(state) >> 32) * bound >> 32;
}

/* Fisher and Yates. */
static inline void micro_shuffle(size_t *order, size_t count, uint64_t *random) {
    for (size_t i = 0; i < count; i++)
        order[i] = i;
    for (size_t i = count - 1; i > 0; i--) {
        size_t j = micro_below(random, i + 1), swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
}

static inline void micro_add_args(struct gbench_case *bench, const int64_t *values, size_t count) {
    for (size_t i = 0; i < count; i++)
        gbench_case_arg(bench, values[i]);
}

/* 1, 2, 4 and 8 threads. */
static inline void micro_add_thread_counts(struct gbench_case *bench) {
    for (int threads = 1; threads <= 8; threads *= 2)
        gbench_case_threads(bench, threads);
}

#endif
