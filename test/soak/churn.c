/*
 * churn MODE: a program that never ends and always holds the same: what the soak runs for hours.
 *
 * Each line on standard input is one cycle. A cycle allocates, hands on, resizes and frees, with a pattern in every
 * block that is checked before the block goes; at its end nothing is live but what was before the first cycle. Then the
 * heap's own check runs, and one line says "ok OPERATIONS USED", USED being the bytes the heap thinks are in use (0
 * without slabmalloc). Anything wrong is said on standard error and ends the program with status 1.
 *
 *   sizes    four threads that come and go, each on its own: malloc, calloc, realloc, aligned, all sizes
 *   remote   eight threads that stay, and free mostly what others allocated
 *   fork     threads busy in malloc while children are forked, which allocate, free and fork again
 *   peak     many megabytes that fall to a scattered tenth, then to nothing
 *   burst    a hundred thousand objects of one size, freed forwards, backwards and at random
 *   large    blocks of megabytes that grow, shrink and are cleared
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "slabmalloc/slabmalloc.h"

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

static const char *(*heap_check)(void);
static void (*heap_stats)(struct slabmalloc_stats *, size_t);

static _Atomic unsigned long operations;

static void fail(const char *what) {
    dprintf(2, "churn: %s\n", what);
    _exit(1);
}

static void must_be_sound(void) {
    const char *broken = heap_check ? heap_check() : NULL;
    if (broken) {
        fail(broken);
    }
}

/* --- Random numbers and blocks --- */

