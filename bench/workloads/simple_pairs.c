/*
 * simple_pairs: batches of one size, allocated and then freed in order.
 *
 * After the description of glibc's benchtests "malloc-simple" (benchtests/README): for each of a few block sizes and
 * batch lengths from 25 to 1600, allocate the batch, then free it in the same order, again and again.
 */
#include "workload.h"

enum { BATCH_MAX = 1600, BLOCKS_PER_SETTING = 1500000 };

static const size_t pairs_sizes[] = {8, 16, 32, 64, 128, 256, 512, 1024};
static const unsigned pairs_batches[] = {25, 100, 400, 1600};

static uint64_t pairs_batch(size_t size, unsigned batch, uint64_t tag) {
    static void *blocks[BATCH_MAX];
    for (unsigned i = 0; i < batch; i++) {
        blocks[i] = workload_alloc(size);
        workload_tag(blocks[i], size, tag + i);
    }
    for (unsigned i = 0; i < batch; i++) {
        workload_check(blocks[i], size, tag + i);
        free(blocks[i]);
    }
    return tag;
}

int main(int argc, char **argv) {
    struct workload load = workload_start(argc, argv, 1);
    uint64_t sum = 0;
    if (load.threads != 1)
        workload_fail("simple_pairs has one thread");
    for (size_t s = 0; s < sizeof(pairs_sizes) / sizeof(pairs_sizes[0]); s++)
        for (size_t b = 0; b < sizeof(pairs_batches) / sizeof(pairs_batches[0]); b++)
            for (uint64_t n = workload_amount(&load, BLOCKS_PER_SETTING) / pairs_batches[b]; n > 0; n--)
                sum += pairs_batch(pairs_sizes[s], pairs_batches[b], n * 1000003 + s);
    return workload_finish(&load, sum);
}
