/* slabmalloc_dma_observe promises: every region is told of once before it is used and once before it goes, to old and
 * new observers alike; one that still uses the memory keeps it. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "dma_probe.h"

#include "dma.h"

TestSuite(dma_observe, .init = pool_share);

/* An observer that writes down what it knows. */
#define KNOWN_MAX 256
struct ledger {
    pthread_mutex_t mutex;
    struct slabmalloc_dma_info known[KNOWN_MAX];
    size_t nknown, nadded, nremoved;
    int refuse_added, refuse_removed; /* errno values; 0: agrees */
};

#define LEDGER                                                                                                         \
    { .mutex = PTHREAD_MUTEX_INITIALIZER }

static int note_added(const struct slabmalloc_dma_info *region, void *context) {
    struct ledger *ledger = context;
    free(malloc(100)); /* allowed here, and so are questions */
    uint64_t phys;
    struct slabmalloc_dma_info info;
    slabmalloc_virt_to_phys(region->base, &phys);
    slabmalloc_dma_info(region->base, &info);
    ((volatile char *)region->base)[region->bytes - 1] = 1; /* it is mapped */
    pthread_mutex_lock(&ledger->mutex);
    MUST(ledger->nknown < KNOWN_MAX);
    for (size_t i = 0; i < ledger->nknown; i++) {
        MUST(ledger->known[i].base != region->base);
    }
    if (!ledger->refuse_added) {
        ledger->known[ledger->nknown++] = *region;
        counter_add(&ledger->nadded, 1);
    }
    pthread_mutex_unlock(&ledger->mutex);
    return ledger->refuse_added;
}

static int note_removed(const struct slabmalloc_dma_info *region, void *context) {
    struct ledger *ledger = context;
    ((volatile char *)region->base)[region->bytes - 1] = 2; /* it still is */
    pthread_mutex_lock(&ledger->mutex);
    size_t i = 0;
    while (i < ledger->nknown && ledger->known[i].base != region->base) {
        i++;
    }
    MUST(i < ledger->nknown && ledger->known[i].bytes == region->bytes);
    if (!ledger->refuse_removed) {
        ledger->known[i] = ledger->known[--ledger->nknown];
        ledger->nremoved++;
    }
    pthread_mutex_unlock(&ledger->mutex);
    return ledger->refuse_removed;
}

static int observe(struct ledger *ledger) {
    struct slabmalloc_dma_observer observer = {note_added, note_removed, ledger};
    return slabmalloc_dma_observe(&observer);
}

static bool knows(const struct ledger *ledger, const char *p) {
    for (size_t i = 0; i < ledger->nknown; i++) {
        char *base = ledger->known[i].base;
        if (base <= p && p < base + ledger->known[i].bytes) {
            return true;
        }
    }
    return false;
}

Test(dma_observe, a_region_is_told_of_before_its_first_buffer_and_before_it_goes) {
    struct ledger ledger = LEDGER;
    require(observe(&ledger) >= 0);
    char *a = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, PAGE);
    require(ledger.nadded == 1 && knows(&ledger, a));
    require(ledger.known[0].level == SLABMALLOC_DMA_RESIDENT && ledger.known[0].page_bytes == PAGE);
    char *b = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, PAGE); /* in the same region */
    require(ledger.nadded == 1 && knows(&ledger, b));
    require(!slabmalloc_dma_free(a) && ledger.nremoved == 0);
    require(!slabmalloc_dma_free(b) && ledger.nremoved == 1 && ledger.nknown == 0);
}

Test(dma_observe, a_late_observer_is_told_of_what_is_there) {
    char *a = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, MIB);
    char *b = alloc_at(SLABMALLOC_DMA_RESIDENT, SLABMALLOC_DMA_SHARED, PAGE);
    struct ledger early = LEDGER, late = LEDGER;
    require(observe(&early) >= 0);
    char *c = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, 2 * MIB);
    require(observe(&late) >= 0);
    require(early.nadded == 3 && late.nadded == 3);
    require(knows(&late, a) && knows(&late, b) && knows(&late, c + 2 * MIB - 1));
    require(late.nremoved == 0);
}

