#include "lock.h"

#include "sys.h"

/* A holder keeps a lock for well under a microsecond unless it lost its CPU: spin about that long, then sleep. */
#define SPINS 64

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static uint32_t word_read(const struct lock *lock) {
    return atomic_load_explicit(&lock->word, memory_order_relaxed);
}

/* Who slept takes the lock as contended: it cannot know whether others still sleep. */
static void wait(struct lock *lock) {
    uint32_t name = lock_my_name();
    for (int i = 0; i < SPINS; i++) {
        relax();
        if (!word_read(lock) && lock_word_change(lock, 0, name)) {
            return;
        }
    }
    for (;;) {
        uint32_t word = word_read(lock);
        if (!word) {
            if (lock_word_change(lock, 0, name | LOCK_CONTENDED)) {
                return;
            }
        } else if (word & LOCK_CONTENDED || lock_word_change(lock, word, word | LOCK_CONTENDED)) {
            sys_futex_wait(&lock->word, word | LOCK_CONTENDED);
        }
    }
}

void lock_wait(struct lock *lock) {
    wait(lock);
    lock->waits++;
}

void lock_wake(struct lock *lock) {
    sys_futex_wake(&lock->word);
}
