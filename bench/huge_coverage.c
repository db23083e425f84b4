/*
 * huge_coverage: how much of a heap of small objects lies on huge pages, and what that costs in RSS.
 *
 *     huge_coverage [-m MIB of objects] [-w SECONDS waited]
 *
 * Fills the heap with objects of 16 to 512 bytes, waits (for khugepaged, or for an allocator's helper), replaces as
 * many at random as there are, then frees a random half. After each: RSS and the share of anonymous memory on huge
 * pages.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "memory_probe.h"

#include <stdint.h>
#include <sys/mman.h>
#include <time.h>

enum { SMALLEST = 16, LARGEST = 512, AVERAGE = (SMALLEST + LARGEST) / 2 };

static uint64_t coverage_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static void *coverage_make(uint64_t *random) {
    size_t size = SMALLEST + (coverage_random(random) >> 32) % (LARGEST - SMALLEST + 1);
    void *object = malloc(size);
    if (object == NULL) {
        fputs("huge_coverage: out of memory\n", stderr);
        exit(1);
    }
    memset(object, 1, size);
    return object;
}

static void coverage_print(const char *when) {
    long anonymous = probe_self_kib("Anonymous"), huge = probe_self_kib("AnonHugePages");
    long hugetlb = probe_self_kib("Private_Hugetlb");
    printf("%-26s RSS %8.1f MiB  anonymous %8.1f MiB  on huge pages %5.1f%%  hugetlb %8.1f MiB\n", when,
           (double)probe_self_kib("Rss") / 1024, (double)anonymous / 1024,
           anonymous > 0 ? 100.0 * (double)huge / (double)anonymous : 0.0, (double)hugetlb / 1024);
}

int main(int argc, char **argv) {
    size_t mib = 512;
    unsigned wait = 2;
    uint64_t random = 88172645463325252u;
    int option;
    while ((option = getopt(argc, argv, "m:w:")) != -1) {
        if (option == 'm' && atoi(optarg) > 0)
            mib = (size_t)atoi(optarg);
        else if (option == 'w')
            wait = (unsigned)atoi(optarg);
        else {
            fputs("usage: huge_coverage [-m MIB of objects] [-w SECONDS waited]\n", stderr);
            return 2;
        }
    }
    size_t count = (mib << 20) / AVERAGE;
    /* The table is on small pages, whatever the system's setting, so that the huge ones counted are the allocator's. */
    void **objects = mmap(NULL, count * sizeof(*objects), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (objects == MAP_FAILED)
        return 1;
    madvise(objects, count * sizeof(*objects), MADV_NOHUGEPAGE);
    for (size_t i = 0; i < count; i++)
        objects[i] = coverage_make(&random);
    printf("%zu objects, %zu MiB, and a table of %zu MiB on small pages\n", count, mib, count * sizeof(*objects) >> 20);
    coverage_print("filled");
    nanosleep(&(struct timespec){.tv_sec = wait}, NULL);
    coverage_print("after waiting");
    for (size_t n = 0; n < count; n++) {
        size_t i = (coverage_random(&random) >> 16) % count;
        free(objects[i]);
        objects[i] = coverage_make(&random);
    }
    coverage_print("replaced at random");
    for (size_t i = 0; i < count; i++)
        if (coverage_random(&random) >> 63) {
            free(objects[i]);
            objects[i] = NULL;
        }
    nanosleep(&(struct timespec){.tv_sec = wait}, NULL);
    coverage_print("half freed, after waiting");
    return 0;
}
