/*
 * support.h: what the tests of the heap's upper layers share: a check that works in any thread and child, children
 * that must end well or by a fault, threads, planned system call failures.
 *
 * MUST traps (SIGILL) rather than aborts, so that a test of an abort can never pass by a failed check.
 */
#ifndef TEST_UNIT_SUPPORT_H
#define TEST_UNIT_SUPPORT_H

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base.h"
#include "options.h"
#include "slabmalloc/slabmalloc.h"
#include "sys.h"
#include "util.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)
#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

#if defined __SANITIZE_THREAD__
#define SUPPORT_SLOWDOWN 8
#elif defined __SANITIZE_ADDRESS__ || defined SLABMALLOC_COVERAGE
#define SUPPORT_SLOWDOWN 3
#else
#define SUPPORT_SLOWDOWN 1
#endif

/* A literal reason why a test cannot run under ThreadSanitizer, or under any sanitizer. */
#ifdef __SANITIZE_THREAD__
#define SKIP_UNDER_TSAN(why) cr_skip_test("under ThreadSanitizer: " why)
#else
#define SKIP_UNDER_TSAN(why) ((void)0)
#endif
#if SUPPORT_SLOWDOWN > 1
#define SKIP_UNDER_SANITIZERS(why) cr_skip_test("under a sanitizer: " why)
#else
#define SKIP_UNDER_SANITIZERS(why) ((void)0)
#endif

/* A sanitizer's runtime has locks of its own around the start and the end of a thread, which fork does not take. */
#if defined __SANITIZE_THREAD__ || defined __SANITIZE_ADDRESS__
#define FORK_MAY_MEET_A_THREADS_START 0
#else
#define FORK_MAY_MEET_A_THREADS_START 1
#endif

/* Called by each of NTHREADS threads before the first of them forks. */
static inline void meet_before_fork(_Atomic unsigned *there, unsigned nthreads) {
    ++*there;
    while (!FORK_MAY_MEET_A_THREADS_START && *there < nthreads) {
        sched_yield();
    }
}

/* ThreadSanitizer knows the parent's threads in a fork child, and takes a new thread there for one of them. */
#ifdef __SANITIZE_THREAD__
#define CHILDREN_MAY_START_THREADS 0
#else
#define CHILDREN_MAY_START_THREADS 1
#endif

static inline void must_fail(const char *file, int line, const char *what) {
    dprintf(2, "%s:%d: must be: %s\n", file, line, what);
    __builtin_trap();
}

#define MUST(cond) ((cond) ? (void)0 : must_fail(__FILE__, __LINE__, #cond))

/* The heap's own opinion of its invariants. */
#define MUST_BE_SOUND()                                                                                                \
    do {                                                                                                               \
        const char *broken = slabmalloc_check();                                                                       \
        if (broken) {                                                                                                  \
            must_fail(__FILE__, __LINE__, broken);                                                                     \
        }                                                                                                              \
    } while (0)

static inline struct slabmalloc_stats stats_now(void) {
    struct slabmalloc_stats stats;
    slabmalloc_stats(&stats, sizeof stats);
    return stats;
}

/* --- Sizes and patterns --- */

/* A size whose logarithm is uniform: each doubling from 1 to MOST is as likely as the others. */
static inline size_t random_size(struct rng *rng, size_t most) {
    unsigned bits = 64 - (unsigned)__builtin_clzll(most);
    return min_size(rng_next(rng) & (((size_t)2 << rng_below(rng, bits)) - 1), most);
}

/* As pattern_fill, every byte depending on SEED and its place, but a word at a time: stress moves gigabytes. */
static inline uint64_t words_value(uint64_t seed, size_t at) {
    return (seed + at / 8) * UINT64_C(0x9e3779b97f4a7c15);
}

static inline void words_fill(void *p, size_t bytes, uint64_t seed) {
    char *to = p;
    for (size_t at = 0; at < bytes; at += 8) {
        uint64_t word = words_value(seed, at);
        memcpy(to + at, &word, min_size(8, bytes - at));
    }
}

