/* lock.h promises: mutual exclusion, a holder that is known, and no waiter that is forgotten. */
#include "lock.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

#include "util.h"

#define THREADS 4

static struct lock lock;

/* Runs BODY in a thread of its own and returns what it returned. */
static void *in_thread(void *(*body)(void *)) {
    pthread_t thread;
    void *result;
    pthread_create(&thread, NULL, body, NULL);
    pthread_join(thread, &result);
    return result;
}

static void *try_it(void *arg) {
    (void)arg;
    bool got = lock_try(&lock);
    if (got) {
        lock_drop(&lock);
    }
    return (void *)(uintptr_t)got;
}

static void *held_here(void *arg) {
    (void)arg;
    return (void *)(uintptr_t)lock_held(&lock);
}

TestSuite(lock, .timeout = 30);

Test(lock, a_zeroed_lock_is_free) {
    require(!lock_held(&lock));
    require(lock_try(&lock));
}

Test(lock, a_taken_lock_can_be_taken_by_nobody_else) {
    lock_take(&lock);
    require(!in_thread(try_it));
    lock_drop(&lock);
    require(in_thread(try_it));
}

Test(lock, try_fails_for_the_holder_too) {
    lock_take(&lock);
    require(!lock_try(&lock));
    require(lock_held(&lock));
}

Test(lock, try_takes_a_free_lock) {
    require(lock_try(&lock));
    require(lock_held(&lock) && !in_thread(try_it));
    lock_drop(&lock);
    require(lock_try(&lock));
}

Test(lock, only_the_holder_holds_it) {
    lock_take(&lock);
    require(lock_held(&lock) && !in_thread(held_here));
    lock_drop(&lock);
    require(!lock_held(&lock) && !in_thread(held_here));
}

static size_t shared, trouble;
static _Atomic int inside;

static void *count_up(void *arg) {
    struct rng rng = {(uintptr_t)arg};
    for (unsigned long i = rounds(100000); i; i--) {
        if (rng_below(&rng, 4)) {
            lock_take(&lock);
        } else {
            while (!lock_try(&lock)) {
                sched_yield();
            }
        }
        trouble += inside++ != 0 || !lock_held(&lock);
        shared++; /* not atomic: lost updates would show */
        if (!rng_below(&rng, 500)) {
            sched_yield(); /* so that others find it held for long, and sleep */
        }
        inside--;
        lock_drop(&lock);
    }
    return NULL;
}

Test(lock, threads_exclude_each_other_and_none_waits_for_ever) {
    pthread_t thread[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++) {
        pthread_create(&thread[i], NULL, count_up, (void *)i);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
    }
    require(trouble == 0);
    require(shared == THREADS * rounds(100000));
    require(!lock_held(&lock) && lock_try(&lock));
}

static void *take_once(void *arg) {
    (void)arg;
    errno = 1234;
    lock_take(&lock);
    int after_take = errno;
    lock_drop(&lock);
    return (void *)(uintptr_t)(after_take == 1234 && errno == 1234);
}

/* Until a thread says in the lock that it waits. */
static void await_a_waiter(void) {
    while (!(lock.word >> 31)) {
        sched_yield();
    }
}

Test(lock, a_wait_is_counted_once_and_a_free_lock_not) {
    lock_take(&lock);
    lock_drop(&lock);
    require(lock_try(&lock));
    require(!lock_try(&lock));
    require(lock.waits == 0);
    pthread_t thread;
    pthread_create(&thread, NULL, take_once, NULL);
    await_a_waiter();
    lock_drop(&lock);
    pthread_join(thread, NULL);
    require(lock.waits == 1);
}

Test(lock, every_sleeper_is_woken) {
    pthread_t thread[THREADS];
    lock_take(&lock);
    for (int i = 0; i < THREADS; i++) {
        pthread_create(&thread[i], NULL, take_once, NULL);
    }
    await_a_waiter();
    lock_drop(&lock);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
    }
    require(lock_try(&lock));
}

Test(lock, errno_survives_waiting) {
    void *kept;
    pthread_t thread;
    lock_take(&lock);
    pthread_create(&thread, NULL, take_once, NULL);
    await_a_waiter();
    lock_drop(&lock);
    pthread_join(thread, &kept);
    require(kept);
}

static pthread_barrier_t barrier;

static void *hold_while_forking(void *arg) {
    lock_take(&lock);
    pthread_barrier_wait(&barrier); /* the fork happens between these two */
    pthread_barrier_wait(&barrier);
    lock_drop(&lock);
    return arg;
}

Test(lock, reset_frees_what_a_thread_held_that_the_fork_child_does_not_have) {
    pthread_t thread;
    pthread_barrier_init(&barrier, NULL, 2);
    pthread_create(&thread, NULL, hold_while_forking, NULL);
    pthread_barrier_wait(&barrier);
    pid_t child = fork();
    if (!child) {
        bool was_held = !lock_try(&lock);
        lock_reset(&lock);
        bool is_free = !lock_held(&lock) && lock_try(&lock) && lock_held(&lock);
        _exit(was_held && is_free ? 0 : 1);
    }
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
    int status;
    require(waitpid(child, &status, 0) == child && status == 0);
}

Test(lock, reset_frees_what_the_forking_thread_held) {
    lock_take(&lock);
    lock_reset(&lock);
    require(!lock_held(&lock) && lock_try(&lock));
}

#ifdef SLABMALLOC_DEBUG
Test(lock, taking_it_twice_is_a_broken_invariant, .signal = SIGABRT) {
    lock_take(&lock);
    lock_take(&lock);
}

Test(lock, dropping_what_another_holds_is_a_broken_invariant, .signal = SIGABRT) {
    lock_drop(&lock);
}
#endif
