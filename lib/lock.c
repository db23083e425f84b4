#include "lock.h"

#include <pthread.h>

#include "sys.h"

#define CONTENDED ((uint32_t)1 << 31)

/* A holder keeps a lock for well under a microsecond unless it lost its CPU: spin about that long, then sleep. */
#define SPINS 64

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static uint32_t my_name(void) {
    return ((uint32_t)((uintptr_t)pthread_self() / 64) & ~CONTENDED) | 1;
}

static bool word_change(struct lock *lock, uint32_t from, uint32_t to) {
    return atomic_compare_exchange_strong_explicit(&lock->word, &from, to, memory_order_acquire, memory_order_relaxed);
}

static uint32_t word_read(const struct lock *lock) {
    return atomic_load_explicit(&lock->word, memory_order_relaxed);
}

bool lock_try(struct lock *lock) {
    return word_change(lock, 0, my_name());
}

/* Who slept takes the lock as contended: it cannot know whether others still sleep. */
static void lock_wait(struct lock *lock, uint32_t name) {
    for (int i = 0; i < SPINS; i++) {
        relax();
        if (!word_read(lock) && word_change(lock, 0, name)) {
            return;
        }
    }
    for (;;) {
        uint32_t word = word_read(lock);
        if (!word) {
            if (word_change(lock, 0, name | CONTENDED)) {
                return;
            }
        } else if (word & CONTENDED || word_change(lock, word, word | CONTENDED)) {
            sys_futex_wait(&lock->word, word | CONTENDED);
        }
    }
}

void lock_take(struct lock *lock) {
    ASSERT(!lock_held(lock));
    uint32_t name = my_name();
    if (likely(word_change(lock, 0, name))) {
        return;
    }
    lock_wait(lock, name);
    lock->waits++;
}

void lock_drop(struct lock *lock) {
    ASSERT(lock_held(lock));
    if (unlikely(atomic_exchange_explicit(&lock->word, 0, memory_order_release) & CONTENDED)) {
        sys_futex_wake(&lock->word);
    }
}

bool lock_held(const struct lock *lock) {
    return (word_read(lock) & ~CONTENDED) == my_name();
}

void lock_reset(struct lock *lock) {
    atomic_store_explicit(&lock->word, 0, memory_order_release);
}
