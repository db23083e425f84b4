/*
 * Memory does not pile up when threads come and go, when a thread only frees what others allocated, when blocks wander
 * round a ring of threads, or when the threads that allocated are all gone.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tap.h"

#include <malloc.h>
#include <pthread.h>

#define MIB ((long)1 << 20)

static pthread_attr_t small_stack;

static void *short_life(void *argument) {
    size_t seed = (size_t)(uintptr_t)argument;
    void *p[100];
    for (size_t i = 0; i < 100; i++) {
        size_t n = i * (seed % 7 + 1) * 8;
        memset(p[i] = opaque(malloc(n)), 1, n);
    }
    for (size_t i = 0; i < 100; i++)
        free(p[i]);
    return NULL;
}

static void run_threads(int count) {
    for (int i = 0; i < count; i += 4) {
        pthread_t threads[4];
        for (int k = 0; k < 4; k++)
            if (pthread_create(&threads[k], &small_stack, short_life, (void *)(uintptr_t)(i + k)) != 0)
                _exit(77);
        for (int k = 0; k < 4; k++)
            pthread_join(threads[k], NULL);
    }
}

static void threads_come_and_go(void) {
    run_threads(1000);
    long early = rss_bytes();
    run_threads(9000);
    long late = rss_bytes();
    note("RSS after 1000 threads %ld KiB, after 10,000 %ld KiB", early / 1024, late / 1024);
    ok(late - early < 8 * MIB, "10,000 threads that come and go leave no memory behind");
}

/* A bounded queue from a producer to a consumer that never allocates. */
enum { SLOTS = 1024 };

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    void *blocks[SLOTS];
    size_t head, tail;
} queue = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, {NULL}, 0, 0};

static void *end_mark = &queue;

static void put(void **batch, size_t count) {
    pthread_mutex_lock(&queue.lock);
    for (size_t i = 0; i < count; i++) {
        while (queue.tail - queue.head == SLOTS) {
            pthread_cond_broadcast(&queue.changed);
            pthread_cond_wait(&queue.changed, &queue.lock);
        }
        queue.blocks[queue.tail++ % SLOTS] = batch[i];
    }
    pthread_cond_broadcast(&queue.changed);
    pthread_mutex_unlock(&queue.lock);
}

static size_t get(void **batch, size_t max) {
    size_t count = 0;
    pthread_mutex_lock(&queue.lock);
    while (queue.tail == queue.head)
        pthread_cond_wait(&queue.changed, &queue.lock);
    while (count < max && queue.tail != queue.head)
        batch[count++] = queue.blocks[queue.head++ % SLOTS];
    pthread_cond_broadcast(&queue.changed);
    pthread_mutex_unlock(&queue.lock);
    return count;
}

static void *only_frees(void *argument) {
    void *batch[64];
    long peak = 0;
    size_t seen = 0;
    (void)argument;
    for (;;) {
        size_t count = get(batch, 64);
        for (size_t i = 0; i < count; i++) {
            if (batch[i] == end_mark)
                return (void *)peak;
            free(batch[i]);
        }
        /* Every 512th block: a look at /proc costs more than a free. */
        size_t before = seen / 512;
        seen += count;
        if (seen / 512 != before) {
            long now = rss_bytes();
            peak = now > peak ? now : peak;
        }
    }
}

/* At most SLOTS and two batches are alive; what goes through is many times the bound. */
static void consumer_never_allocates(const char *name, size_t min, size_t max, size_t count) {
    long before = rss_bytes();
    pthread_t thread;
    void *peak, *batch[64];
    if (pthread_create(&thread, &small_stack, only_frees, NULL) != 0)
        _exit(77);
    for (size_t i = 0; i < count; i += 64) {
        for (size_t k = 0; k < 64; k++) {
            size_t n = min + (i + k) * 2654435761u % (max - min + 1);
            batch[k] = opaque(malloc(n));
            memset(batch[k], 1, n);
        }
        put(batch, 64);
    }
    put(&end_mark, 1);
    pthread_join(thread, &peak);
    long bound = (long)((SLOTS + 128) * max * 2) + 16 * MIB;
    note("%s: RSS before %ld KiB, peak %ld KiB, traffic %zu MiB", name, before / 1024, (long)peak / 1024,
         count * ((min + max) / 2) >> 20);
    ok((long)peak - before < bound, "%s freed by a thread that never allocates: memory stays bounded", name);
}

