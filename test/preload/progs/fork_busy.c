/*
 * fork_busy [FORKS]: fork from a parent whose threads are in the middle of malloc and free: the child is fully usable.
 * It frees what its parent allocated, allocates, starts threads, forks again.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tap.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

enum { THREADS = 4, INHERITED = 500, SHARED = 64 };

static int forks = 200;

static volatile int stop;
static void *shared[SHARED]; /* exchanged between the threads, so that there are remote frees in flight */

static void *busy(void *argument) {
    size_t seed = (size_t)(uintptr_t)argument;
    while (!stop) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t n = (seed >> 33) % 100 ? (seed >> 40) % 2000 : (seed >> 40) % 500000;
        char *p = opaque(malloc(n));
        if (p && n)
            p[0] = p[n - 1] = 1;
        free(__atomic_exchange_n(&shared[(seed >> 20) % SHARED], p, __ATOMIC_ACQ_REL));
        p = opaque(calloc(1, n / 2 + 1));
        p = opaque(realloc(p, n + 10));
        free(p);
    }
    return NULL;
}

static void start(pthread_t *threads) {
    stop = 0;
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, busy, (void *)(i + 1)) != 0)
            _exit(77);
}

static void end(pthread_t *threads) {
    stop = 1;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void *child_thread(void *argument) {
    for (size_t i = 0; i < 500; i++) {
        char *p = opaque(malloc(i * 37));
        if (!p)
            return (void *)1;
        memset(p, 3, i * 37);
        free(p);
    }
    return argument;
}

static int child_works(void **inherited, int depth) {
    /* A child that hangs must not hang the test. */
    alarm(60);
    for (size_t i = 0; i < INHERITED; i++) {
        if (pattern_check(inherited[i], i * 9, i) != i * 9)
            return 2;
        if (i % 3 == 0)
            inherited[i] = realloc(inherited[i], i * 9 + 5000);
        free(inherited[i]);
    }
    for (size_t n = 1; n < (size_t)4 << 20; n = n * 2 + 1) {
        char *p = opaque(calloc(1, n));
        if (!p || p[0] || p[n - 1])
            return 3;
        memset(p, 2, n);
        free(p);
    }
    pthread_t thread;
    void *result = (void *)1;
    if (pthread_create(&thread, NULL, child_thread, NULL) == 0)
        pthread_join(thread, &result);
    if (result)
        return 4;
    malloc_trim(0);
    if (depth == 0)
        return 0;

    void *mine[INHERITED];
    for (size_t i = 0; i < INHERITED; i++)
        pattern_fill(mine[i] = opaque(malloc(i * 9)), i * 9, i);
    pid_t pid = fork();
    if (pid == 0)
        _exit(child_works(mine, depth - 1));
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
        return 5;
    for (size_t i = 0; i < INHERITED; i++)
        free(mine[i]);
    return 0;
}

static void forks_from_busy_parent(void) {
    pthread_t threads[THREADS];
    int failed = 0, first = 0;
    start(threads);
    for (int i = 0; i < forks; i++) {
        void *inherited[INHERITED];
        for (size_t k = 0; k < INHERITED; k++)
            pattern_fill(inherited[k] = opaque(malloc(k * 9)), k * 9, k);
        pid_t pid = fork();
        if (pid == 0)
            _exit(child_works(inherited, i % 20 == 0 ? 2 : 0));
        int status = -1;
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
            failed++;
            if (!first)
                first = status;
        }
        for (size_t k = 0; k < INHERITED; k++)
            free(inherited[k]);
    }
    end(threads);
    if (failed)
        note("%d children failed, the first with wait status 0x%x", failed, first);
    ok(failed == 0, "%d forks from a busy parent: the children free, allocate, start threads and fork", forks);
}

/* Threads that fork at the same time. */
static void *forker(void *argument) {
    size_t failed = 0;
    (void)argument;
    for (int i = 0; i < 25; i++) {
        char *p = opaque(malloc(1000));
        memset(p, 5, 1000);
        pid_t pid = fork();
        if (pid == 0) {
            alarm(60);
            free(p);
            _exit(child_thread(NULL) != NULL);
        }
        int status = -1;
        failed += pid < 0 || waitpid(pid, &status, 0) != pid || status != 0;
        free(p);
    }
    return (void *)failed;
}