static inline bool words_hold(const void *p, size_t bytes, uint64_t seed) {
    const char *from = p;
    for (size_t at = 0; at < bytes; at += 8) {
        uint64_t word = words_value(seed, at);
        if (memcmp(from + at, &word, min_size(8, bytes - at)) != 0) {
            return false;
        }
    }
    return true;
}

/* --- Children --- */

static inline void must_be_good_end(int status, const char *file, int line) {
    if (WIFSIGNALED(status)) {
        dprintf(2, "%s:%d: a child was killed by signal %d\n", file, line, WTERMSIG(status));
        __builtin_trap();
    }
    if (WEXITSTATUS(status)) {
        dprintf(2, "%s:%d: a child exited with status %d\n", file, line, WEXITSTATUS(status));
        __builtin_trap();
    }
}

#define MUST_BE_GOOD_END(status) must_be_good_end(status, __FILE__, __LINE__)

static inline void child_must_end_well(void (*body)(void *), void *arg) {
    pid_t pid = fork();
    MUST(pid >= 0);
    if (!pid) {
        body(arg);
        _exit(0);
    }
    int status;
    MUST(waitpid(pid, &status, 0) == pid);
    MUST_BE_GOOD_END(status);
}

/* BODY must abort after exactly one line on stderr: "slabmalloc: fatal: WHAT: 0x...". */
static inline void must_die_of(const char *what, void (*body)(void *), void *arg) {
    int ends[2];
    MUST(!pipe(ends));
    pid_t pid = fork();
    MUST(pid >= 0);
    if (!pid) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], 2);
        body(arg);
        _exit(0);
    }
    close(ends[1]);
    char text[1024];
    size_t length = 0;
    ssize_t n;
    while (length < sizeof text - 1 && (n = read(ends[0], text + length, sizeof text - 1 - length)) > 0) {
        length += (size_t)n;
    }
    text[length] = 0;
    close(ends[0]);
    int status;
    MUST(waitpid(pid, &status, 0) == pid);
    char wanted[128];
    snprintf(wanted, sizeof wanted, "slabmalloc: fatal: %s: 0x", what);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "wait status 0x%x instead of an abort; stderr: %s",
              (unsigned)status, text);
    cr_assert(!strncmp(text, wanted, strlen(wanted)), "'%s' instead of '%s...'", text, wanted);
    cr_assert(length && strchr(text, '\n') == text + length - 1, "not exactly one line: '%s'", text);
}

/* --- Threads --- */

#define THREADS_MAX 128

struct thread_job {
    void (*body)(unsigned index);
    unsigned index;
};

static inline void *thread_job_run(void *arg) {
    const struct thread_job *job = arg;
    job->body(job->index);
    return NULL;
}

/* Runs BODY(0) ... BODY(N - 1) in N threads and waits for all. */
static inline void threads_run(unsigned n, void (*body)(unsigned index)) {
    pthread_t thread[THREADS_MAX];
    struct thread_job job[THREADS_MAX];
    MUST(n <= THREADS_MAX);
    for (unsigned i = 0; i < n; i++) {
        job[i] = (struct thread_job){body, i};
        MUST(!pthread_create(&thread[i], NULL, thread_job_run, &job[i]));
    }
    for (unsigned i = 0; i < n; i++) {
        MUST(!pthread_join(thread[i], NULL));
    }
}

/* --- Planned failures of system calls --- */

static struct {
    uint32_t calls; /* bit: enum sys_call */
    long first, last;
    _Atomic long seen;
} fault_plan;

static inline bool fault_planned(enum sys_call call) {
    if (!(fault_plan.calls >> call & 1)) {
        return false;
    }
    long n = atomic_fetch_add(&fault_plan.seen, 1);
    return n >= fault_plan.first && n < fault_plan.last;
}

#define FOREVER 0x7fffffff

/* Of the calls in the mask CALLS, numbers [FIRST, LAST) from now on fail. FIRST == LAST: only counts. */
static inline void fault_arm(uint32_t calls, long first, long last) {
    fault_plan.calls = calls;
    fault_plan.first = first;
    fault_plan.last = last;
    fault_plan.seen = 0;
    sys_fault_hook = fault_planned;
}

/* Returns how many of these calls there were. */
static inline long fault_disarm(void) {
    sys_fault_hook = NULL;
    return fault_plan.seen;
}

#endif
