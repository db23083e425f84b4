/*
 * larson: a server whose threads inherit the live objects of threads that have ended.
 *
 * After P. Larson and M. Krishnan, "Memory Allocation for Long-Running Server Applications", ISMM 1998: each thread
 * replaces random members of a set of live blocks of random size, then starts a successor, hands the set over and
 * ends. So most blocks are freed by a thread that did not allocate them, and dead threads' caches must be found again.
 */
#include "workload.h"

#include <semaphore.h>

enum { BLOCKS = 5000, SIZE_MIN = 8, SIZE_MAX_BYTES = 1000, GENERATIONS = 40, REPLACEMENTS = 700000 };

struct larson_set {
    struct workload_block blocks[BLOCKS];
    uint64_t random;
    uint64_t sum;
    uint64_t replacements;
    unsigned generations_left;
};

static sem_t larson_ended;

static void larson_replace(struct larson_set *set, size_t i) {
    set->sum += workload_block_drop(&set->blocks[i]);
    workload_block_make(&set->blocks[i], workload_between(&set->random, SIZE_MIN, SIZE_MAX_BYTES),
                        workload_random(&set->random));
}

static void *larson_generation(void *argument) {
    struct larson_set *set = argument;
    for (uint64_t n = 0; n < set->replacements; n++)
        larson_replace(set, workload_below(&set->random, BLOCKS));
    if (--set->generations_left == 0)
        sem_post(&larson_ended);
    else
        pthread_detach(workload_spawn(larson_generation, set));
    return NULL;
}

int main(int argc, char **argv) {
    struct workload load = workload_start(argc, argv, 2);
    struct larson_set *sets[WORKLOAD_THREADS_MAX];
    uint64_t sum = 0;

    sem_init(&larson_ended, 0, 0);
    for (unsigned t = 0; t < load.threads; t++) {
        struct larson_set *set = sets[t] = calloc(1, sizeof(*set));
        if (set == NULL)
            workload_fail("out of memory");
        set->random = workload_seed(&load, t);
        set->replacements = workload_amount(&load, REPLACEMENTS);
        set->generations_left = GENERATIONS;
        for (size_t i = 0; i < BLOCKS; i++)
            larson_replace(set, i);
    }
    for (unsigned t = 0; t < load.threads; t++)
        pthread_detach(workload_spawn(larson_generation, sets[t]));
    for (unsigned t = 0; t < load.threads; t++)
        while (sem_wait(&larson_ended) != 0)
            continue;
    for (unsigned t = 0; t < load.threads; t++) {
        for (size_t i = 0; i < BLOCKS; i++)
            sets[t]->sum += workload_block_drop(&sets[t]->blocks[i]);
        sum += sets[t]->sum;
        free(sets[t]);
    }
    return workload_finish(&load, sum);
}
