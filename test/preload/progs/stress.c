/*
 * stress SECONDS small|large: threads allocate, reallocate, align and free blocks of 1 byte to 1 MiB ("large": of 16
 * KiB to 8 MiB), most of them blocks of another thread.  Every byte carries a pattern, checked when the block is
 * changed or freed.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tap.h"

#include <malloc.h>
#include <pthread.h>
#include <time.h>

enum { THREADS = 4, SLOTS = 4096, BATCH = 10, LEAST_OPERATIONS = 60 };

static size_t slots_used = SLOTS;
static int large;

/* A slot is taken out whole by an exchange, so that a block has one holder at a time. */
struct block {
    size_t size, seed;
    unsigned char bytes[];
};

static struct block *slots[SLOTS];
static volatile int stop;
static size_t corrupt, wrong_alignment, refused;
static unsigned long long operations; /* counted by the BATCH */

static size_t random_next(size_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* As programs ask: mostly small, few large; every power of two gets its share. */
static size_t random_size(size_t *state) {
    size_t r = random_next(state);
    if (large)
        return random_next(state) % ((size_t)1 << (14 + r % 10)) + 1;
    size_t bits = r % 64 < 44 ? r % 8 + 2 : r % 64 < 60 ? r % 8 + 8 : r % 64 < 63 ? r % 4 + 14 : 16 + r / 64 % 5;
    return random_next(state) % ((size_t)1 << bits) + 1;
}

static struct block *get_block(size_t *state) {
    size_t size = random_size(state), total = sizeof(struct block) + size, kind = random_next(state) % 16;
    struct block *block = NULL;
    if (kind < 10)
        block = opaque(malloc(total));
    else if (kind < 13) {
        unsigned char *bytes = opaque(calloc(1, total));
        for (size_t i = 0; bytes && i < total; i++)
            if (bytes[i])
                __atomic_add_fetch(&corrupt, 1, __ATOMIC_RELAXED), i = total;
        block = (struct block *)bytes;
    } else {
        size_t alignment = (size_t)16 << random_next(state) % 13;
        void *p = NULL;
        if (posix_memalign(&p, alignment, total) == 0 && !aligned_to(p, alignment))
            __atomic_add_fetch(&wrong_alignment, 1, __ATOMIC_RELAXED);
        block = opaque(p);
    }
    if (!block) {
        __atomic_add_fetch(&refused, 1, __ATOMIC_RELAXED);
        return NULL;
    }
    if (!aligned_to(block, 16))
        __atomic_add_fetch(&wrong_alignment, 1, __ATOMIC_RELAXED);
    block->size = size;
    block->seed = random_next(state);
    pattern_fill(block->bytes, size, block->seed);
    return block;
}

static void check_block(struct block *block) {
    if (block->size > (size_t)1 << 23 || pattern_check(block->bytes, block->size, block->seed) != block->size)
        __atomic_add_fetch(&corrupt, 1, __ATOMIC_RELAXED);
}

static void *worker(void *argument) {
    size_t state = 88172645463325252u + (size_t)(uintptr_t)argument * 7919;
    unsigned long long done = 0;
    while (!stop) {
        size_t at = random_next(&state) % slots_used;
        struct block *block = __atomic_exchange_n(&slots[at], NULL, __ATOMIC_ACQ_REL);
        if (block) {
            check_block(block);
            if (random_next(&state) % 4 == 0) {
                size_t size = random_size(&state), kept = size < block->size ? size : block->size;
                struct block *moved = opaque(realloc(block, sizeof *block + size));
                if (moved) {
                    block = moved;
                    if (pattern_check(block->bytes, kept, block->seed) != kept)
                        __atomic_add_fetch(&corrupt, 1, __ATOMIC_RELAXED);
                    block->size = size;
                    pattern_fill(block->bytes, size, block->seed);
                }
            } else {
                free(block);
                block = NULL;
            }
        }
        if (!block)
            block = get_block(&state);
        /* Into another slot: whoever comes by there checks and frees it. */
        block = __atomic_exchange_n(&slots[random_next(&state) % slots_used], block, __ATOMIC_ACQ_REL);
        if (block) {
            check_block(block);
            free(block);
        }
        if (++done % (large ? 500 : 50000) == 0)
            malloc_trim(0);
        if (done % BATCH == 0)
            __atomic_add_fetch(&operations, BATCH, __ATOMIC_RELAXED);
    }
    return NULL;
}

int main(int argc, char **argv) {
    int seconds = argc > 1 ? atoi(argv[1]) : 4;
    tap_begin();
    if (argc > 2 && strcmp(argv[2], "large") == 0) {
        large = 1;
        slots_used = 48;
    }
    /* Two generations of threads: the second inherits what the first left in the slots. */
    for (int generation = 0; generation < 2; generation++) {
        pthread_t threads[THREADS];
        stop = 0;
        for (uintptr_t i = 0; i < THREADS; i++)
            if (pthread_create(&threads[i], NULL, worker, (void *)(i + 1 + (uintptr_t)generation * THREADS)) != 0)
                return 77;
        struct timespec pause = {seconds / 2, seconds % 2 * 500000000L};
        nanosleep(&pause, NULL);
        /* Longer on a busy machine: what counts is what was done. */
        const struct timespec more = {0, 50000000L};
        while (__atomic_load_n(&operations, __ATOMIC_RELAXED) < (unsigned long long)(generation + 1) * LEAST_OPERATIONS)
            nanosleep(&more, NULL);
        stop = 1;
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
    }
    size_t live = 0;
    for (size_t i = 0; i < slots_used; i++)
        if (slots[i]) {
            live += slots[i]->size;
            check_block(slots[i]);
        }
    note("%llu operations, %zu KiB live at the end, RSS %ld KiB", operations, live >> 10, rss_bytes() >> 10);
    ok(operations >= 2 * LEAST_OPERATIONS, "threads got on with it");
    ok(corrupt == 0, "every byte of every block kept its pattern");
    ok(wrong_alignment == 0, "every block was aligned");
    ok(refused == 0, "no request was refused");
    ok(rss_bytes() < (long)(live * 3 + ((size_t)96 << 20)), "resident memory is in proportion to what is live");
    for (size_t i = 0; i < slots_used; i++)
        free(slots[i]);
    return done_testing();
}
