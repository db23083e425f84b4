/*
 * large: big buffers replaced at random.
 *
 * After the description of "malloc-large" in the mimalloc-bench README (part of the mimalloc 1.6 set): a table of live
 * buffers of 5 to 25 MiB, one of them replaced at each step, every page of the new one written. Shows whether an
 * allocator recycles large runs or goes to the kernel each time, and what that costs in RSS.
 */
#include "workload.h"

enum { BUFFERS = 20, STEPS = 350, PAGE_BYTES = 4096 };
#define LARGE_MIN ((size_t)5 << 20)
#define LARGE_MAX ((size_t)25 << 20)

static uint64_t large_thread(const struct workload *load, unsigned index) {
    struct workload_block buffers[BUFFERS] = {0};
    uint64_t random = workload_seed(load, index);
    uint64_t sum = 0;
    for (uint64_t n = workload_amount(load, STEPS); n > 0; n--) {
        struct workload_block *buffer = &buffers[workload_below(&random, BUFFERS)];
        sum += workload_block_drop(buffer);
        workload_block_make(buffer, workload_between(&random, LARGE_MIN, LARGE_MAX), workload_random(&random));
        for (size_t at = PAGE_BYTES; at < buffer->size - 1; at += PAGE_BYTES)
            ((volatile unsigned char *)buffer->data)[at] = (unsigned char)n;
    }
    for (int i = 0; i < BUFFERS; i++)
        sum += workload_block_drop(&buffers[i]);
    return sum;
}

int main(int argc, char **argv) {
    struct workload load = workload_start(argc, argv, 1);
    return workload_finish(&load, workload_run(&load, large_thread));
}
