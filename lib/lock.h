/*
 * lock.h: the library's mutex: one futex word that names its holder, so that at any instruction fork can tell the locks
 * its own thread holds (fork in a signal handler that interrupted malloc).
 *
 *      31           30                        0
 *      [ contended ][ holder: thread pointer / 64, odd ]     0: free
 *
 * Thread control blocks are 64-byte aligned and larger than 128 bytes, so two threads share a name only if they lie a
 * multiple of 128 GiB apart; nothing but fork and assertions would mistake one for the other.
 *
 * Locks do not nest: a thread that holds one waits for no other. (The walk over idle owners under the depot's lock
 * only tries.) So fork can take all of them, whatever its thread holds already: depots and the owner table, owners,
 * zones, mapping cache, DMA regions, page map, metadata.
 *
 * No lock is held across a system call that can block for long (madvise, munmap, mremap, populate).
 */
#ifndef SLABMALLOC_LOCK_H
#define SLABMALLOC_LOCK_H

#include "base.h"

struct lock {
    _Atomic uint32_t word;
    uint32_t waits; /* times a taker had to wait; the holder's to write */
};

#define LOCK_CONTENDED ((uint32_t)1 << 31)

static inline uint32_t lock_my_name(void) {
    return ((uint32_t)((uintptr_t)__builtin_thread_pointer() / 64) & ~LOCK_CONTENDED) | 1;
}

static inline bool lock_word_change(struct lock *lock, uint32_t from, uint32_t to) {
    return atomic_compare_exchange_strong_explicit(&lock->word, &from, to, memory_order_acquire, memory_order_relaxed);
}

static inline bool lock_try(struct lock *lock) {
    return lock_word_change(lock, 0, lock_my_name());
}

/* For callers that may not sleep: tries for as long as a holder that runs usually needs. */
#define LOCK_TRIES 256

static inline bool lock_try_awhile(struct lock *lock) {
    for (unsigned i = 0; i < LOCK_TRIES; i++) {
        if (lock_try(lock)) {
            return true;
        }
    }
    return false;
}

/* By this thread. */
static inline bool lock_held(const struct lock *lock) {
    return (atomic_load_explicit(&lock->word, memory_order_relaxed) & ~LOCK_CONTENDED) == lock_my_name();
}

void lock_wait(struct lock *lock);
void lock_wake(struct lock *lock);

static inline void lock_take(struct lock *lock) {
    ASSERT(!lock_held(lock));
    if (unlikely(!lock_try(lock))) {
        lock_wait(lock);
    }
}

static inline void lock_drop(struct lock *lock) {
    ASSERT(lock_held(lock));
    if (unlikely(atomic_exchange_explicit(&lock->word, 0, memory_order_release) & LOCK_CONTENDED)) {
        lock_wake(lock);
    }
}

/* In a fork child: the lock is free, whatever the parent's other threads did with it. */
static inline void lock_reset(struct lock *lock) {
    atomic_store_explicit(&lock->word, 0, memory_order_release);
}

#endif