static uint64_t random_next(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* A bit length first: every doubling is as likely as the others. */
static size_t random_size(uint64_t *state, unsigned bits) {
    return random_next(state) & (((uint64_t)2 << random_next(state) % bits) - 1);
}

struct block {
    unsigned char *p;
    size_t bytes;
    unsigned char seed;
};

/* The bytes that are looked at: the first ones, one in each 509, the last: an overlap shows, large blocks stay cheap.
 */
static size_t next_place(size_t at, size_t bytes) {
    size_t next = at < 64 ? at + 1 : at + 509;
    return next < bytes || at == bytes - 1 ? next : bytes - 1;
}

static void block_fill(const struct block *block) {
    for (size_t at = 0; at < block->bytes; at = next_place(at, block->bytes)) {
        block->p[at] = (unsigned char)(block->seed + at);
    }
}

/* Of BLOCK's bytes the first KEPT. */
static void block_check(const struct block *block, size_t kept) {
    for (size_t at = 0; at < kept; at = next_place(at, block->bytes)) {
        if (block->p[at] != (unsigned char)(block->seed + at)) {
            fail("a block lost its bytes");
        }
    }
}

static void must_be_zero(const unsigned char *p, size_t bytes) {
    for (size_t at = 0; at < bytes; at += at < 4096 ? 1 : 61) {
        if (p[at]) {
            fail("calloc gave memory that is not zero");
        }
    }
}

static struct block block_new(uint64_t *rng, size_t bytes) {
    struct block block = {.bytes = bytes, .seed = (unsigned char)random_next(rng)};
    size_t kind = random_next(rng) % 16, align = (size_t)16 << random_next(rng) % 9;
    if (kind < 10) {
        block.p = malloc(bytes);
    } else if (kind < 14) {
        block.p = calloc(1, bytes);
    } else if (posix_memalign((void **)&block.p, align, bytes) || (uintptr_t)block.p % align) {
        fail("posix_memalign failed or is not aligned");
    }
    if (!block.p) {
        fail("no memory");
    }
    if (kind >= 10 && kind < 14) {
        must_be_zero(block.p, bytes);
    }
    if (malloc_usable_size(block.p) < bytes) {
        fail("the usable size is smaller than what was asked for");
    }
    block_fill(&block);
    return block;
}

static void block_free(struct block *block) {
    if (block->p) {
        block_check(block, block->bytes);
        free(block->p);
        block->p = NULL;
    }
}

static void block_resize(struct block *block, size_t bytes) {
    block_check(block, block->bytes);
    unsigned char *p = realloc(block->p, bytes + 1); /* 0 would free it */
    if (!p) {
        fail("realloc: no memory");
    }
    block->p = p;
    block_check(block, block->bytes < bytes ? block->bytes : bytes);
    block->bytes = bytes;
    block_fill(block);
}

/* --- The modes --- */

#define HELD 2000

static void churn_own(uint64_t seed, unsigned long steps, unsigned bits) {
    struct block held[HELD] = {0};
    for (unsigned long i = 0; i < steps; i++) {
        struct block *block = &held[random_next(&seed) % HELD];
        if (!block->p) {
            *block = block_new(&seed, random_size(&seed, bits));
        } else if (random_next(&seed) % 4 == 0) {
            block_resize(block, random_size(&seed, bits));
        } else {
            block_free(block);
        }
    }
    for (size_t i = 0; i < HELD; i++) {
        block_free(&held[i]);
    }
    operations += steps;
}

static void *sizes_thread(void *arg) {
    churn_own((uintptr_t)arg, 60000, 15);
    churn_own((uintptr_t)arg, 4000, 19);
    return NULL;
}

static void run_threads(unsigned n, uint64_t seed, void *(*body)(void *), void (*meanwhile)(uint64_t)) {
    pthread_t thread[16];
    for (unsigned i = 0; i < n; i++) {
        if (pthread_create(&thread[i], NULL, body, (void *)(uintptr_t)(seed * 100 + i))) {
            fail("pthread_create");
        }
    }
    meanwhile(seed);
    for (unsigned i = 0; i < n; i++) {
        pthread_join(thread[i], NULL);
    }
}

static void check_meanwhile(uint64_t seed) {
    (void)seed;
    must_be_sound();
}

static void cycle_sizes(uint64_t seed) {
    run_threads(4, seed, sizes_thread, check_meanwhile);
}

#define REMOTE_THREADS 8
#define EXCHANGE 4096

static _Atomic(struct block *) exchange[EXCHANGE];
static pthread_barrier_t cycle_begins, cycle_ends;

static void take_over(struct block *held) {
    if (held) {
        block_free(held);
        free(held); /* so is the record: another thread's block */
    }
}

static void *remote_thread(void *arg) {
    uint64_t rng = (uintptr_t)arg;
    for (;;) {
        pthread_barrier_wait(&cycle_begins);
        for (unsigned i = 0; i < 20000; i++) {
            struct block *held = malloc(sizeof *held);
            if (!held) {
                fail("no memory");
            }
            *held = block_new(&rng, random_size(&rng, random_next(&rng) % 16 ? 11 : 17));
            take_over(atomic_exchange(&exchange[random_next(&rng) % EXCHANGE], held));
        }
        operations += 20000;
        pthread_barrier_wait(&cycle_ends);
    }
    return NULL;
}

static void cycle_remote(uint64_t seed) {
    static bool started;
    if (!started) {
        started = true;
        pthread_barrier_init(&cycle_begins, NULL, REMOTE_THREADS + 1);
        pthread_barrier_init(&cycle_ends, NULL, REMOTE_THREADS + 1);
        for (uintptr_t i = 0; i < REMOTE_THREADS; i++) {
            pthread_t thread;
            if (pthread_create(&thread, NULL, remote_thread, (void *)(seed + i))) {
                fail("pthread_create");
            }
        }
    }
    pthread_barrier_wait(&cycle_begins);
    must_be_sound();
    pthread_barrier_wait(&cycle_ends);
    for (size_t i = 0; i < EXCHANGE; i++) {
        take_over(atomic_exchange(&exchange[i], NULL));
    }
}

static void must_end_well(pid_t pid) {
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status) {
        fail("a child did not end well");
    }
}

/* In a child: GENERATIONS more, each forked by the one before. */
static void child(uint64_t seed, unsigned generations) {
    pid_t pid = 0;
    do {
        churn_own(++seed, 1500, 14);
        pid = generations ? fork() : 0;
    } while (generations-- && !pid);
    if (pid) {
        must_end_well(pid);
    }
    must_be_sound();
    _exit(0);
}

static _Atomic bool forking;

static void *busy_thread(void *arg) {
    for (uint64_t seed = (uintptr_t)arg; forking; seed += 1000) {
        churn_own(seed, 2000, 15);
    }
    return NULL;
}

