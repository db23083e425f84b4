/*
 * crowd MODE [COUNT]: many processes, many threads, and processes made without the C library's fork.
 *   storm COUNT  forks from a parent whose threads are in malloc; children allocate, free, fork again
 *   alive COUNT  threads alive at once, each with memory of its own
 *   clone        children made by clone and by the bare system call, which call no fork handlers
 *   handlers     a signal handler forks while its thread is in fork
 *   frees        a child that only frees what its parent allocated, and ends with as much free as it began
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tap.h"

#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

enum { BUSY = 8, SHARED = 256, HANG_SECONDS = 120, STACK = 64 << 10 };

static const long MIB = 1 << 20;

static int heap_works(size_t seed) {
    enum { N = 300 };
    void *p[N];
    int bad = 0;
    for (size_t i = 0; i < N; i++) {
        size_t n = i % 30 ? (i * 37 + seed) % 3000 : i * 1000;
        p[i] = opaque(malloc(n));
        if (!p[i])
            return 0;
        pattern_fill(p[i], n, i);
    }
    for (size_t i = 0; i < N; i++) {
        size_t n = i % 30 ? (i * 37 + seed) % 3000 : i * 1000;
        bad += pattern_check(p[i], n, i) != n;
        free(p[i]);
    }
    return !bad;
}

static int ends_well(pid_t pid) {
    int status = -1;
    while (waitpid(pid, &status, __WALL) < 0 && errno == EINTR)
        ;
    return pid > 0 && status == 0;
}

/* --- storm --- */

static volatile int stop;
static void *shared[SHARED];

static void *busy(void *argument) {
    for (size_t seed = (size_t)(uintptr_t)argument; !stop;) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t n = (seed >> 33) % 200 ? (seed >> 40) % 2000 : (seed >> 40) % 3000000;
        char *p = opaque(malloc(n));
        if (p && n)
            p[0] = p[n - 1] = 1;
        free(__atomic_exchange_n(&shared[(seed >> 20) % SHARED], p, __ATOMIC_ACQ_REL));
    }
    return NULL;
}

static int child_works(size_t seed) {
    alarm(HANG_SECONDS);
    for (size_t i = seed % 4; i < SHARED; i += 4)
        free(__atomic_exchange_n(&shared[i], NULL, __ATOMIC_ACQ_REL));
    if (!heap_works(seed))
        return 0;
    if (seed % 16 == 0) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(heap_works(seed + 1) ? 0 : 1);
        return ends_well(pid) && heap_works(seed + 2);
    }
    return 1;
}

static void storm(int count) {
    pthread_t threads[BUSY];
    long early = 0;
    int failed = 0;
    alarm(10 * HANG_SECONDS);
    for (uintptr_t i = 0; i < BUSY; i++)
        pthread_create(&threads[i], NULL, busy, (void *)(i + 1));
    for (int i = 0; i < count; i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(child_works((size_t)i) ? 0 : 1);
        failed += !ends_well(pid);
        if (i == count / 4)
            early = rss_bytes();
    }
    long late = rss_bytes();
    stop = 1;
    for (int i = 0; i < BUSY; i++)
        pthread_join(threads[i], NULL);
    note("RSS after %d forks %ld KiB, after %d %ld KiB", count / 4, early / 1024, count, late / 1024);
    ok(failed == 0, "%d forks from a parent of %d busy threads: children allocate, free and fork", count, BUSY);
    /* The live set swings by itself: 256 blocks of up to 3 MB. */
    ok(late - early < 64 * MIB, "and the parent does not grow by them");
}

/* --- alive --- */

static pthread_barrier_t all_here, all_go;

static void *lives(void *argument) {
    char *p[8];
    size_t seed = (size_t)(uintptr_t)argument, bad = 0;
    for (size_t i = 0; i < 8; i++)
        pattern_fill(p[i] = opaque(malloc(16 << i)), (size_t)16 << i, seed + i);
    pthread_barrier_wait(&all_here);
    pthread_barrier_wait(&all_go);
    for (size_t i = 0; i < 8; i++) {
        bad += pattern_check(p[i], (size_t)16 << i, seed + i) != (size_t)16 << i;
        free(p[i]);
    }
    return (void *)bad;
}

