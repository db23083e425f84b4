/*
 * thread_set: each thread replaces random members of its own small working set.
 *
 * After the description of glibc's benchtests "malloc-thread" (benchtests/README): 1024 blocks a thread, sizes 4 bytes
 * to 32 KiB with probability falling as the inverse square of the size, no sharing between threads. Also stands for
 * one-thread-per-request servers that do not pass objects on.
 */
#include "workload.h"

enum { WORKING_SET = 1024, STEPS = 35000000, SIZE_SMALLEST = 4, SIZE_LARGEST = 32768 };

/* P(size > s) ~ 1/s: invert the distribution function. */
static size_t thread_set_size(uint64_t *random) {
    size_t size = (size_t)(((uint64_t)SIZE_SMALLEST << 32) / ((workload_random(random) >> 32) + 1));
    return size > SIZE_LARGEST ? SIZE_LARGEST : size;
}

static uint64_t thread_set_body(const struct workload *load, unsigned index) {
    struct workload_block blocks[WORKING_SET] = {0};
    uint64_t random = workload_seed(load, index);
    uint64_t sum = 0;
    for (uint64_t n = workload_amount(load, STEPS); n > 0; n--) {
        struct workload_block *block = &blocks[n % WORKING_SET ^ workload_below(&random, 64)];
        sum += workload_block_drop(block);
        workload_block_make(block, thread_set_size(&random), workload_random(&random));
    }
    for (int i = 0; i < WORKING_SET; i++)
        sum += workload_block_drop(&blocks[i]);
    return sum;
}

int main(int argc, char **argv) {
    struct workload load = workload_start(argc, argv, 2);
    return workload_finish(&load, workload_run(&load, thread_set_body));
}
