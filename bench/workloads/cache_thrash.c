/*
 * cache_thrash: active false sharing.
 *
 * After E. Berger et al., "Hoard: A Scalable Memory Allocator for Multithreaded Applications", ASPLOS 2000: threads
 * allocate small objects at the same time, write them many times and free them. An allocator that serves two threads
 * from one cache line makes every write a miss. (cache_scratch is the passive form.)
 */
#include "workload.h"

enum { OBJECT_BYTES = 8, OBJECTS = 4, ROUNDS = 18000, WRITES = 100000 };

static uint64_t thrash_thread(const struct workload *load, unsigned index) {
    uint64_t sum = index;
    for (uint64_t round = workload_amount(load, ROUNDS); round > 0; round--) {
        volatile unsigned char *objects[OBJECTS];
        for (int o = 0; o < OBJECTS; o++) {
            objects[o] = workload_alloc(OBJECT_BYTES);
            memset((void *)objects[o], 0, OBJECT_BYTES);
        }
        for (int i = 0; i < WRITES; i++)
            objects[i % OBJECTS][i / OBJECTS % OBJECT_BYTES]++;
        for (int o = 0; o < OBJECTS; o++) {
            for (int i = 0; i < OBJECT_BYTES; i++)
                sum += objects[o][i];
            free((void *)objects[o]);
        }
    }
    return sum;
}

int main(int argc, char **argv) {
    struct workload load = workload_start(argc, argv, 2);
    return workload_finish(&load, workload_run(&load, thrash_thread));
}
