/* lock_wait.h: does a call take a certain lock? Seen without a race: the lock is held while another thread makes it. */
#ifndef TEST_UNIT_LOCK_WAIT_H
#define TEST_UNIT_LOCK_WAIT_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "lock.h"

struct lock_wait_job {
    void (*body)(void);
    _Atomic bool done;
};

static inline void *lock_wait_run(void *arg) {
    struct lock_wait_job *job = arg;
    job->body();
    job->done = true;
    return NULL;
}

/* Runs BODY to its end in another thread; true if it could not go on without LOCK. */
static inline bool waits_for(struct lock *lock, void (*body)(void)) {
    struct lock_wait_job job = {.body = body};
    pthread_t thread;
    lock_take(lock);
    uint32_t held = lock->word;
    if (pthread_create(&thread, NULL, lock_wait_run, &job)) {
        __builtin_trap();
    }
    while (lock->word == held && !job.done) { /* the word changes when somebody waits */
        sched_yield();
    }
    bool waited = !job.done;
    lock_drop(lock);
    pthread_join(thread, NULL);
    return waited;
}

#endif