static void forks_from_several_threads(void) {
    pthread_t busy_threads[THREADS], forkers[THREADS];
    size_t failed = 0;
    start(busy_threads);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&forkers[i], NULL, forker, NULL);
    for (int i = 0; i < THREADS; i++) {
        void *result;
        pthread_join(forkers[i], &result);
        failed += (size_t)(uintptr_t)result;
    }
    end(busy_threads);
    ok(failed == 0, "%d threads fork at the same time, children exit in order", THREADS);
}

/* The parent must not pay for its children: memory of threads that are gone in the child is bounded, and so is ours. */
static void generations(void) {
    long before = rss_bytes();
    for (int generation = 0; generation < 60; generation++) {
        pid_t pid = fork();
        if (pid < 0)
            break;
        if (pid > 0) {
            int status;
            waitpid(pid, &status, 0);
            /* The children hand the last one's verdict up. */
            if (generation == 0) {
                ok(WIFEXITED(status) && WEXITSTATUS(status) == 0,
                   "60 generations of threaded children: memory stays bounded");
                return;
            }
            _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 3);
        }
        alarm(100);
        pthread_t threads[THREADS];
        start(threads);
        for (int i = 0; i < 200; i++)
            free(opaque(malloc((size_t)i * 100)));
        end(threads);
    }
    _exit(rss_bytes() - before > 64 << 20);
}

/* Set where fork comes in a handler that interrupted malloc: there the handlers of fork must not allocate either. */
static volatile sig_atomic_t atfork_quiet;

static void atfork_prepare(void) {
    if (atfork_quiet)
        return;
    free(opaque(malloc(100)));
}

static void atfork_child(void) {
    if (atfork_quiet)
        return;
    free(opaque(malloc(30000)));
    free(opaque(malloc(3000000)));
}

static volatile sig_atomic_t forked_in_handler, handler_failures;

/*
 * fork in a handler that may have interrupted malloc.  The child goes back to the interrupted call and finishes it:
 * only there may it allocate.
 */
static volatile sig_atomic_t is_child;

static void fork_in_handler(int signal) {
    int saved = errno;
    (void)signal;
    pid_t pid = fork();
    if (pid == 0) {
        alarm(60);
        is_child = 1;
    } else {
        int status = -1;
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
            handler_failures = handler_failures + 1;
        forked_in_handler = forked_in_handler + 1;
    }
    errno = saved;
}

static void forks_in_signal_handler(void) {
    const char *name = "fork in a signal handler that interrupted malloc";
    if (!tap_subject_is("slabmalloc")) {
        skip(name, "promised by slabmalloc only");
        return;
    }
    atfork_quiet = 1;
    struct sigaction action = {.sa_handler = fork_in_handler, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    /* Only this thread takes the signal; the busy ones block it. */
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    pthread_t threads[THREADS];
    start(threads);
    pid_t sender = fork();
    if (sender == 0) {
        pid_t parent = getppid();
        for (int i = 0; i < 100; i++) {
            usleep(2000);
            if (getppid() != parent || kill(parent, SIGUSR1) != 0)
                break;
        }
        _exit(0);
    }
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    alarm(120);
    size_t i = 0;
    static void *live[3000];
    while (!is_child && waitpid(sender, NULL, WNOHANG) == 0) {
        for (int k = 0; k < 1000 && !is_child; k++, i++) {
            size_t slot = i * 7919 % 3000;
            free(live[slot]);
            live[slot] = opaque(malloc(i % 50 ? i % 1500 : i % 200000));
        }
    }
    if (is_child) {
        for (size_t k = 0; k < 3000; k++)
            free(live[k]);
        _exit(child_thread(NULL) != NULL);
    }
    alarm(0);
    end(threads);
    for (size_t k = 0; k < 3000; k++)
        free(live[k]);
    note("%d forks in a handler", (int)forked_in_handler);
    ok(forked_in_handler > 0 && handler_failures == 0, "%s: both go on", name);
}

int main(int argc, char **argv) {
    tap_begin();
    if (argc > 1)
        forks = atoi(argv[1]);
    forks_from_busy_parent();
    pthread_atfork(atfork_prepare, atfork_prepare, atfork_child);
    forks_from_several_threads();
    generations();
    forks_in_signal_handler();
    return done_testing();
}
