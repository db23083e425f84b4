#include "lock.h"

#include <pthread.h>

#include "sys.h"

/* A holder keeps a lock for well under a microsecond unless it lost its CPU: spin about that long, then sleep. */
#define SPINS 64

static void lock_relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void lock_own(struct lock *lock) {
    atomic_store_explicit(&lock->holder, (uintptr_t)pthread_self(), memory_order_relaxed);
}

bool lock_try(struct lock *lock) {
    uint32_t expected = 0;
    if (!atomic_compare_exchange_strong_explicit(&lock->word, &expected, 1, memory_order_acquire,
                                                 memory_order_relaxed)) {
        return false;
    }
    lock_own(lock);
    return true;
}

static void lock_wait(struct lock *lock) {
    for (int i = 0; i < SPINS; i++) {
        lock_relax();
        uint32_t expected = 0;
        if (!atomic_load_explicit(&lock->word, memory_order_relaxed) &&
            atomic_compare_exchange_weak_explicit(&lock->word, &expected, 1, memory_order_acquire,
                                                  memory_order_relaxed)) {
            return;
        }
    }
    while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire)) {
        sys_futex_wait(&lock->word, 2);
    }
}

void lock_take(struct lock *lock) {
    ASSERT(!lock_held(lock));
    if (likely(lock_try(lock))) {
        return;
    }
    lock_wait(lock);
    lock_own(lock);
    lock->contended++;
}

void lock_drop(struct lock *lock) {
    ASSERT(lock_held(lock));
    atomic_store_explicit(&lock->holder, 0, memory_order_relaxed);
    if (unlikely(atomic_exchange_explicit(&lock->word, 0, memory_order_release) == 2)) {
        sys_futex_wake(&lock->word);
    }
}

bool lock_held(const struct lock *lock) {
    return atomic_load_explicit(&lock->holder, memory_order_relaxed) == (uintptr_t)pthread_self();
}

void lock_reset(struct lock *lock) {
    atomic_store_explicit(&lock->holder, 0, memory_order_relaxed);
    atomic_store_explicit(&lock->word, 0, memory_order_release);
}
