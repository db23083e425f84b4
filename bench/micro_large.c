/*
 * micro_large.c: 64 KiB to 8 MiB, the page allocator's sizes. "large_set" replaces random members of a table of mixed
 * sizes, which splits and coalesces; one byte of every page is written, or the kernel's work would not show.
 */
#include "micro.h"

enum { SET = 32, PAGE_BYTES = 4096 };

static void large_touch(char *block, size_t size) {
    for (size_t at = 0; at < size; at += PAGE_BYTES)
        ((volatile char *)block)[at] = 1;
}

static void large_run_pair(struct gbench_state *state) {
    size_t size = (size_t)gbench_arg(state, 0);
    for (struct gbench_loop loop = gbench_start(state, 1); gbench_next(&loop);) {
        char *p = malloc(size);
        if (p == NULL) {
            gbench_skip(state, "out of memory");
            return;
        }
        large_touch(p, size);
        free(p);
    }
    gbench_set_items(state, gbench_iterations(state));
}

/* Sizes from 64 KiB to the argument, log-uniform, not rounded to anything. */
static void large_run_set(struct gbench_state *state) {
    uint64_t random = 88172645463325252u + (uint64_t)gbench_thread_index(state);
    void *blocks[SET] = {NULL};
    for (struct gbench_loop loop = gbench_start(state, 1); gbench_next(&loop);) {
        size_t size =
            (size_t)65536 << micro_below(&random, (uint64_t)__builtin_ctzll((uint64_t)gbench_arg(state, 0) >> 16));
        size_t i = micro_below(&random, SET);
        size += micro_below(&random, size);
        free(blocks[i]);
        blocks[i] = malloc(size);
        if (blocks[i] == NULL) {
            gbench_skip(state, "out of memory");
            return;
        }
        large_touch(blocks[i], size);
    }
    for (size_t i = 0; i < SET; i++)
        free(blocks[i]);
    gbench_set_items(state, gbench_iterations(state));
}

void micro_add_large(void) {
    static const int64_t sizes[] = {64 << 10, 256 << 10, 1 << 20, 2 << 20, (2 << 20) + 65536, 8 << 20};
    static const int64_t limits[] = {256 << 10, 2 << 20, 8 << 20};
    micro_add_args(gbench_add("large_pair", large_run_pair), sizes, MICRO_COUNT(sizes));
    struct gbench_case *set = gbench_add("large_set", large_run_set);
    micro_add_args(set, limits, MICRO_COUNT(limits));
    gbench_case_threads(set, 1);
    gbench_case_threads(set, 2);
}
