/*
 * latency: how long the slowest operations take.
 *
 *     latency [-t THREADS] [-g | -s] [-n THOUSANDS of operations a thread] [-l LIVE blocks a thread]
 *
 * Threads replace random members of their live sets (log-uniform 16 bytes to 8 KiB, one in 1000 up to 1 MiB; one block
 * in eight is freed by another thread, through a shared table) and time every malloc and free by the time stamp
 * counter. Steady (-s): the live set fills up and stays. Growing (-g): it has room for one block more every fourth
 * operation, up to the end. Without -s and -g both, without -t 1, 2, 8 and 64 threads, each in a fresh process.
 *
 * One line for each heap, thread count and operation: calls recorded, and quantiles in nanoseconds, the timer's own
 * time included ("timer" is its median). With more threads than processors the maximum is the scheduler's.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Buckets are 32nds of powers of two: at most 3% wide. */
enum { SUB_BITS = 5, BUCKETS = 64 << SUB_BITS, THREADS_MAX = 256, SHARED = 512, GROWTH_PERIOD = 4 };

struct latency_histogram {
    uint64_t counts[BUCKETS];
    uint64_t total, largest;
};

struct latency_thread {
    uint64_t random;
    struct latency_histogram allocations, frees;
};

static unsigned long latency_operations = 1000000, latency_live = 10000;
static bool latency_growing;
static void *_Atomic latency_shared[SHARED];

#if defined(__x86_64__)
#include <x86intrin.h>

static inline uint64_t latency_ticks(void) {
    unsigned processor;
    return __rdtscp(&processor);
}
#else
static inline uint64_t latency_ticks(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
#endif

/* Nanoseconds a tick, against the monotonic clock over a tenth of a second. */
static double latency_calibrate(void) {
    struct timespec start, end, wait = {0, 100000000};
    clock_gettime(CLOCK_MONOTONIC, &start);
    uint64_t first = latency_ticks();
    nanosleep(&wait, NULL);
    clock_gettime(CLOCK_MONOTONIC, &end);
    uint64_t last = latency_ticks();
    return ((double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec)) / (double)(last - first);
}

static unsigned latency_bucket(uint64_t ticks) {
    if (ticks < 1 << SUB_BITS)
        return (unsigned)ticks;
    unsigned shift = 63 - SUB_BITS - (unsigned)__builtin_clzll(ticks);
    return (shift + 1) << SUB_BITS | (unsigned)(ticks >> shift & ((1 << SUB_BITS) - 1));
}

/* The upper end of a bucket. */
static uint64_t latency_bucket_end(unsigned bucket) {
    if (bucket < 1 << SUB_BITS)
        return bucket;
    unsigned shift = (bucket >> SUB_BITS) - 1;
    return (((uint64_t)(bucket & ((1 << SUB_BITS) - 1)) | 1 << SUB_BITS) + 1) << shift;
}

static void latency_record(struct latency_histogram *histogram, uint64_t ticks) {
    histogram->counts[latency_bucket(ticks)]++;
    histogram->total++;
    if (ticks > histogram->largest)
        histogram->largest = ticks;
}

static void latency_merge(struct latency_histogram *into, const struct latency_histogram *from) {
    for (unsigned i = 0; i < BUCKETS; i++)
        into->counts[i] += from->counts[i];
    into->total += from->total;
    if (from->largest > into->largest)
        into->largest = from->largest;
}

static double latency_quantile(const struct latency_histogram *histogram, double quantile) {
    uint64_t wanted = (uint64_t)((double)histogram->total * quantile), seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++)
        if ((seen += histogram->counts[i]) > wanted)
            return (double)latency_bucket_end(i);
    return (double)histogram->largest;
}

static uint64_t latency_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static size_t latency_size(uint64_t *random) {
    uint64_t draw = latency_random(random);
    unsigned bits = draw % 1000 == 0 ? 13 + (unsigned)(draw >> 32) % 7 : 4 + (unsigned)(draw >> 32) % 9;
    return ((size_t)1 << bits) + (size_t)(draw >> 16 & ((1u << bits) - 1));
}

static void *latency_allocate(struct latency_thread *thread) {
    size_t size = latency_size(&thread->random);
    uint64_t start = latency_ticks();
    unsigned char *block = malloc(size);
    latency_record(&thread->allocations, latency_ticks() - start);
    if (block == NULL)
        abort();
    block[0] = block[size - 1] = 1;
    return block;
}

static void latency_free(struct latency_thread *thread, void *block) {
    uint64_t start = latency_ticks();
    free(block);
    latency_record(&thread->frees, latency_ticks() - start);
}

