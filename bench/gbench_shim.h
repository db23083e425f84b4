/*
 * gbench_shim.h: Google Benchmark for C.
 *
 * Google Benchmark (1.7) decides how long to run, starts the threads, reports and writes JSON; its interface is C++
 * only. This shim lets a benchmark be plain C:
 *
 *     static void pair(struct gbench_state *state)
 *     {
 *         size_t size = (size_t)gbench_arg(state, 0);
 *         for (struct gbench_loop loop = gbench_start(state, 1024); gbench_next(&loop);) {
 *             void *p = malloc(size);
 *             gbench_keep(p);
 *             free(p);
 *         }
 *         gbench_set_items(state, gbench_iterations(state));
 *     }
 *
 *     struct gbench_case *bench = gbench_add("pair", pair);
 *     gbench_case_arg(bench, 16);
 *     gbench_case_threads(bench, 2);
 *
 * Each call of gbench_case_arg (or _args) adds one run with that argument, each call of gbench_case_threads one run
 * with that many threads; the runs are all combinations. Wall time is what is reported.
 */
#ifndef SLABMALLOC_BENCH_GBENCH_SHIM_H
#define SLABMALLOC_BENCH_GBENCH_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct gbench_case;  /* a registered benchmark */
struct gbench_state; /* one thread of one run of it */

typedef void gbench_body(struct gbench_state *state);

struct gbench_case *gbench_add(const char *name, gbench_body *body);
void gbench_case_arg(struct gbench_case *bench, int64_t value);
void gbench_case_args(struct gbench_case *bench, const int64_t *values, size_t count);
void gbench_case_threads(struct gbench_case *bench, int threads);

/* Processor time is the whole process's, for bodies that start threads of their own. */
void gbench_case_process_time(struct gbench_case *bench);

/* Parses Google Benchmark's options, runs what was added, returns main's status. */
int gbench_main(int argc, char **argv);

int64_t gbench_arg(const struct gbench_state *state, size_t index);
int gbench_thread_index(const struct gbench_state *state);
int gbench_thread_count(const struct gbench_state *state);

/* After the loop: iterations this thread has run, for gbench_set_items. */
int64_t gbench_iterations(const struct gbench_state *state);

/*
 * Items and bytes are totals of this thread's run and are reported per second; counters as they are, summed over
 * threads. Items are also reported as a counter of that name, from which processor time an item can be computed: with
 * more threads than processors Google Benchmark's wall time an item is not to be trusted.
 */
void gbench_set_items(struct gbench_state *state, int64_t items);
void gbench_set_bytes(struct gbench_state *state, int64_t bytes);
void gbench_set_counter(struct gbench_state *state, const char *name, double value);

/* Stops the clock inside the loop. Costs some hundred nanoseconds: use it around long stretches only. */
void gbench_pause(struct gbench_state *state);
void gbench_resume(struct gbench_state *state);

/* Ends this run with an error, as when memory ran out. Leave the loop right after. */
void gbench_skip(struct gbench_state *state, const char *reason);

/*
 * The loop asks Google Benchmark once per batch and otherwise counts down in a register, so that an iteration costs one
 * decrement. A run is a multiple of the batch: 1 when iterations are long or threads must run equally many of them.
 */
struct gbench_loop {
    struct gbench_state *state;
    int64_t left;
    int64_t batch;
};

bool gbench_next_batch(struct gbench_state *state, int64_t batch);

static inline struct gbench_loop gbench_start(struct gbench_state *state, int64_t batch) {
    struct gbench_loop loop = {state, 0, batch};
    return loop;
}

static inline bool gbench_next(struct gbench_loop *loop) {
    if (loop->left == 0) {
        if (!gbench_next_batch(loop->state, loop->batch))
            return false;
        loop->left = loop->batch;
    }
    loop->left--;
    return true;
}

/* The compiler must produce the value, and must assume that memory reachable from it is read and written. */
static inline void gbench_keep(void *value) {
    __asm__ volatile("" : "+r"(value) : : "memory");
}

#ifdef __cplusplus
}
#endif

#endif
