/*
 * hugetlb_pool.h: pages in the kernel's pool for the length of a test, and a pool as it was afterwards,
 * however the test ends: a guardian process holds it, and a lock against other tests, until the test is gone.
 */
#ifndef SLABMALLOC_TEST_HUGETLB_POOL_H
#define SLABMALLOC_TEST_HUGETLB_POOL_H

#include <fcntl.h>
#include <sys/file.h>
#include <sys/prctl.h>

#include "support.h"

/* Which pool: NEEDS_POOL is about it. */
static unsigned long pool_page_kib = 2048;

#define POOL_PATH "/sys/kernel/mm/hugepages/hugepages-%lukB/%s"

static inline long pool_read(const char *name) {
    char path[128];
    long n = -1;
    snprintf(path, sizeof path, POOL_PATH, pool_page_kib, name);
    FILE *file = fopen(path, "r");
    if (file) {
        n = fscanf(file, "%ld", &n) == 1 ? n : -1;
        fclose(file);
    }
    return n;
}

static inline long pool_free(void) {
    return pool_read("free_hugepages") - pool_read("resv_hugepages");
}

static inline bool pool_write(const char *name, long n) {
    char path[128];
    snprintf(path, sizeof path, POOL_PATH, pool_page_kib, name);
    FILE *file = fopen(path, "w");
    bool done = file && fprintf(file, "%ld\n", n) > 0;
    return file && !fclose(file) && done;
}

static inline bool pool_set(long npages) {
    long used = pool_read("nr_hugepages") - pool_free();
    return pool_write("nr_hugepages", used + npages) && pool_free() == npages;
}

static inline void compact_memory(void) {
    FILE *compact = fopen("/proc/sys/vm/compact_memory", "w");
    if (compact) {
        fputs("1", compact);
        fclose(compact);
    }
}

static inline int pool_lock(int how) {
    int lock = open("/tmp/.slabmalloc-hugetlb-pool", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    flock(lock, how);
    return lock;
}

static int pool_shared = -1;

/* For a suite's .init: its tests may get pages of the pool that they do not count, so no test of another program may
 * count meanwhile. NEEDS_POOL takes the place of it. */
static inline void pool_share(void) {
    pool_shared = pool_lock(LOCK_SH);
}

/* Sets the pool up, says whether that worked, and puts it back when the pipe's other end is gone. */
static inline void pool_guard(long npages, int answer, int alive) {
    char ignored;
    prctl(PR_SET_NAME, "pool guardian");
    setsid();
    pool_lock(LOCK_EX);
    long total = pool_read("nr_hugepages"), extra = pool_read("nr_overcommit_hugepages");
    bool done = total >= 0 && (!extra || pool_write("nr_overcommit_hugepages", 0));
    if (done && !pool_set(npages)) {
        compact_memory(); /* there is memory, but not in one piece */
        done = pool_set(npages);
    }
    (void)!write(answer, done ? "y" : "n", 1);
    close(answer);
    (void)!read(alive, &ignored, 1);
    pool_write("nr_hugepages", total);
    if (extra) {
        pool_write("nr_overcommit_hugepages", extra);
    }
    _exit(0);
}

/* True: the pool has exactly NPAGES free pages now, and no other test touches it. Once in a process. */
static inline bool pool_has(long npages) {
    int answer[2], alive[2];
    char done = 'n';
    if (pool_shared >= 0) {
        close(pool_shared);
        pool_shared = -1;
    }
    MUST(!pipe2(answer, O_CLOEXEC) && !pipe2(alive, O_CLOEXEC));
    pid_t pid = fork();
    MUST(pid >= 0);
    if (!pid) {
        close(answer[0]);
        close(alive[1]);
        /* Nobody waits for the guardian: it is init's. */
        if (fork()) {
            _exit(0);
        }
        pool_guard(npages, answer[1], alive[0]);
    }
    close(answer[1]);
    close(alive[0]); /* the other end stays open until this process, and every child of it, ends */
    waitpid(pid, NULL, 0);
    MUST(read(answer[0], &done, 1) == 1);
    close(answer[0]);
    return done == 'y';
}

/* Skips the test with a reason unless there are NPAGES free pages. */
#define NEEDS_POOL(npages)                                                                                             \
    do {                                                                                                               \
        if (geteuid()) {                                                                                               \
            cr_skip_test("only root can reserve hugetlb pages");                                                       \
        }                                                                                                              \
        if (!pool_has(npages)) {                                                                                       \
            cr_skip_test("the kernel reserves no %d hugetlb pages of %lu KiB", (int)(npages), pool_page_kib);          \
        }                                                                                                              \
    } while (0)

#endif
