/*
 * sh8: like sh6, but threads also free each other's batches.
 *
 * After the description of MicroQuill's "sh8bench": threads allocate batches of mixed small sizes; of each batch a part
 * is freed at once in reverse, a part is kept, and a part is exchanged with another thread through a shared table and
 * freed there, in order.
 */
#include "workload.h"

#include <stdatomic.h>

enum { BATCH = 240, LOTS = 64, KEPT_LOTS = 1000, ROUNDS = 70000 };

struct sh8_lot {
    struct workload_block blocks[BATCH / 3];
};

static struct sh8_lot *_Atomic sh8_exchange[LOTS];

static uint64_t sh8_lot_free(struct sh8_lot *lot) {
    uint64_t sum = 0;
    if (lot == NULL)
        return 0;
    for (int i = 0; i < BATCH / 3; i++)
        sum += workload_block_drop(&lot->blocks[i]);
    free(lot);
    return sum;
}

static struct sh8_lot *sh8_lot_make(uint64_t *random, size_t size_limit) {
    struct sh8_lot *lot = workload_alloc(sizeof(*lot));
    for (int i = 0; i < BATCH / 3; i++)
        workload_block_make(&lot->blocks[i], workload_between(random, 1, size_limit), workload_random(random));
    return lot;
}

static uint64_t sh8_lot_free_backward(struct sh8_lot *lot) {
    uint64_t sum = 0;
    for (int i = BATCH / 3 - 1; i >= 0; i--)
        sum += workload_block_drop(&lot->blocks[i]);
    free(lot);
    return sum;
}

static uint64_t sh8_thread(const struct workload *load, unsigned index) {
    struct sh8_lot *kept[KEPT_LOTS] = {NULL};
    uint64_t random = workload_seed(load, index);
    uint64_t sum = 0;
    for (uint64_t n = workload_amount(load, ROUNDS); n > 0; n--) {
        size_t size_limit = (size_t)32 << workload_below(&random, 6);
        struct sh8_lot *brief = sh8_lot_make(&random, size_limit);
        struct sh8_lot *given = sh8_lot_make(&random, size_limit);
        struct sh8_lot *long_lived = sh8_lot_make(&random, size_limit);
        sum += sh8_lot_free_backward(brief);
        sum += sh8_lot_free(atomic_exchange(&sh8_exchange[workload_below(&random, LOTS)], given));
        size_t slot = workload_below(&random, KEPT_LOTS);
        sum += sh8_lot_free(kept[slot]);
        kept[slot] = long_lived;
    }
    for (size_t i = 0; i < KEPT_LOTS; i++)
        sum += sh8_lot_free(kept[i]);
    return sum;
}

int main(int argc, char **argv) {
    struct workload load = workload_start(argc, argv, 2);
    uint64_t sum = workload_run(&load, sh8_thread);
    for (size_t i = 0; i < LOTS; i++)
        sum += sh8_lot_free(atomic_exchange(&sh8_exchange[i], NULL));
    return workload_finish(&load, sum);
}