static unsigned long latency_slots(unsigned long operations) {
    return latency_growing ? latency_live + operations / GROWTH_PERIOD : latency_live;
}

static void *latency_main(void *argument) {
    struct latency_thread *thread = argument;
    size_t bytes = latency_slots(latency_operations) * sizeof(void *);
    void **live = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (live == MAP_FAILED)
        abort();
    for (unsigned long n = 0; n < latency_operations; n++) {
        uint64_t draw = latency_random(&thread->random);
        void **slot = &live[(draw >> 32) % latency_slots(n)];
        void *old = *slot;
        *slot = latency_allocate(thread);
        if (draw % 8 == 0)
            old = atomic_exchange(&latency_shared[draw / 8 % SHARED], old);
        if (old != NULL)
            latency_free(thread, old);
    }
    return NULL;
}

static void latency_print_heading(void) {
    printf("%-8s %7s %-9s %9s %6s %8s %8s %8s %8s %10s\n", "heap", "threads", "operation", "calls", "timer", "p50",
           "p99", "p99.9", "p99.99", "max");
}

static void latency_print(unsigned threads, const char *operation, const struct latency_histogram *histogram,
                          double timer, double nanoseconds) {
    static const double quantiles[] = {0.5, 0.99, 0.999, 0.9999};
    printf("%-8s %7u %-9s %9" PRIu64 " %6.0f", latency_growing ? "growing" : "steady", threads, operation,
           histogram->total, timer);
    for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++)
        printf(" %8.0f", latency_quantile(histogram, quantiles[i]) * nanoseconds);
    printf(" %10.0f\n", (double)histogram->largest * nanoseconds);
}

static void latency_run(unsigned threads) {
    static struct latency_thread states[THREADS_MAX];
    struct latency_histogram timer = {0}, allocations = {0}, frees = {0};
    pthread_t ids[THREADS_MAX];
    double nanoseconds = latency_calibrate();
    for (int i = 0; i < 100000; i++) {
        uint64_t start = latency_ticks();
        latency_record(&timer, latency_ticks() - start);
    }
    for (unsigned i = 0; i < threads; i++) {
        states[i].random = 88172645463325252u + i * 0x9e3779b97f4a7c15u;
        if (pthread_create(&ids[i], NULL, latency_main, &states[i]) != 0)
            abort();
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        latency_merge(&allocations, &states[i].allocations);
        latency_merge(&frees, &states[i].frees);
    }
    double overhead = latency_quantile(&timer, 0.5) * nanoseconds;
    latency_print(threads, "malloc", &allocations, overhead, nanoseconds);
    latency_print(threads, "free", &frees, overhead, nanoseconds);
}

/* A fresh process for each: none starts with the heap of the one before. */
static int latency_run_apart(unsigned threads, bool growing) {
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        latency_growing = growing;
        /* The same total from two threads on, so that 64 threads take no longer than two. */
        latency_operations = threads > 2 ? 2 * latency_operations / threads : latency_operations;
        latency_run(threads);
        exit(0);
    }
    return child < 0 || waitpid(child, &status, 0) != child || status != 0;
}

static _Noreturn void latency_usage(void) {
    fputs("usage: latency [-t THREADS] [-g | -s] [-n THOUSANDS of operations a thread] [-l LIVE blocks a thread]\n",
          stderr);
    exit(2);
}

int main(int argc, char **argv) {
    static const unsigned all_counts[] = {1, 2, 8, 64};
    unsigned given = 0, shapes = 0;
    int option, failed = 0;
    while ((option = getopt(argc, argv, "t:gsn:l:")) != -1) {
        unsigned long value = optarg == NULL ? 0 : strtoul(optarg, NULL, 10);
        if (option == 't' && value > 0 && value <= THREADS_MAX)
            given = (unsigned)value;
        else if (option == 'n' && value > 0)
            latency_operations = value * 1000;
        else if (option == 'l' && value > 0)
            latency_live = value;
        else if (option == 's' || option == 'g')
            shapes |= option == 'g' ? 2 : 1;
        else
            latency_usage();
    }
    latency_print_heading();
    for (unsigned growing = 0; growing < 2; growing++) {
        if (shapes != 0 && (shapes & 1u << growing) == 0)
            continue;
        if (given > 0)
            failed |= latency_run_apart(given, growing);
        for (size_t i = 0; given == 0 && i < sizeof(all_counts) / sizeof(all_counts[0]); i++)
            failed |= latency_run_apart(all_counts[i], growing);
    }
    return failed;
}
