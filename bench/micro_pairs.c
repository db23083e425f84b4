/* micro_pairs.c: malloc followed by free of the same block, by size and by number of threads: the fast path alone. */
#include "micro.h"

static void pairs_run(struct gbench_state *state) {
    size_t size = (size_t)gbench_arg(state, 0);
    for (struct gbench_loop loop = gbench_start(state, 1024); gbench_next(&loop);) {
        void *p = malloc(size);
        gbench_keep(p);
        free(p);
    }
    gbench_set_items(state, gbench_iterations(state));
}

/* Sizes change from call to call, so that neither branch predictor nor one magazine does all the work. */
static void pairs_run_mixed(struct gbench_state *state) {
    uint64_t random = 88172645463325252u + (uint64_t)gbench_thread_index(state);
    for (struct gbench_loop loop = gbench_start(state, 1024); gbench_next(&loop);) {
        void *p = malloc(8 + micro_below(&random, (uint64_t)gbench_arg(state, 0)));
        gbench_keep(p);
        free(p);
    }
    gbench_set_items(state, gbench_iterations(state));
}

void micro_add_pairs(void) {
    static const int64_t sizes[] = {16, 32, 64, 128, 256, 1024, 4096, 8192, 16384, 32768, 65536, 262144, 1048576};
    static const int64_t threaded_sizes[] = {16, 256, 4096};
    static const int64_t mixed_limits[] = {128, 1024, 32768};
    micro_add_args(gbench_add("pair", pairs_run), sizes, MICRO_COUNT(sizes));
    micro_add_args(gbench_add("pair_mixed", pairs_run_mixed), mixed_limits, MICRO_COUNT(mixed_limits));
    struct gbench_case *threaded = gbench_add("pair_threads", pairs_run);
    micro_add_args(threaded, threaded_sizes, MICRO_COUNT(threaded_sizes));
    micro_add_thread_counts(threaded);
}
