/*
 * locked [MIB]: the process locks its memory, present and future.  With MIB the amount it may lock is limited to that:
 * beyond it the kernel refuses mappings, and malloc must answer NULL and ENOMEM.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tap.h"

#include <linux/capability.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

/* Root may lock without limit while it holds CAP_IPC_LOCK. */
static void drop_lock_capability(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data) != 0)
        return;
    data[CAP_IPC_LOCK / 32].effective &= ~(1u << (CAP_IPC_LOCK % 32));
    data[CAP_IPC_LOCK / 32].permitted &= ~(1u << (CAP_IPC_LOCK % 32));
    syscall(SYS_capset, &header, data);
}

enum { ROUNDS = 20000, LIVE = 1000 };

static void *works(void *argument) {
    size_t bad = 0, seed = (size_t)(uintptr_t)argument;
    struct {
        char *at;
        size_t size, seed;
    } live[LIVE] = {{0}};
    for (size_t i = 0; i < ROUNDS; i++) {
        size_t slot = (i * 7919 + seed) % LIVE;
        if (live[slot].at) {
            bad += pattern_check(live[slot].at, live[slot].size, live[slot].seed) != live[slot].size;
            free(live[slot].at);
        }
        live[slot].size = i % 100 ? i * 31 % 2000 : i % 100000;
        live[slot].seed = i;
        live[slot].at = opaque(malloc(live[slot].size));
        if (!live[slot].at) {
            bad++;
            continue;
        }
        pattern_fill(live[slot].at, live[slot].size, i);
    }
    for (size_t slot = 0; slot < LIVE; slot++)
        free(live[slot].at);
    return (void *)bad;
}

static void threads_work(void) {
    pthread_attr_t attributes;
    pthread_t threads[3];
    size_t bad = 0;
    /* Stacks are locked in full as well. */
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 << 10);
    for (uintptr_t i = 0; i < 3; i++)
        if (pthread_create(&threads[i], &attributes, works, (void *)i) != 0) {
            skip("threads work", "no thread could be started");
            return;
        }
    for (int i = 0; i < 3; i++) {
        void *result;
        pthread_join(threads[i], &result);
        bad += (size_t)(uintptr_t)result;
    }
    ok(bad == 0, "threads work while memory is locked");
}

static void unlimited(void) {
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
        skip("mlockall without a limit", strerror(errno));
        return;
    }
    ok(works(NULL) == NULL, "small blocks work while memory is locked");
    threads_work();
    size_t size = (size_t)64 << 20;
    char *p = opaque(malloc(size));
    ok(p != NULL, "a 64 MiB block can be had while memory is locked");
    memset(p, 7, size);
    free(p);
    /* madvise(MADV_DONTNEED) is refused on locked memory: what was dirty stays dirty. */
    size_t dirty = 0;
    for (int round = 0; round < 5; round++) {
        for (size_t n = 1000; n <= size / 8; n *= 3) {
            p = opaque(malloc(n));
            memset(p, 0xa5, n);
            free(p);
            malloc_trim(0);
            char *q = opaque(calloc(1, n));
            for (size_t i = 0; i < n; i++)
                dirty += q[i] != 0;
            free(q);
        }
    }
    ok(dirty == 0, "calloc is zero although locked pages cannot be purged");
    malloc_trim(0);
    munlockall();
    ok(works(NULL) == NULL, "and after munlockall");
}

static void limited(size_t limit) {
    struct rlimit lock;
    getrlimit(RLIMIT_MEMLOCK, &lock);
    /* A hard limit below that may be all one is allowed. */
    if (limit > lock.rlim_max)
        limit = lock.rlim_max;
    if (limit < (size_t)4 << 20) {
        skip("mlockall under RLIMIT_MEMLOCK", "the hard limit is below 4 MiB");
        return;
    }
    lock.rlim_cur = lock.rlim_max = limit;
    drop_lock_capability();
    if (setrlimit(RLIMIT_MEMLOCK, &lock) != 0 || mlockall(MCL_FUTURE) != 0) {
        skip("mlockall under RLIMIT_MEMLOCK", strerror(errno));
        return;
    }
    enum { MAX = 100000 };
    static void *blocks[MAX];
    static const size_t sizes[] = {20000, 1 << 20, 300};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        size_t count = 0, size = sizes[k];
        errno = 0;
        while (count < MAX && (blocks[count] = opaque(malloc(size)))) {
            memset(blocks[count], 1, size);
            count++;
        }
        note("blocks of %zu: %zu KiB before the limit of %zu KiB", size, count * size >> 10, limit >> 10);
        if (size > 1000)
            ok(count < MAX && errno == ENOMEM, "blocks of %zu: the lock limit is NULL with ENOMEM", size);
        ok(count * size > limit / 4, "blocks of %zu: at least a quarter of the lock limit is usable", size);
        for (size_t i = 0; i < count; i++)
            free(blocks[i]);
    }
    errno = 0;
    void *p = opaque(malloc(limit * 2));
    ok(!p && errno == ENOMEM, "a block of twice the lock limit is NULL with ENOMEM");
    ok(works(NULL) == NULL, "small blocks still work after the limit was reached");
}

int main(int argc, char **argv) {
    tap_begin();
    if (argc > 1)
        limited(strtoul(argv[1], NULL, 10) << 20);
    else
        unlimited();
    return done_testing();
}