Test(dma_observe, whoever_leaves_is_told_that_all_regions_go) {
    struct ledger ledger = LEDGER, other = LEDGER;
    int number = observe(&ledger);
    require(observe(&other) >= 0);
    char *a = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, MIB), *b = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, PAGE);
    ledger.refuse_removed = EBUSY; /* who leaves is not asked */
    require(a && b && ledger.nknown == 2);
    require(!slabmalloc_dma_unobserve(number));
    require(other.nknown == 2 && other.nremoved == 0);
    size_t before = ledger.nadded;
    require(alloc_at(SLABMALLOC_DMA_RESIDENT, 0, 3 * MIB) && ledger.nadded == before && other.nknown == 3);
    require(!slabmalloc_dma_free(a) && other.nremoved == 1);
    require(slabmalloc_dma_unobserve(number) == -1 && errno == EINVAL);
}

Test(dma_observe, an_observer_that_refuses_a_region_fails_the_allocation) {
    struct ledger first = LEDGER, second = LEDGER, third = LEDGER;
    require(observe(&first) >= 0 && observe(&second) >= 0 && observe(&third) >= 0);
    second.refuse_added = ENXIO;
    errno = 0;
    require(!alloc_at(SLABMALLOC_DMA_RESIDENT, 0, PAGE) && errno == ENXIO);
    require(first.nadded == 1 && first.nremoved == 1 && third.nadded == 0 && !dma_regions());
    second.refuse_added = 0;
    require(alloc_at(SLABMALLOC_DMA_RESIDENT, 0, PAGE) && third.nadded == 1);
}

Test(dma_observe, an_observer_that_refuses_what_is_there_is_not_registered) {
    require(alloc_at(SLABMALLOC_DMA_RESIDENT, 0, PAGE));
    struct ledger ledger = LEDGER;
    ledger.refuse_added = ENODEV;
    errno = 0;
    require(observe(&ledger) == -1 && errno == ENODEV);
    ledger.refuse_added = 0;
    require(alloc_at(SLABMALLOC_DMA_RESIDENT, 0, MIB) && ledger.nadded == 0);
}

Test(dma_observe, ebusy_is_memory_that_an_observer_still_uses) {
    struct ledger first = LEDGER, second = LEDGER;
    require(observe(&first) >= 0 && observe(&second) >= 0);
    char *p = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, 2 * PAGE);
    memset(p, 7, 2 * PAGE);
    second.refuse_removed = EBUSY;
    errno = 0;
    require(slabmalloc_dma_free(p) == -1 && errno == EBUSY);
    require(knows(&first, p) && knows(&second, p)); /* the one that had let go has it again */
    struct slabmalloc_dma_info info;
    require(!slabmalloc_dma_info(p, &info) && info.base == p && info.bytes == 2 * PAGE);
    require(all_bytes_are(p, 2 * PAGE, 7));
    require(alloc_at(SLABMALLOC_DMA_RESIDENT, 0, PAGE) != p);
    second.refuse_removed = 0;
    require(!slabmalloc_dma_free(p));
}

static char *being_told;
static int free_result, free_errno;

static int free_meanwhile(const struct slabmalloc_dma_info *region, void *context) {
    (void)context;
    if ((char *)region->base <= being_told && being_told < (char *)region->base + region->bytes) {
        free_result = slabmalloc_dma_free(being_told);
        free_errno = errno;
    }
    return 0;
}

Test(dma_observe, ebusy_is_memory_that_an_observer_is_being_told_of) {
    being_told = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, PAGE);
    struct ledger ledger = LEDGER;
    struct slabmalloc_dma_observer observer = {free_meanwhile, note_removed, &ledger};
    require(slabmalloc_dma_observe(&observer) >= 0);
    require(free_result == -1 && free_errno == EBUSY);
}

