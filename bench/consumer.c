/*
 * consumer: blocks that one thread allocates and another frees, which never allocates itself.
 *
 *     consumer [-m MIB live] [-t MIB allocated in all] [-s] [-i SECONDS idle]
 *
 * The producer allocates and writes blocks of log-uniform size from 16 bytes to 16 KiB; the consumer frees the oldest
 * ones once so much is live. An allocator that only takes remote frees back in the freeing thread's own calls strands
 * them here. -s: sizes shift; the first and the last third of the blocks favour small ones, the second large ones, so
 * that what was freed must serve other sizes.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "memory_probe.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <time.h>

enum { RING = 1 << 20, SMALLEST_BITS = 4, LARGEST_BITS = 14, STRETCHES = 3, SLACK = 1 << 20 };

struct consumer_block {
    unsigned char *data;
    size_t size;
};

/* Blocks [freed, made) are live; in a mapping of its own, out of the allocator's sight. */
static struct consumer_block *consumer_ring;
static _Atomic size_t consumer_made, consumer_freed;
static _Atomic size_t consumer_made_bytes, consumer_freed_bytes;
static size_t consumer_live = (size_t)370 << 20, consumer_total = (size_t)4 << 30;
static bool consumer_shifting;

static uint64_t consumer_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

/* Log-uniform. Shifting: three quarters from the lower half of the range, in the middle stretch from the upper. */
static size_t consumer_size(uint64_t *random, size_t made_bytes) {
    uint64_t draw = consumer_random(random);
    unsigned all = LARGEST_BITS - SMALLEST_BITS, bits = SMALLEST_BITS + (unsigned)(draw >> 32) % all;
    if (consumer_shifting) {
        bool middle = made_bytes / (consumer_total / STRETCHES + 1) == STRETCHES / 2;
        bits = SMALLEST_BITS + (unsigned)(draw >> 32) % (all / 2) + ((draw % 4 == 0) != middle ? all / 2 : 0);
    }
    return ((size_t)1 << bits) + (size_t)(draw >> 8 & ((1u << bits) - 1));
}

static size_t consumer_live_bytes(void) {
    return atomic_load(&consumer_made_bytes) - atomic_load(&consumer_freed_bytes);
}

static void consumer_produce(void) {
    uint64_t random = 88172645463325252u;
    size_t made = 0;
    while (atomic_load(&consumer_made_bytes) < consumer_total) {
        size_t size = consumer_size(&random, atomic_load(&consumer_made_bytes));
        while (consumer_live_bytes() > consumer_live + SLACK || made - atomic_load(&consumer_freed) == RING)
            sched_yield();
        unsigned char *data = malloc(size);
        if (data == NULL)
            abort();
        memset(data, (int)(made & 0xff), size);
        consumer_ring[made % RING] = (struct consumer_block){data, size};
        atomic_fetch_add(&consumer_made_bytes, size);
        atomic_store(&consumer_made, ++made);
    }
}

/* Until what was to be allocated has been, and what is to stay live is left. */
static void *consumer_consume(void *unused) {
    size_t freed = 0;
    for (;;) {
        bool complete = atomic_load(&consumer_made_bytes) >= consumer_total;
        if (consumer_live_bytes() <= consumer_live || freed == atomic_load(&consumer_made)) {
            if (complete)
                return unused;
            sched_yield();
            continue;
        }
        struct consumer_block *block = &consumer_ring[freed % RING];
        if (block->data[0] != (freed & 0xff) || block->data[block->size - 1] != (freed & 0xff))
            abort();
        free(block->data);
        atomic_fetch_add(&consumer_freed_bytes, block->size);
        atomic_store(&consumer_freed, ++freed);
    }
}

static double consumer_mib(size_t bytes) {
    return (double)bytes / 1048576;
}

static double consumer_status_mib(const char *name, size_t own) {
    char text[4096];
    probe_read("/proc/self/status", text, sizeof(text));
    return (double)probe_find_kib(text, name) / 1024 - consumer_mib(own);
}

int main(int argc, char **argv) {
    double idle = 2;
    int option;
    while ((option = getopt(argc, argv, "m:t:si:")) != -1) {
        if (option == 'm' && atoi(optarg) > 0)
            consumer_live = (size_t)atoi(optarg) << 20;
        else if (option == 't' && atoi(optarg) > 0)
            consumer_total = (size_t)atoi(optarg) << 20;
        else if (option == 's')
            consumer_shifting = true;
        else if (option == 'i')
            idle = atof(optarg);
        else {
            fputs("usage: consumer [-m MIB live] [-t MIB allocated in all] [-s] [-i SECONDS idle]\n", stderr);
            return 2;
        }
    }
    size_t ring_bytes = RING * sizeof(*consumer_ring);
    consumer_ring = mmap(NULL, ring_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    pthread_t thread;
    if (consumer_ring == MAP_FAILED || pthread_create(&thread, NULL, consumer_consume, NULL) != 0) {
        fputs("consumer: cannot start\n", stderr);
        return 1;
    }
    consumer_produce();
    pthread_join(thread, NULL);
    double peak = consumer_status_mib("VmHWM", ring_bytes), live = consumer_mib(consumer_live);
    printf("%-34s%10.1f MiB\n", "live at most", live);
    printf("%-34s%10.1f MiB\n", "peak RSS", peak);
    printf("%-34s%10.3f times live\n", "peak RSS over live", peak / live);
    nanosleep(&(struct timespec){(time_t)idle, (long)((idle - (double)(time_t)idle) * 1e9)}, NULL);
    printf("%-34s%10.1f MiB\n", "after idling", consumer_status_mib("VmRSS", ring_bytes));
    return 0;
}
