/*
 * micro_threads.c: what a thread costs: start, allocate and free a few blocks, end. "kept" leaves the blocks to be
 * freed by the starter, so that every thread's cache is left behind with something out.
 */
#include "micro.h"

#include <pthread.h>

enum { BLOCKS = 16 };

static void *threads_allocate(void *argument) {
    void **blocks = argument;
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(16 << i % 8);
        *(char *)blocks[i] = 1;
    }
    return NULL;
}

static void *threads_allocate_and_free(void *argument) {
    threads_allocate(argument);
    for (size_t i = 0; i < BLOCKS; i++)
        free(((void **)argument)[i]);
    return NULL;
}

static void *threads_do_nothing(void *argument) {
    return argument;
}

static void threads_run(struct gbench_state *state, void *(*body)(void *)) {
    for (struct gbench_loop loop = gbench_start(state, 1); gbench_next(&loop);) {
        void *blocks[BLOCKS];
        pthread_t thread;
        if (pthread_create(&thread, NULL, body, blocks) != 0) {
            gbench_skip(state, "cannot create a thread");
            return;
        }
        pthread_join(thread, NULL);
        for (size_t i = 0; body == threads_allocate && i < BLOCKS; i++)
            free(blocks[i]);
    }
    gbench_set_items(state, gbench_iterations(state));
}

static void threads_run_empty(struct gbench_state *state) {
    threads_run(state, threads_do_nothing);
}

static void threads_run_freed(struct gbench_state *state) {
    threads_run(state, threads_allocate_and_free);
}

static void threads_run_kept(struct gbench_state *state) {
    threads_run(state, threads_allocate);
}

void micro_add_threads(void) {
    gbench_case_process_time(gbench_add("thread_empty", threads_run_empty));
    gbench_case_process_time(gbench_add("thread_freed", threads_run_freed));
    gbench_case_process_time(gbench_add("thread_kept", threads_run_kept));
}
