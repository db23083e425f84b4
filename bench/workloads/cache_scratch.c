/*
 * cache_scratch: passive false sharing.
 *
 * After E. Berger et al., "Hoard: A Scalable Memory Allocator for Multithreaded Applications", ASPLOS 2000: the main
 * thread allocates one small object per thread, so the objects are neighbours in one cache line; each thread frees its
 * own and then repeatedly allocates, writes many times and frees. An allocator that puts the freed neighbours into
 * the freeing threads' caches keeps the threads fighting for that line for ever.
 */
#include "workload.h"

enum { OBJECT_BYTES = 8, ROUNDS = 18000, WRITES = 100000 };

static void *scratch_given[WORKLOAD_THREADS_MAX];

static uint64_t scratch_thread(const struct workload *load, unsigned index) {
    uint64_t sum = 0;
    free(scratch_given[index]);
    for (uint64_t round = workload_amount(load, ROUNDS); round > 0; round--) {
        volatile unsigned char *object = workload_alloc(OBJECT_BYTES);
        memset((void *)object, 0, OBJECT_BYTES);
        for (int i = 0; i < WRITES; i++)
            object[i % OBJECT_BYTES]++;
        for (int i = 0; i < OBJECT_BYTES; i++)
            sum += object[i];
        free((void *)object);
    }
    return sum;
}

int main(int argc, char **argv) {
    struct workload load = workload_start(argc, argv, 2);
    for (unsigned i = 0; i < load.threads; i++)
        scratch_given[i] = workload_alloc(OBJECT_BYTES);
    return workload_finish(&load, workload_run(&load, scratch_thread));
}