Test(dma_observe, enospc_is_too_many_observers) {
    struct ledger ledger[SLABMALLOC_DMA_OBSERVERS_MAX + 1] = {0};
    int number[SLABMALLOC_DMA_OBSERVERS_MAX];
    for (size_t i = 0; i < COUNT_OF(number); i++) {
        pthread_mutex_init(&ledger[i].mutex, NULL);
        number[i] = observe(&ledger[i]);
        require(number[i] >= 0);
    }
    require(observe(&ledger[SLABMALLOC_DMA_OBSERVERS_MAX]) == -1 && errno == ENOSPC);
    require(!slabmalloc_dma_unobserve(number[3]) && observe(&ledger[3]) == number[3]);
    require(alloc_at(SLABMALLOC_DMA_RESIDENT, 0, PAGE));
    for (size_t i = 0; i < COUNT_OF(number); i++) {
        require(ledger[i].nadded == 1, "observer %zu", i);
    }
}

Test(dma_observe, einval_is_half_an_observer_and_a_number_that_is_none) {
    struct slabmalloc_dma_observer observer = {note_added, NULL, NULL};
    require(slabmalloc_dma_observe(&observer) == -1 && errno == EINVAL);
    observer = (struct slabmalloc_dma_observer){NULL, note_removed, NULL};
    require(slabmalloc_dma_observe(&observer) == -1 && errno == EINVAL);
    require(slabmalloc_dma_observe(NULL) == -1 && errno == EINVAL);
    static const int bad[] = {-1, 0, SLABMALLOC_DMA_OBSERVERS_MAX, 1000};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        errno = 0;
        require(slabmalloc_dma_unobserve(bad[i]) == -1 && errno == EINVAL);
    }
}

static void in_a_child(void *arg) {
    struct ledger *ledger = arg;
    size_t added = ledger->nadded, removed = ledger->nremoved;
    char *p = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, PAGE);
    MUST(p && !slabmalloc_dma_free(p));
    MUST(ledger->nadded == added && ledger->nremoved == removed);
    struct ledger own = LEDGER;
    MUST(observe(&own) >= 0 && own.nadded == 1); /* the shared one: the other is not there */
}

Test(dma_observe, observers_do_not_survive_fork) {
    struct ledger ledger = LEDGER;
    require(observe(&ledger) >= 0);
    require(alloc_at(SLABMALLOC_DMA_RESIDENT, SLABMALLOC_DMA_SHARED, PAGE));
    require(alloc_at(SLABMALLOC_DMA_RESIDENT, 0, PAGE));
    child_must_end_well(in_a_child, &ledger);
    require(alloc_at(SLABMALLOC_DMA_RESIDENT, 0, MIB) && ledger.nadded == 3);
}

/* --- All of it at once --- */

#define WORKERS 4
static struct ledger steady = LEDGER;
static _Atomic bool stop_observing;

static void come_and_go(unsigned index) {
    struct rng rng = {index};
    char *held[8] = {0};
    if (!index) {
        for (unsigned long i = 0; i < rounds(200) || counter_read(&steady.nadded) < 100; i++) {
            struct ledger passing = LEDGER;
            int number = observe(&passing);
            MUST(number >= 0);
            MUST(!slabmalloc_dma_unobserve(number));
            MUST(passing.nknown == 0 && passing.nadded == passing.nremoved);
        }
        stop_observing = true;
        return;
    }
    while (!stop_observing) {
        char **slot = &held[rng_below(&rng, COUNT_OF(held))];
        if (!*slot) {
            size_t bytes = rng_below(&rng, 4) ? PAGE * rng_between(&rng, 1, 40) : 300 * KIB;
            *slot = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, bytes);
            MUST(*slot);
            **slot = (char)index;
        } else if (!slabmalloc_dma_free(*slot)) {
            *slot = NULL;
        } else {
            MUST(errno == EBUSY && **slot == (char)index);
        }
    }
    for (size_t i = 0; i < COUNT_OF(held); i++) {
        MUST(!held[i] || !slabmalloc_dma_free(held[i]));
    }
}

Test(dma_observe, observers_and_buffers_come_and_go_in_many_threads) {
    require(observe(&steady) >= 0);
    threads_run(WORKERS, come_and_go);
    require(!dma_regions() && steady.nknown == 0 && steady.nadded == steady.nremoved && steady.nadded > 0);
}
