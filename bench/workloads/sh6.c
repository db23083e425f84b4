/*
 * sh6: batches freed partly in allocation order, partly in reverse, with survivors.
 *
 * After the description of MicroQuill's SmartHeap benchmark "sh6bench" (as used by the Hoard, jemalloc and mimalloc
 * authors): a thread allocates runs of equally sized blocks, small sizes far more often than large ones, frees some
 * runs first-in first-out and others last-in first-out, and lets a share of the blocks live across runs.
 */
#include "workload.h"

enum { SIZE_LIMIT = 1000, LIVE = 320000, ROUNDS = 220 };

struct sh6_state {
    struct workload_block live[LIVE];
    uint64_t random;
    uint64_t sum;
};

/* The run of a size shrinks as the size grows: about the same number of bytes for each size. */
static size_t sh6_run_length(size_t size) {
    return 1 + 40000 / size;
}

static void sh6_free_run(struct sh6_state *state, size_t first, size_t count, bool backward) {
    for (size_t i = 0; i < count; i++)
        state->sum += workload_block_drop(&state->live[backward ? first + count - 1 - i : first + i]);
}

static void sh6_round(struct sh6_state *state) {
    size_t next = 0, oldest = 0;
    for (size_t size = 1; size < SIZE_LIMIT; size++) {
        size_t count = sh6_run_length(size);
        size_t first = next;
        if (next + count > LIVE)
            break;
        for (size_t i = 0; i < count; i++, next++) {
            state->sum += workload_block_drop(&state->live[next]); /* a survivor of an earlier round */
            workload_block_make(&state->live[next], size, workload_random(&state->random));
        }
        switch (size % 4) {
        case 0: /* the run just made, newest first */
            sh6_free_run(state, first, count, true);
            break;
        case 1: /* half of it, oldest first */
            sh6_free_run(state, first, count / 2, false);
            break;
        case 2: /* the oldest blocks of this round */
            sh6_free_run(state, oldest, count < next - oldest ? count : 0, false);
            oldest += count < next - oldest ? count : 0;
            break;
        default: /* kept until the next round */
            break;
        }
    }
}

static uint64_t sh6_thread(const struct workload *load, unsigned index) {
    struct sh6_state *state = calloc(1, sizeof(*state));
    if (state == NULL)
        workload_fail("out of memory");
    state->random = workload_seed(load, index);
    for (uint64_t n = workload_amount(load, ROUNDS); n > 0; n--)
        sh6_round(state);
    sh6_free_run(state, 0, LIVE, false);
    uint64_t sum = state->sum;
    free(state);
    return sum;
}

int main(int argc, char **argv) {
    struct workload load = workload_start(argc, argv, 1);
    return workload_finish(&load, workload_run(&load, sh6_thread));
}
