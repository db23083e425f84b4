/*
 * mstress: a server with uneven threads, phases, survivors and objects that migrate.
 *
 * After the description of "mstress" in the mimalloc-bench README and the mimalloc report (Leijen, Zorn, de Moura,
 * MSR-TR-2019-18): in each phase N new threads allocate objects with sizes by powers of two, threads with a higher
 * number doing more; some objects are freed at once, some are kept by the thread, some are swapped into a table shared
 * by all threads and outlive the phase.
 */
#include "workload.h"

#include <stdatomic.h>

enum { SHARED = 1000, KEPT = 40000, PHASES = 30, OPERATIONS = 500000 };

struct mstress_item {
    uint64_t tag;
    size_t size;
};

static struct mstress_item *_Atomic mstress_shared[SHARED];
static unsigned mstress_phase;

/* Mostly small; one in 200 is up to 32 KiB, one in 4000 up to 512 KiB. */
static struct mstress_item *mstress_make(uint64_t *random) {
    uint64_t luck = workload_below(random, 4000);
    size_t size = luck == 0   ? workload_log_size(random, 15, 19)
                  : luck < 20 ? workload_log_size(random, 10, 15)
                              : workload_log_size(random, 4, 9);
    struct mstress_item *item = workload_alloc(size);
    item->tag = workload_random(random);
    item->size = size;
    if (size > sizeof(*item))
        ((unsigned char *)item)[size - 1] = (unsigned char)item->tag;
    return item;
}

static uint64_t mstress_drop(struct mstress_item *item) {
    if (item == NULL)
        return 0;
    uint64_t tag = item->tag;
    if (item->size > sizeof(*item) && ((unsigned char *)item)[item->size - 1] != (unsigned char)tag)
        workload_fail("a block lost its contents");
    free(item);
    return tag;
}

static uint64_t mstress_thread(const struct workload *load, unsigned index) {
    struct mstress_item **kept = calloc(KEPT, sizeof(struct mstress_item *));
    uint64_t random = workload_seed(load, mstress_phase * WORKLOAD_THREADS_MAX + index);
    uint64_t sum = 0;
    if (kept == NULL)
        workload_fail("out of memory");
    uint64_t operations = workload_amount(load, OPERATIONS) * (index + 1) / load->threads;
    for (uint64_t n = 0; n < operations; n++) {
        struct mstress_item *item = mstress_make(&random);
        uint64_t fate = workload_below(&random, 10);
        if (fate < 4) {
            sum += mstress_drop(item);
        } else if (fate < 8) {
            size_t slot = workload_below(&random, KEPT);
            sum += mstress_drop(kept[slot]);
            kept[slot] = item;
        } else {
            size_t slot = workload_below(&random, SHARED);
            sum += mstress_drop(atomic_exchange(&mstress_shared[slot], item));
        }
    }
    for (size_t i = 0; i < KEPT; i++)
        sum += mstress_drop(kept[i]);
    free(kept);
    return sum;
}

int main(int argc, char **argv) {
    struct workload load = workload_start(argc, argv, 4);
    uint64_t sum = 0;
    for (mstress_phase = 0; mstress_phase < PHASES; mstress_phase++) {
        sum += workload_run(&load, mstress_thread);
        for (size_t i = 0; i < SHARED; i += 2) /* half of the shared objects survive the phase */
            sum += mstress_drop(atomic_exchange(&mstress_shared[i], NULL));
    }
    for (size_t i = 0; i < SHARED; i++)
        sum += mstress_drop(atomic_exchange(&mstress_shared[i], NULL));
    return workload_finish(&load, sum);
}
