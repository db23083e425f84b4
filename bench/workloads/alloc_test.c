/*
 * alloc_test: a random live set, most slots rarely touched and a few touched all the time.
 *
 * After S. Ignatchenko, D. Ligoum, M. Ivanchykhin, "Testing Memory Allocators: ptmalloc2 vs tcmalloc vs hoard vs
 * jemalloc" (2018): one table of slots per thread; each step picks a slot by an uneven distribution and frees what is
 * there, or allocates a block whose size is log distributed. The uneven choice gives lifetimes with a long tail.
 */
#include "workload.h"

enum { SLOT_BITS = 17, STEPS = 45000000 };

/* Products of two uniform numbers pile up near zero: a cheap long-tailed choice of slot. */
static size_t alloc_test_slot(uint64_t *random) {
    uint64_t draw = workload_random(random);
    uint64_t a = draw & 0xffffffff, b = draw >> 32;
    return (a * b >> 32) >> (32 - SLOT_BITS);
}

static uint64_t alloc_test_thread(const struct workload *load, unsigned index) {
    struct workload_block *slots = calloc((size_t)1 << SLOT_BITS, sizeof(*slots));
    uint64_t random = workload_seed(load, index);
    uint64_t sum = 0;
    if (slots == NULL)
        workload_fail("out of memory");
    for (uint64_t n = workload_amount(load, STEPS); n > 0; n--) {
        struct workload_block *slot = &slots[alloc_test_slot(&random)];
        if (slot->tag != 0)
            sum += workload_block_drop(slot);
        else
            workload_block_make(slot, workload_log_size(&random, 3, 10), workload_random(&random));
    }
    for (size_t i = 0; i < (size_t)1 << SLOT_BITS; i++)
        sum += workload_block_drop(&slots[i]);
    free(slots);
    return sum;
}

int main(int argc, char **argv) {
    struct workload load = workload_start(argc, argv, 1);
    return workload_finish(&load, workload_run(&load, alloc_test_thread));
}
