/*
 * base.h: the units, limits and small helpers every layer shares.
 *
 * A page is 2^PAGE_SHIFT bytes, order k is 2^k pages, and the highest order is a pageblock: 512 pages, 2 MiB
 * with 4 KiB pages, which is one huge page on x86-64. Variables carry their unit in the name: bytes, npages,
 * order, pfn (page frame number: address >> PAGE_SHIFT).
 */
#ifndef SLABMALLOC_BASE_H
#define SLABMALLOC_BASE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef SLABMALLOC_PAGE_SHIFT
#define SLABMALLOC_PAGE_SHIFT 12
#endif

#define PAGE_SHIFT SLABMALLOC_PAGE_SHIFT
#define PAGE_BYTES ((size_t)1 << PAGE_SHIFT)
#define NORDERS 10
#define MAX_ORDER (NORDERS - 1)
#define BLOCK_PAGES ((size_t)1 << MAX_ORDER)
#define BLOCK_SHIFT (PAGE_SHIFT + MAX_ORDER)
#define BLOCK_BYTES ((size_t)1 << BLOCK_SHIFT)
#define CACHE_LINE 64

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* What every process writes to at its start lies beside the initialized data, whose page is written to anyway: .bss
 * begins on a page of its own. */
#define WRITTEN_AT_START __attribute__((section(".data")))

#ifdef SLABMALLOC_DEBUG
void fault_assert(const char *file, int line, const char *condition) __attribute__((noreturn, cold));
#define ASSERT(cond) ((cond) ? (void)0 : fault_assert(__FILE__, __LINE__, #cond))
#else
#define ASSERT(cond) ((void)0)
#endif

static inline bool is_pow2(size_t n) {
    return n && !(n & (n - 1));
}

/* ROUND must be a power of two; the caller has ruled out overflow. */
static inline size_t round_up(size_t n, size_t round) {
    return (n + round - 1) & ~(round - 1);
}

static inline size_t min_size(size_t a, size_t b) {
    return a < b ? a : b;
}

static inline size_t max_size(size_t a, size_t b) {
    return a > b ? a : b;
}

/* A counter that one lock, or one thread, covers for writing and anybody may read: the reader gets some recent value.
 */
static inline void counter_add(size_t *counter, size_t n) {
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static inline void counter_sub(size_t *counter, size_t n) {
    __atomic_store_n(counter, *counter - n, __ATOMIC_RELAXED);
}

static inline void counter_set(size_t *counter, size_t n) {
    __atomic_store_n(counter, n, __ATOMIC_RELAXED);
}

static inline size_t counter_read(const size_t *counter) {
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* The smallest order whose block holds NPAGES (1 <= NPAGES <= BLOCK_PAGES). */
static inline unsigned order_of(size_t npages) {
    return npages <= 1 ? 0 : 64 - (unsigned)__builtin_clzll(npages - 1);
}

static inline size_t pages_of(size_t bytes) {
    return (bytes + PAGE_BYTES - 1) >> PAGE_SHIFT;
}

#endif
