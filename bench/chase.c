/*
 * chase: how fast a program walks through a large heap of small objects in random order.
 *
 *     chase [-m MIB of objects] [-n MILLION steps]
 *
 * Allocates objects of 64 bytes, links all of them into one cycle in random order (Sattolo's shuffle), and follows it:
 * each step misses every cache, and, on small pages, the TLB too. Prints nanoseconds a step and what lies on huge
 * pages.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "memory_probe.h"

#include <stdint.h>
#include <sys/mman.h>
#include <time.h>

enum { OBJECT_BYTES = 64, MILLION = 1000000 };

static uint64_t chase_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static double chase_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* One cycle through COUNT new objects; its start. The table that makes it is gone afterwards. */
static void **chase_make(size_t count) {
    uint64_t random = 88172645463325252u;
    size_t bytes = count * sizeof(void *);
    void ***table = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (table == MAP_FAILED)
        exit(1);
    for (size_t i = 0; i < count; i++)
        if ((table[i] = malloc(OBJECT_BYTES)) == NULL)
            exit(1);
    for (size_t i = count - 1; i > 0; i--) {
        size_t other = (size_t)((chase_random(&random) >> 16) % i);
        void **swapped = table[i];
        table[i] = table[other];
        table[other] = swapped;
    }
    for (size_t i = 0; i < count; i++)
        *table[i] = (void *)table[(i + 1) % count];
    void **start = table[0];
    munmap(table, bytes);
    return start;
}

int main(int argc, char **argv) {
    size_t mib = 1024, steps = 20;
    int option;
    while ((option = getopt(argc, argv, "m:n:")) != -1) {
        if (option == 'm' && atoi(optarg) > 0)
            mib = (size_t)atoi(optarg);
        else if (option == 'n' && atoi(optarg) > 0)
            steps = (size_t)atoi(optarg);
        else {
            fputs("usage: chase [-m MIB of objects] [-n MILLION steps]\n", stderr);
            return 2;
        }
    }
    void **at = chase_make((mib << 20) / OBJECT_BYTES);
    double start = chase_now();
    for (size_t n = steps * MILLION; n > 0; n--)
        at = *at;
    double nanoseconds = (chase_now() - start) / (double)(steps * MILLION);
    long anonymous = probe_self_kib("Anonymous"), huge = probe_self_kib("AnonHugePages");
    printf("%6.1f ns a step  RSS %8.1f MiB  on huge pages %5.1f%%%s\n", nanoseconds,
           (double)probe_self_kib("Rss") / 1024, anonymous > 0 ? 100.0 * (double)huge / (double)anonymous : 0.0,
           at == NULL ? " " : "");
    return 0;
}
