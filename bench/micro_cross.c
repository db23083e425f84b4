/*
 * micro_cross.c: blocks allocated by one thread and freed by another. Even threads produce batches, the odd thread
 * above each frees them; both run the same number of iterations, one batch each. An item is one malloc and one remote
 * free.
 */
#include "micro.h"

#include <semaphore.h>

enum { BATCH = 100, SLOTS = 16, PAIRS_MAX = 4 };

/* One producer, one consumer. They sleep instead of spinning: spinning would count as processor time an item. */
struct cross_ring {
    void **slots[SLOTS];
    sem_t empty, full;
};

static struct cross_ring cross_rings[PAIRS_MAX];

static void cross_wait(sem_t *semaphore) {
    while (sem_wait(semaphore) != 0)
        continue;
}

static void cross_produce(struct cross_ring *ring, size_t turn, size_t size) {
    void **batch = malloc(BATCH * sizeof(*batch));
    for (size_t i = 0; i < BATCH; i++) {
        batch[i] = malloc(size);
        *(char *)batch[i] = 1;
    }
    cross_wait(&ring->empty);
    ring->slots[turn % SLOTS] = batch;
    sem_post(&ring->full);
}

static void cross_consume(struct cross_ring *ring, size_t turn) {
    cross_wait(&ring->full);
    void **batch = ring->slots[turn % SLOTS];
    sem_post(&ring->empty);
    for (size_t i = 0; i < BATCH; i++)
        free(batch[i]);
    free(batch);
}

static void cross_run(struct gbench_state *state) {
    struct cross_ring *ring = &cross_rings[gbench_thread_index(state) / 2];
    size_t size = (size_t)gbench_arg(state, 0), turn = 0;
    bool produces = gbench_thread_index(state) % 2 == 0;
    for (struct gbench_loop loop = gbench_start(state, 1); gbench_next(&loop); turn++) {
        if (produces)
            cross_produce(ring, turn, size);
        else
            cross_consume(ring, turn);
    }
    gbench_set_items(state, produces ? gbench_iterations(state) * BATCH : 0);
}

void micro_add_cross(void) {
    for (size_t i = 0; i < PAIRS_MAX; i++) {
        sem_init(&cross_rings[i].empty, 0, SLOTS);
        sem_init(&cross_rings[i].full, 0, 0);
    }
    static const int64_t sizes[] = {16, 256, 4096};
    struct gbench_case *bench = gbench_add("cross_thread", cross_run);
    micro_add_args(bench, sizes, MICRO_COUNT(sizes));
    for (int threads = 2; threads <= 2 * PAIRS_MAX; threads *= 2)
        gbench_case_threads(bench, threads);
}
