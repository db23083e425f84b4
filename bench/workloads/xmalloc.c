/*
 * xmalloc: threads that only allocate feed threads that only free.
 *
 * After C. Lever and D. Boreham, "malloc() Performance in a Multithreaded Linux Environment", USENIX 2000: producers
 * allocate batches of objects of random size and put them on a bounded shared list; consumers take batches and free
 * them. Every free is remote, which defeats per-thread caches that wait for local traffic to recycle.
 * -t is the number of pairs.
 */
#include "workload.h"

enum { BATCH = 120, BATCHES = 80000, QUEUE = 128 };

struct xmalloc_batch {
    struct workload_block blocks[BATCH];
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t not_empty, not_full;
    struct xmalloc_batch *items[QUEUE];
    unsigned first, count;
} xmalloc_queue = {
    .lock = PTHREAD_MUTEX_INITIALIZER, .not_empty = PTHREAD_COND_INITIALIZER, .not_full = PTHREAD_COND_INITIALIZER};

static void xmalloc_put(struct xmalloc_batch *batch) {
    pthread_mutex_lock(&xmalloc_queue.lock);
    while (xmalloc_queue.count == QUEUE)
        pthread_cond_wait(&xmalloc_queue.not_full, &xmalloc_queue.lock);
    xmalloc_queue.items[(xmalloc_queue.first + xmalloc_queue.count++) % QUEUE] = batch;
    pthread_cond_signal(&xmalloc_queue.not_empty);
    pthread_mutex_unlock(&xmalloc_queue.lock);
}

static struct xmalloc_batch *xmalloc_get(void) {
    pthread_mutex_lock(&xmalloc_queue.lock);
    while (xmalloc_queue.count == 0)
        pthread_cond_wait(&xmalloc_queue.not_empty, &xmalloc_queue.lock);
    struct xmalloc_batch *batch = xmalloc_queue.items[xmalloc_queue.first];
    xmalloc_queue.first = (xmalloc_queue.first + 1) % QUEUE;
    xmalloc_queue.count--;
    pthread_cond_signal(&xmalloc_queue.not_full);
    pthread_mutex_unlock(&xmalloc_queue.lock);
    return batch;
}

/* Most requests of the traced servers were short strings and records: 3 of 4 below 128 bytes. */
static size_t xmalloc_size(uint64_t *random) {
    return workload_below(random, 4) ? workload_between(random, 8, 128) : workload_between(random, 128, 2048);
}

static uint64_t xmalloc_producer(const struct workload *load, unsigned index) {
    uint64_t random = workload_seed(load, index);
    for (uint64_t n = workload_amount(load, BATCHES); n > 0; n--) {
        struct xmalloc_batch *batch = workload_alloc(sizeof(*batch));
        for (int i = 0; i < BATCH; i++)
            workload_block_make(&batch->blocks[i], xmalloc_size(&random), workload_random(&random));
        xmalloc_put(batch);
    }
    return 0;
}

static uint64_t xmalloc_consumer(const struct workload *load) {
    uint64_t sum = 0;
    for (uint64_t n = workload_amount(load, BATCHES); n > 0; n--) {
        struct xmalloc_batch *batch = xmalloc_get();
        for (int i = 0; i < BATCH; i++)
            sum += workload_block_drop(&batch->blocks[i]);
        free(batch);
    }
    return sum;
}

/* Even threads produce, odd ones consume the same number of batches. */
static uint64_t xmalloc_thread(const struct workload *load, unsigned index) {
    return index % 2 == 0 ? xmalloc_producer(load, index) : xmalloc_consumer(load);
}

int main(int argc, char **argv) {
    struct workload load = workload_start(argc, argv, 1);
    if (load.threads > WORKLOAD_THREADS_MAX / 2)
        workload_fail("too many pairs");
    load.threads *= 2;
    return workload_finish(&load, workload_run(&load, xmalloc_thread));
}
