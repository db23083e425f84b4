/* micro_special.c: the other entry points: calloc, aligned_alloc, posix_memalign, malloc_usable_size, malloc(0),
 * free(NULL). */
#include "micro.h"

#include <malloc.h>

static void special_run_calloc(struct gbench_state *state) {
    size_t size = (size_t)gbench_arg(state, 0);
    for (struct gbench_loop loop = gbench_start(state, 64); gbench_next(&loop);) {
        char *p = calloc(1, size);
        gbench_keep(p);
        p[size / 2] = 1;
        free(p);
    }
    gbench_set_items(state, gbench_iterations(state));
}

/* Argument 0: alignment; argument 1: size. */
static void special_run_aligned(struct gbench_state *state) {
    size_t alignment = (size_t)gbench_arg(state, 0), size = (size_t)gbench_arg(state, 1);
    for (struct gbench_loop loop = gbench_start(state, 64); gbench_next(&loop);) {
        void *p = NULL;
        if (posix_memalign(&p, alignment, size) != 0) {
            gbench_skip(state, "out of memory");
            return;
        }
        gbench_keep(p);
        free(p);
    }
    gbench_set_items(state, gbench_iterations(state));
}

static void special_run_usable_size(struct gbench_state *state) {
    void *p = malloc((size_t)gbench_arg(state, 0));
    size_t sum = 0;
    for (struct gbench_loop loop = gbench_start(state, 1024); gbench_next(&loop);) {
        gbench_keep(p);
        sum += malloc_usable_size(p);
    }
    gbench_keep(&sum);
    free(p);
    gbench_set_items(state, gbench_iterations(state));
}

static void special_run_free_null(struct gbench_state *state) {
    void *null = NULL;
    for (struct gbench_loop loop = gbench_start(state, 1024); gbench_next(&loop);) {
        __asm__ volatile("" : "+r"(null));
        free(null);
    }
    gbench_set_items(state, gbench_iterations(state));
}

void micro_add_special(void) {
    static const int64_t calloc_sizes[] = {16, 256, 4096, 65536, 1 << 20, 16 << 20};
    static const int64_t aligned_runs[][2] = {{64, 64}, {64, 200}, {4096, 4096}, {4096, 100}, {65536, 65536}};
    micro_add_args(gbench_add("calloc", special_run_calloc), calloc_sizes, MICRO_COUNT(calloc_sizes));
    struct gbench_case *aligned = gbench_add("aligned", special_run_aligned);
    for (size_t i = 0; i < MICRO_COUNT(aligned_runs); i++)
        gbench_case_args(aligned, aligned_runs[i], 2);
    gbench_case_arg(gbench_add("usable_size", special_run_usable_size), 64);
    gbench_add("free_null", special_run_free_null);
}