static void fork_meanwhile(uint64_t seed) {
    pid_t pids[20];
    for (unsigned i = 0; i < COUNT_OF(pids); i++) {
        pids[i] = fork();
        if (!pids[i]) {
            child(seed + i, i % 3);
        }
        churn_own(seed + i, 200, 14);
    }
    for (unsigned i = 0; i < COUNT_OF(pids); i++) {
        must_end_well(pids[i]);
    }
    forking = false;
}

static void cycle_fork(uint64_t seed) {
    forking = true;
    run_threads(4, seed, busy_thread, fork_meanwhile);
}

#define PEAK_BYTES ((size_t)128 << 20)
#define PEAK_BLOCKS 400000

static void cycle_peak(uint64_t seed) {
    static struct block held[PEAK_BLOCKS];
    size_t n = 0;
    for (size_t sum = 0; sum < PEAK_BYTES && n < PEAK_BLOCKS; n++) {
        held[n] = block_new(&seed, random_size(&seed, random_next(&seed) % 64 ? 11 : 20));
        sum += held[n].bytes;
    }
    for (size_t i = 0; i < n; i++) {
        if (i % 10) {
            block_free(&held[i]);
        }
    }
    must_be_sound();
    malloc_trim(0);
    usleep(50000);
    for (size_t i = 0; i < n; i += 10) {
        block_free(&held[i]);
    }
    operations += 2 * n;
}

#define BURST 100000

static void cycle_burst(uint64_t seed) {
    static void *object[BURST];
    size_t bytes = 1 + random_size(&seed, 9);
    for (unsigned round = 0; round < 6; round++) {
        for (size_t i = 0; i < BURST; i++) {
            object[i] = malloc(bytes);
            if (!object[i]) {
                fail("no memory");
            }
            memset(object[i], (int)i, bytes < 8 ? bytes : 8);
        }
        for (size_t i = 0; round % 3 == 2 && i < BURST; i++) {
            size_t other = random_next(&seed) % BURST;
            void *p = object[i];
            object[i] = object[other];
            object[other] = p;
        }
        for (size_t i = 0; i < BURST; i++) {
            free(object[round % 3 == 1 ? BURST - 1 - i : i]);
        }
    }
    operations += 12 * BURST;
}

static void cycle_large(uint64_t seed) {
    struct block held[24] = {0};
    for (unsigned i = 0; i < 600; i++) {
        struct block *block = &held[random_next(&seed) % COUNT_OF(held)];
        size_t bytes = random_size(&seed, 20) + random_next(&seed) % ((size_t)4 << 20);
        if (!block->p) {
            *block = block_new(&seed, bytes);
        } else if (random_next(&seed) % 2) {
            block_resize(block, bytes);
        } else {
            block_free(block);
        }
    }
    for (size_t i = 0; i < COUNT_OF(held); i++) {
        block_free(&held[i]);
    }
    operations += 600;
}

static const struct {
    const char *name;
    void (*cycle)(uint64_t seed);
} modes[] = {
    {"sizes", cycle_sizes}, {"remote", cycle_remote}, {"fork", cycle_fork},
    {"peak", cycle_peak},   {"burst", cycle_burst},   {"large", cycle_large},
};

static size_t used_bytes(void) {
    struct slabmalloc_stats stats = {0};
    if (heap_stats) {
        heap_stats(&stats, sizeof stats);
    }
    return stats.used_bytes;
}

int main(int argc, char **argv) {
    void (*cycle)(uint64_t seed) = NULL;
    for (size_t i = 0; i < COUNT_OF(modes); i++) {
        if (argc == 2 && !strcmp(argv[1], modes[i].name)) {
            cycle = modes[i].cycle;
        }
    }
    if (!cycle) {
        fputs("usage: churn sizes|remote|fork|peak|burst|large\n", stderr);
        return 2;
    }
    *(void **)&heap_check = dlsym(RTLD_DEFAULT, "slabmalloc_check");
    *(void **)&heap_stats = dlsym(RTLD_DEFAULT, "slabmalloc_stats");
    char line[64];
    for (uint64_t seed = 1; fgets(line, sizeof line, stdin); seed++) {
        cycle(seed);
        malloc_trim(0);
        must_be_sound();
        printf("ok %lu %zu\n", (unsigned long)operations, used_bytes());
        fflush(stdout);
    }
    return 0;
}