static void alive(int count) {
    pthread_t *threads = malloc((size_t)count * sizeof *threads);
    pthread_attr_t attributes;
    size_t bad = 0;
    int started = 0;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    pthread_barrier_init(&all_here, NULL, (unsigned)count + 1);
    pthread_barrier_init(&all_go, NULL, (unsigned)count + 1);
    long before = rss_bytes();
    for (; started < count; started++)
        if (pthread_create(&threads[started], &attributes, lives, (void *)(uintptr_t)started) != 0)
            break;
    if (started < count) {
        skip("many threads at once", "this machine has no room for so many");
        return;
    }
    pthread_barrier_wait(&all_here);
    long with = rss_bytes();
    pthread_barrier_wait(&all_go);
    for (int i = 0; i < count; i++) {
        void *result;
        pthread_join(threads[i], &result);
        bad += (size_t)(uintptr_t)result;
    }
    malloc_trim(0);
    long after = rss_bytes();
    note("RSS before %ld KiB, with %d threads %ld KiB, after %ld KiB", before / 1024, count, with / 1024, after / 1024);
    ok(bad == 0, "%d threads alive at once have memory of their own", count);
    ok(with - before < count * 128L * 1024, "and cost less than 128 KiB each, with 4 KiB of blocks and a stack");
    free(threads);
    ok(heap_works(1), "and when they are gone memory works on");
}

/* --- clone --- */

static int cloned(void *argument) {
    (void)argument;
    alarm(HANG_SECONDS);
    for (size_t i = 0; i < SHARED; i++)
        free(shared[i]);
    return heap_works(5) ? 0 : 1;
}

static void clones(void) {
    static _Alignas(64) char stack[256 << 10];
    int bad = 0, bad_bare = 0;
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < SHARED; i++)
            memset(shared[i] = opaque(malloc(i * 20)), 1, i * 20);
        bad += !ends_well(clone(cloned, stack + sizeof stack, SIGCHLD, NULL));
        pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
        if (pid == 0)
            syscall(SYS_exit_group, cloned(NULL));
        bad_bare += !ends_well(pid);
        for (size_t i = 0; i < SHARED; i++)
            free(shared[i]);
    }
    ok(!bad, "children of clone without CLONE_VM allocate, and free what their parent allocated");
    ok(!bad_bare, "and so do children of the bare system call");
    ok(heap_works(1), "and their parent goes on");
}

/* --- handlers --- */

static volatile sig_atomic_t nested;

static void fork_again(int number) {
    (void)number;
    int saved = errno;
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    if (!ends_well(pid))
        _exit(3);
    nested = nested + 1;
    errno = saved;
}

/* In a program of one thread: with more the C library's own lock stands in the way. */
static void handlers(int count) {
    struct sigaction action = {.sa_handler = fork_again, .sa_flags = SA_RESTART};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    timer_t timer;
    int bad = 0, blocked = 0;
    alarm(HANG_SECONDS);
    sigaction(SIGUSR1, &action, NULL);
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) {
        skip("fork in a handler that interrupted fork", "no timers");
        return;
    }
    for (int i = 0; i < count; i++) {
        struct itimerspec soon = {{0, 0}, {0, 1 + i * 7919L % 100000}};
        sigset_t set;
        timer_settime(timer, 0, &soon, NULL);
        pid_t pid = fork();
        sigprocmask(SIG_BLOCK, NULL, &set);
        blocked += sigismember(&set, SIGUSR1) || sigismember(&set, SIGTERM);
        if (pid == 0)
            _exit(heap_works((size_t)i) ? 0 : 1);
        bad += !ends_well(pid);
    }
    note("%d forks in a handler", (int)nested);
    ok(!bad && nested > 0, "a signal handler may fork while its thread is in fork");
    ok(!blocked, "and no signal stays blocked");
}

/* --- frees --- */

static void frees(void) {
    enum { COUNT = 200000 };
    static void *p[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        memset(p[i] = opaque(malloc(i % 500 ? i % 700 : 100000)), 1, i % 500 ? i % 700 : 100000);
    pid_t pid = fork();
    if (pid == 0) {
        long before = rss_bytes();
        for (size_t i = 0; i < COUNT; i++)
            free(p[(i * 7919 + 3) % COUNT]);
        _exit(rss_bytes() - before < 16 * MIB ? 0 : 1);
    }
    ok(ends_well(pid), "a child that only frees, in any order, does not grow by it");
    for (size_t i = 0; i < COUNT; i++)
        free(p[i]);
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "";
    int count = argc > 2 ? atoi(argv[2]) : 200;
    tap_begin();
    if (strcmp(mode, "storm") == 0)
        storm(count);
    else if (strcmp(mode, "alive") == 0)
        alive(count);
    else if (strcmp(mode, "clone") == 0)
        clones();
    else if (strcmp(mode, "handlers") == 0)
        handlers(count);
    else if (strcmp(mode, "frees") == 0)
        frees();
    else
        return 2;
    return done_testing();
}
