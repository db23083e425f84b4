/*
 * workload.h: what every whole-process workload shares.
 *
 * A workload is one standalone program on plain malloc. It does a fixed amount of work (never "as much as fits in a
 * second"), so that wall time, processor time and peak RSS of the process can be compared between allocators. All
 * choices come from a seeded generator and never from an address, so the one line it prints is the same under every
 * allocator; bench/compare refuses a workload whose lines differ. Every block carries a tag at both ends that is
 * checked before it is freed, which catches an allocator that hands out overlapping blocks.
 *
 *     NAME [-t THREADS] [-n PERCENT] [-s SEED]
 */
#ifndef SLABMALLOC_BENCH_WORKLOAD_H
#define SLABMALLOC_BENCH_WORKLOAD_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORKLOAD_THREADS_MAX 256

struct workload {
    const char *name;
    unsigned threads;
    uint64_t percent; /* amount of work; 100 is about one to three seconds with glibc on a 2020s core */
    uint64_t seed;
};

static inline _Noreturn void workload_fail(const char *what) {
    fprintf(stderr, "workload: %s\n", what);
    exit(1);
}

/* splitmix64 (Steele, Lea, Flood 2014): one add and three shift-multiplies, any seed is good. */
static inline uint64_t workload_random(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Uniform in [0, bound): multiply-shift, bound < 2^32. */
static inline uint64_t workload_below(uint64_t *state, uint64_t bound) {
    return (workload_random(state) >> 32) * bound >> 32;
}

static inline size_t workload_between(uint64_t *state, size_t low, size_t high) {
    return low + workload_below(state, high - low + 1);
}

/* Log-uniform in [2^low_bits, 2^(high_bits)): each power of two is as likely as the next. */
static inline size_t workload_log_size(uint64_t *state, unsigned low_bits, unsigned high_bits) {
    unsigned bits = low_bits + (unsigned)workload_below(state, high_bits - low_bits);
    return ((size_t)1 << bits) + workload_below(state, (uint64_t)1 << bits);
}

/* A generator of its own for thread number index. */
static inline uint64_t workload_seed(const struct workload *load, unsigned index) {
    uint64_t state = load->seed + index * 0x632be59bd9b4e019u;
    return workload_random(&state);
}

/* The empty asm hides the pointer's origin: without it the compiler may remove a malloc/free pair. */
static inline void *workload_hide(void *p) {
    __asm__ volatile("" : "+r"(p) : : "memory");
    return p;
}

static inline void *workload_alloc(size_t size) {
    void *p = workload_hide(malloc(size));
    if (p == NULL)
        workload_fail("out of memory");
    return p;
}

/* Writes the tag at both ends of a block. Blocks shorter than 8 bytes carry only as many of its bytes as fit. */
static inline void workload_tag(void *block, size_t size, uint64_t tag) {
    memcpy(block, &tag, size < sizeof(tag) ? size : sizeof(tag));
    if (size > sizeof(tag))
        ((unsigned char *)block)[size - 1] = (unsigned char)tag;
}

static inline void workload_check(const void *block, size_t size, uint64_t tag) {
    if (memcmp(block, &tag, size < sizeof(tag) ? size : sizeof(tag)) != 0 ||
        (size > sizeof(tag) && ((const unsigned char *)block)[size - 1] != (unsigned char)tag))
        workload_fail("a block lost its contents");
}

/* A block that remembers what it should hold; tag 0 means "no block". */
struct workload_block {
    void *data;
    size_t size;
    uint64_t tag;
};

static inline void workload_block_make(struct workload_block *block, size_t size, uint64_t tag) {
    block->data = workload_alloc(size);
    block->size = size;
    block->tag = tag | 1;
    workload_tag(block->data, size, block->tag);
}

/* Checks and frees; returns the tag, so that callers can sum what they have freed. */
static inline uint64_t workload_block_drop(struct workload_block *block) {
    uint64_t tag = block->tag;
    if (tag == 0)
        return 0;
    workload_check(block->data, block->size, tag);
    free(block->data);
    block->tag = 0;
    return tag;
}

static inline uint64_t workload_amount(const struct workload *load, uint64_t at_100_percent) {
    uint64_t amount = at_100_percent * load->percent / 100;
    return amount > 0 ? amount : 1;
}

static inline struct workload workload_start(int argc, char **argv, unsigned default_threads) {
    struct workload load = {.name = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0],
                            .threads = default_threads,
                            .percent = 100,
                            .seed = 20240229};
    int option;
    while ((option = getopt(argc, argv, "t:n:s:")) != -1) {
        uint64_t value = option == '?' ? 0 : strtoull(optarg, NULL, 10);
        if (option == 't' && value > 0 && value <= WORKLOAD_THREADS_MAX)
            load.threads = (unsigned)value;
        else if (option == 'n' && value > 0)
            load.percent = value;
        else if (option == 's')
            load.seed = value;
        else {
            fprintf(stderr, "usage: %s [-t THREADS (1-%d)] [-n PERCENT of the work] [-s SEED]\n", load.name,
                    WORKLOAD_THREADS_MAX);
            exit(2);
        }
    }
    return load;
}

static inline int workload_finish(const struct workload *load, uint64_t checksum) {
    printf("%s threads=%u percent=%" PRIu64 " checksum=%016" PRIx64 "\n", load->name, load->threads, load->percent,
           checksum);
    return 0;
}

static inline pthread_t workload_spawn(void *(*body)(void *), void *argument) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, body, argument) != 0)
        workload_fail("cannot create a thread");
    return thread;
}

struct workload_worker {
    const struct workload *load;
    uint64_t (*body)(const struct workload *load, unsigned index);
    unsigned index;
    uint64_t sum;
};

static inline void *workload_worker_main(void *argument) {
    struct workload_worker *worker = argument;
    worker->sum = worker->body(worker->load, worker->index);
    return NULL;
}

/*
 * Runs body in load->threads threads and returns the sum of their results. One thread means the main thread: a
 * single-threaded program must stay one, since allocators take shortcuts before the first pthread_create.
 */
static inline uint64_t workload_run(const struct workload *load,
                                    uint64_t (*body)(const struct workload *load, unsigned index)) {
    struct workload_worker workers[WORKLOAD_THREADS_MAX];
    pthread_t threads[WORKLOAD_THREADS_MAX];
    uint64_t sum = 0;
    if (load->threads == 1)
        return body(load, 0);
    for (unsigned i = 0; i < load->threads; i++) {
        workers[i] = (struct workload_worker){load, body, i, 0};
        threads[i] = workload_spawn(workload_worker_main, &workers[i]);
    }
    for (unsigned i = 0; i < load->threads; i++) {
        pthread_join(threads[i], NULL);
        sum += workers[i].sum;
    }
    return sum;
}

#endif
