/*
 * idle_threads: what a thread that once allocated keeps while it sleeps.
 *
 *     idle_threads [-t THREADS] [-c CLASSES] [-b]
 *
 * All threads start and wait; then each allocates one object of each of CLASSES sizes (16 bytes and up by powers of the
 * square root of two, so each lands in another size class) and writes it; then each frees them. RSS over the state
 * before the first allocation, a thread. -b: each thread first allocates and frees 1000 objects of each size, as a
 * server thread has after its first busy minute.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "memory_probe.h"

#include <pthread.h>
#include <stdbool.h>

enum { THREADS_MAX = 1024, CLASSES_MAX = 24, BURST = 1000 };

static unsigned idle_threads = 64, idle_classes = 16;
static bool idle_burst;
static pthread_barrier_t idle_barrier;

static size_t idle_size(unsigned class) {
    size_t power = (size_t)16 << class / 2;
    return class % 2 == 0 ? power : power + power / 2 - power / 16;
}

/* Before each stage the main thread reads RSS while all others wait: two waits make a stage. */
static void idle_wait_for_reading(void) {
    pthread_barrier_wait(&idle_barrier);
    pthread_barrier_wait(&idle_barrier);
}

static void idle_work_through(unsigned class) {
    void *blocks[BURST];
    for (int i = 0; i < BURST; i++) {
        blocks[i] = malloc(idle_size(class));
        memset(blocks[i], 1, idle_size(class));
    }
    for (int i = 0; i < BURST; i++)
        free(blocks[i]);
}

/* All the stack that later calls use: it is not the allocator's to answer for. */
static __attribute__((noinline)) void idle_touch_stack(void) {
    char stack[4 * BURST * sizeof(void *)];
    memset(stack, 1, sizeof(stack));
    __asm__ volatile("" : : "r"(stack) : "memory");
}

static void *idle_thread(void *argument) {
    void *blocks[CLASSES_MAX];
    idle_touch_stack();
    idle_wait_for_reading();
    for (unsigned class = 0; class < idle_classes; class ++) {
        if (idle_burst)
            idle_work_through(class);
        blocks[class] = malloc(idle_size(class));
        memset(blocks[class], 1, idle_size(class));
    }
    idle_wait_for_reading();
    for (unsigned class = 0; class < idle_classes; class ++)
        free(blocks[class]);
    idle_wait_for_reading();
    return argument;
}

static long idle_read(void) {
    pthread_barrier_wait(&idle_barrier);
    long kib = probe_self_kib("Rss");
    pthread_barrier_wait(&idle_barrier);
    return kib;
}

int main(int argc, char **argv) {
    pthread_t threads[THREADS_MAX];
    size_t asked = 0;
    int option;
    while ((option = getopt(argc, argv, "t:c:b")) != -1) {
        unsigned value = option == 't' || option == 'c' ? (unsigned)atoi(optarg) : 0;
        if (option == 't' && value > 0 && value <= THREADS_MAX)
            idle_threads = value;
        else if (option == 'c' && value > 0 && value <= CLASSES_MAX)
            idle_classes = value;
        else if (option == 'b')
            idle_burst = true;
        else {
            fputs("usage: idle_threads [-t THREADS] [-c CLASSES] [-b]\n", stderr);
            return 2;
        }
    }
    for (unsigned class = 0; class < idle_classes; class ++)
        asked += idle_size(class);
    pthread_barrier_init(&idle_barrier, NULL, idle_threads + 1);
    for (unsigned i = 0; i < idle_threads; i++)
        if (pthread_create(&threads[i], NULL, idle_thread, NULL) != 0) {
            fputs("idle_threads: cannot create a thread\n", stderr);
            return 1;
        }
    long before = idle_read(), holding = idle_read(), freed = idle_read();
    for (unsigned i = 0; i < idle_threads; i++)
        pthread_join(threads[i], NULL);
    long ended = probe_self_kib("Rss");
    printf("%u threads, %u classes%s, %.1f KiB asked for a thread\n", idle_threads, idle_classes,
           idle_burst ? " after a burst" : "", (double)asked / 1024);
    printf("  holding one object of each   %8.1f KiB a thread\n", (double)(holding - before) / idle_threads);
    printf("  all freed, threads idle      %8.1f KiB a thread\n", (double)(freed - before) / idle_threads);
    printf("  threads ended                %8ld KiB resident in all (%ld before)\n", ended, before);
    return 0;
}
