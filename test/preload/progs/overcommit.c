/*
 * Runs while the machine is in overcommit mode 2, where every private writable mapping counts in full.  It must not use
 * the machine's commit limit up: others live here too.
 */
#include "tap.h"

#include <malloc.h>
#include <pthread.h>

static void *works(void *argument) {
    (void)argument;
    size_t bad = 0;
    for (size_t round = 0; round < 50; round++) {
        void *p[200];
        for (size_t i = 0; i < 200; i++) {
            size_t n = i * i + round;
            p[i] = opaque(malloc(n));
            if (!p[i])
                return (void *)1;
            pattern_fill(p[i], n, i);
        }
        for (size_t i = 0; i < 200; i++) {
            bad += pattern_check(p[i], i * i + round, i) != i * i + round;
            free(p[i]);
        }
    }
    return (void *)bad;
}

int main(void) {
    tap_begin();
    ok(works(NULL) == NULL, "small blocks work in overcommit mode 2");
    pthread_t threads[8];
    size_t bad = 0;
    for (int i = 0; i < 8; i++)
        bad += pthread_create(&threads[i], NULL, works, NULL) != 0;
    for (int i = 0; i < 8; i++) {
        void *result;
        pthread_join(threads[i], &result);
        bad += (size_t)(uintptr_t)result;
    }
    ok(bad == 0, "eight threads work in overcommit mode 2");
    char *p = opaque(malloc((size_t)100 << 20));
    ok(p != NULL, "a 100 MiB block can be had");
    if (p)
        memset(p, 1, (size_t)100 << 20);
    free(p);
    long mapped = proc_bytes("/proc/self/status", "VmData:");
    note("VmData %ld MiB", mapped >> 20);
    ok(mapped < (long)512 << 20, "no address space is reserved that counts as committed");
    long limit = proc_bytes("/proc/meminfo", "CommitLimit:");
    errno = 0;
    void *q = opaque(malloc((size_t)limit + ((size_t)1 << 30)));
    ok(!q && errno == ENOMEM, "a block above the commit limit is NULL with ENOMEM");
    errno = 0;
    q = opaque(calloc(1, (size_t)limit + ((size_t)1 << 30)));
    ok(!q && errno == ENOMEM, "calloc above the commit limit is NULL with ENOMEM");
    ok(works(NULL) == NULL, "and small blocks work on");
    return done_testing();
}
