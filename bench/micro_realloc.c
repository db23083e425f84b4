/* micro_realloc.c: blocks that grow. An item is one realloc; growing to tens of MiB shows copying against mremap. */
#include "micro.h"

/* From 16 bytes to the argument, doubling. The new half is not written: what shows is the move itself. */
static void realloc_run_doubling(struct gbench_state *state) {
    size_t limit = (size_t)gbench_arg(state, 0);
    int64_t steps = 0;
    for (struct gbench_loop loop = gbench_start(state, 1); gbench_next(&loop);) {
        char *block = NULL;
        for (size_t size = 16; size <= limit; size *= 2, steps++) {
            block = realloc(block, size);
            if (block == NULL) {
                gbench_skip(state, "out of memory");
                return;
            }
            block[size - 1] = 1;
        }
        free(block);
    }
    gbench_set_items(state, steps);
}

/* Two blocks in turn by 16 bytes a step, as string builders do; neither can assume that its neighbour is free. */
static void realloc_run_stepping(struct gbench_state *state) {
    size_t limit = (size_t)gbench_arg(state, 0);
    int64_t steps = 0;
    for (struct gbench_loop loop = gbench_start(state, 1); gbench_next(&loop);) {
        char *blocks[2] = {NULL, NULL};
        for (size_t size = 16; size <= limit; size += 16)
            for (int i = 0; i < 2; i++, steps++) {
                blocks[i] = realloc(blocks[i], size);
                if (blocks[i] == NULL) {
                    gbench_skip(state, "out of memory");
                    return;
                }
                blocks[i][size - 1] = 1;
            }
        free(blocks[0]);
        free(blocks[1]);
    }
    gbench_set_items(state, steps);
}

void micro_add_realloc(void) {
    static const int64_t doubling[] = {1024, 65536, 1 << 20, 64 << 20};
    static const int64_t stepping[] = {1024, 16384, 262144};
    micro_add_args(gbench_add("realloc_doubling", realloc_run_doubling), doubling, MICRO_COUNT(doubling));
    micro_add_args(gbench_add("realloc_stepping", realloc_run_stepping), stepping, MICRO_COUNT(stepping));
}
