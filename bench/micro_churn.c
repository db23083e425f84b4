/*
 * micro_churn.c: replace a random member of a live set. With the small set everything stays in cache; with 64 MiB every
 * free meets a cold object, which is where touching the object costs.
 */
#include "micro.h"

struct churn_set {
    void **blocks;
    size_t count;
};

static bool churn_fill(struct churn_set *set, size_t bytes, size_t size) {
    set->count = bytes / size;
    set->blocks = calloc(set->count, sizeof(*set->blocks));
    for (size_t i = 0; set->blocks != NULL && i < set->count; i++) {
        set->blocks[i] = malloc(size);
        if (set->blocks[i] == NULL)
            return false;
        memset(set->blocks[i], 1, size);
    }
    return set->blocks != NULL;
}

static void churn_empty(struct churn_set *set) {
    for (size_t i = 0; set->blocks != NULL && i < set->count; i++)
        free(set->blocks[i]);
    free(set->blocks);
}

/* Argument 0: KiB live in each thread; argument 1: size of a block. */
static void churn_run(struct gbench_state *state) {
    size_t size = (size_t)gbench_arg(state, 1);
    uint64_t random = 88172645463325252u + (uint64_t)gbench_thread_index(state);
    struct churn_set set;
    if (!churn_fill(&set, (size_t)gbench_arg(state, 0) << 10, size))
        gbench_skip(state, "out of memory");
    for (struct gbench_loop loop = gbench_start(state, 256); gbench_next(&loop);) {
        size_t i = micro_below(&random, set.count);
        free(set.blocks[i]);
        set.blocks[i] = malloc(size);
        gbench_keep(set.blocks[i]);
    }
    churn_empty(&set);
    gbench_set_items(state, gbench_iterations(state));
}

void micro_add_churn(void) {
    static const int64_t runs[][2] = {{64, 16},    {64, 64},    {64, 256},    {1024, 64},
                                      {65536, 16}, {65536, 64}, {65536, 1024}};
    static const int64_t threaded[2] = {1024, 64};
    struct gbench_case *bench = gbench_add("churn", churn_run);
    for (size_t i = 0; i < MICRO_COUNT(runs); i++)
        gbench_case_args(bench, runs[i], 2);
    bench = gbench_add("churn_threads", churn_run);
    gbench_case_args(bench, threaded, 2);
    micro_add_thread_counts(bench);
}
