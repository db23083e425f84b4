/*
 * micro_batches.c: 1000 mallocs, then 1000 frees: last in first out, first in first out, in random order. An item is
 * one malloc and one free. Objects are not touched, so what shows is the allocator's own traffic: refill and drain.
 */
#include "micro.h"

enum { BATCH = 1000 };

enum batch_order { BATCH_LIFO, BATCH_FIFO, BATCH_RANDOM };

static void batch_order_fill(size_t *order, enum batch_order kind) {
    uint64_t random = 88172645463325252u;
    micro_shuffle(order, BATCH, &random);
    for (size_t i = 0; i < BATCH && kind != BATCH_RANDOM; i++)
        order[i] = kind == BATCH_LIFO ? BATCH - 1 - i : i;
}

static void batch_run(struct gbench_state *state, enum batch_order kind) {
    size_t size = (size_t)gbench_arg(state, 0);
    void *blocks[BATCH];
    size_t order[BATCH];
    batch_order_fill(order, kind);
    for (struct gbench_loop loop = gbench_start(state, 1); gbench_next(&loop);) {
        for (size_t i = 0; i < BATCH; i++)
            blocks[i] = malloc(size);
        gbench_keep(blocks);
        for (size_t i = 0; i < BATCH; i++)
            free(blocks[order[i]]);
    }
    gbench_set_items(state, gbench_iterations(state) * BATCH);
}

static void batch_run_lifo(struct gbench_state *state) {
    batch_run(state, BATCH_LIFO);
}

static void batch_run_fifo(struct gbench_state *state) {
    batch_run(state, BATCH_FIFO);
}

static void batch_run_random(struct gbench_state *state) {
    batch_run(state, BATCH_RANDOM);
}

void micro_add_batches(void) {
    static const int64_t sizes[] = {16, 64, 256, 1024, 8192};
    micro_add_args(gbench_add("batch_lifo", batch_run_lifo), sizes, MICRO_COUNT(sizes));
    micro_add_args(gbench_add("batch_fifo", batch_run_fifo), sizes, MICRO_COUNT(sizes));
    micro_add_args(gbench_add("batch_random", batch_run_random), sizes, MICRO_COUNT(sizes));
    struct gbench_case *threaded = gbench_add("batch_random_threads", batch_run_random);
    gbench_case_arg(threaded, 64);
    micro_add_thread_counts(threaded);
}