/* Each thread fills a round of blocks, which the next thread frees: everything is freed by someone else. */
enum { RING = 4, ROUNDS = 100, PER_ROUND = 2000 };

static void *ring[RING][PER_ROUND];
static pthread_barrier_t barrier;

static void *ring_member(void *argument) {
    size_t me = (size_t)(uintptr_t)argument;
    for (size_t round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < PER_ROUND; i++) {
            size_t n = i % 10 ? i % 700 : i % 9000;
            memset(ring[me][i] = opaque(malloc(n)), 1, n);
        }
        pthread_barrier_wait(&barrier);
        for (size_t i = 0; i < PER_ROUND; i++)
            free(ring[(me + 1) % RING][i]);
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

static void everyone_frees_for_others(void) {
    long before = rss_bytes();
    pthread_t threads[RING];
    pthread_barrier_init(&barrier, NULL, RING);
    for (size_t i = 0; i < RING; i++)
        if (pthread_create(&threads[i], &small_stack, ring_member, (void *)i) != 0)
            _exit(77);
    for (int i = 0; i < RING; i++)
        pthread_join(threads[i], NULL);
    long after = rss_bytes();
    note("ring: RSS before %ld KiB, after %ld KiB", before / 1024, after / 1024);
    /* Live at once: about 4 * 2000 * 800 bytes = 6 MiB. */
    ok(after - before < 40 * MIB, "a ring of threads that free each other's blocks: memory stays bounded");
}

enum { HEIRS = 50, LEFT = 4000 };

static void *left[HEIRS][LEFT];

static void *leaves_blocks(void *argument) {
    void **mine = argument;
    for (size_t i = 0; i < LEFT; i++)
        memset(mine[i] = opaque(malloc(i % 1000)), 1, i % 1000);
    return NULL;
}

static void blocks_outlive_their_thread(void) {
    long before = rss_bytes(), peak = 0, bad = 0;
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < HEIRS; i++) {
            pthread_t thread;
            if (pthread_create(&thread, &small_stack, leaves_blocks, left[i]) != 0)
                _exit(77);
            pthread_join(thread, NULL);
        }
        long now = rss_bytes();
        peak = now > peak ? now : peak;
        for (int i = 0; i < HEIRS; i++)
            for (size_t k = 0; k < LEFT; k++) {
                char *p = left[i][k];
                bad += k % 1000 && p[k % 1000 - 1] != 1;
                free(p);
            }
    }
    malloc_trim(0);
    long after = rss_bytes();
    note("dead threads' blocks: RSS before %ld KiB, peak %ld KiB, at the end %ld KiB", before / 1024, peak / 1024,
         after / 1024);
    ok(bad == 0, "blocks outlive the thread that allocated them");
    ok(peak - before < 250 * MIB, "and are reused: ten rounds need no more than two (100 MiB live)");
    if (tap_subject_is("other"))
        skip("malloc_trim gives back what dead threads left", "not every allocator has malloc_trim");
    else
        ok(after - before < 32 * MIB, "malloc_trim gives back what dead threads left");
}

int main(int argc, char **argv) {
    tap_begin();
    pthread_attr_init(&small_stack);
    pthread_attr_setstacksize(&small_stack, 64 << 10);
    /* "ends" or "remote", so that one's peak does not hide the other's. */
    if (argc > 1 && strcmp(argv[1], "ends") == 0) {
        threads_come_and_go();
        blocks_outlive_their_thread();
    } else {
        consumer_never_allocates("small blocks", 1, 512, 3000000);
        consumer_never_allocates("middle blocks", 4000, 30000, 100000);
        consumer_never_allocates("page runs", 40000, 200000, 10000);
        consumer_never_allocates("large blocks", 300000, 700000, 2000);
        everyone_frees_for_others();
    }
    return done_testing();
}
