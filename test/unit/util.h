/*
 * util.h: what the unit tests share: a cheap check, a deterministic generator, byte patterns, resident memory.
 *
 * Everything is static inline, so a test is still one source file.
 */
#ifndef SLABMALLOC_TEST_UTIL_H
#define SLABMALLOC_TEST_UTIL_H

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static inline const char *util_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
static inline const char *util_note(const char *format, ...) {
    static char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return text;
}

/*
 * require(condition) or require(condition, "format", ...): ends the test when the condition is false. As cr_assert, but
 * a condition that holds costs nothing: cr_assert sends a message to the runner even then, too much for a loop of
 * millions. Only on the test's own thread; other threads count their errors and the test requires the count to be 0.
 */
#define require(condition, ...)                                                                                        \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            cr_assert_fail("false: %s%s", #condition, util_note(" " __VA_ARGS__));                                     \
        }                                                                                                              \
    } while (0)

static inline bool check_level_is(const char *level) {
    const char *mode = getenv("SLABMALLOC_CHECK");
    return mode && !strcmp(mode, level);
}

/* N, or a twentieth of it for people in a hurry (SLABMALLOC_CHECK=quick), or five times as many (=long). */
static inline unsigned long rounds(unsigned long n) {
    return check_level_is("quick") ? n / 20 + 1 : check_level_is("long") ? 5 * n : n;
}

/* splitmix64: the same seed gives the same sequence everywhere. */
struct rng {
    uint64_t state;
};

static inline uint64_t rng_next(struct rng *rng) {
    uint64_t z = rng->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* 0 .. n - 1 */
static inline uint64_t rng_below(struct rng *rng, uint64_t n) {
    return rng_next(rng) % n;
}

/* low .. high */
static inline uint64_t rng_between(struct rng *rng, uint64_t low, uint64_t high) {
    return low + rng_below(rng, high - low + 1);
}

/* Fills P with bytes that depend on SEED and on their distance from P, none of them 0. */
static inline void pattern_fill(void *p, size_t bytes, uint64_t seed) {
    unsigned char *at = p;
    for (size_t i = 0; i < bytes; i++) {
        at[i] = (unsigned char)(1 + (seed * 31 + i * 7 + (i >> 8)) % 255);
    }
}

static inline bool pattern_holds(const void *p, size_t bytes, uint64_t seed) {
    const unsigned char *at = p;
    for (size_t i = 0; i < bytes; i++) {
        if (at[i] != (unsigned char)(1 + (seed * 31 + i * 7 + (i >> 8)) % 255)) {
            return false;
        }
    }
    return true;
}

static inline bool all_bytes_are(const void *p, size_t bytes, unsigned char value) {
    const unsigned char *at = p;
    return !bytes || (at[0] == value && !memcmp(at, at + 1, bytes - 1));
}

/* Kernel pages of a private anonymous mapping that have memory behind them; ADDRESS is a page's. */
static inline size_t resident_pages(const void *address, size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), npages = (bytes + page - 1) / page, count = 0;
    unsigned char *in_core = malloc(npages);
    if (!in_core || mincore((void *)(uintptr_t)address, bytes, in_core)) {
        free(in_core);
        return SIZE_MAX;
    }
    for (size_t i = 0; i < npages; i++) {
        count += in_core[i] & 1;
    }
    free(in_core);
    return count;
}

/* Bytes of the whole process: its address space, and what is resident of it. */
static inline void statm_bytes(size_t *space, size_t *resident) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    FILE *statm = fopen("/proc/self/statm", "r");
    *space = *resident = 0;
    if (statm && fscanf(statm, "%zu %zu", space, resident) != 2) {
        *space = *resident = 0;
    }
    if (statm) {
        fclose(statm);
    }
    *space *= page;
    *resident *= page;
}

static inline size_t address_space_bytes(void) {
    size_t space, resident;
    statm_bytes(&space, &resident);
    return space;
}

static inline size_t rss_bytes(void) {
    size_t space, resident;
    statm_bytes(&space, &resident);
    return resident;
}

/* FIELD ("Rss", "AnonHugePages", ...) in bytes of the mapping ADDRESS is in, from /proc/self/smaps; SIZE_MAX: none. */
static inline size_t smaps_bytes(const void *address, const char *field) {
    FILE *smaps = fopen("/proc/self/smaps", "r");
    char line[512];
    bool inside = false;
    size_t bytes = SIZE_MAX, length = strlen(field);
    while (smaps && bytes == SIZE_MAX && fgets(line, sizeof line, smaps)) {
        unsigned long start, end, kib;
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2) {
            inside = start <= (uintptr_t)address && (uintptr_t)address < end;
        } else if (inside && !strncmp(line, field, length) && sscanf(line + length, ": %lu kB", &kib) == 1) {
            bytes = kib << 10;
        }
    }
    if (smaps) {
        fclose(smaps);
    }
    return bytes;
}

/* The kernel's two-letter flags of the mapping P is in contain FLAG. */
static inline bool has_vm_flag(const void *p, const char *flag) {
    FILE *smaps = fopen("/proc/self/smaps", "r");
    char line[512];
    bool inside = false, found = false;
    while (smaps && fgets(line, sizeof line, smaps)) {
        unsigned long start, end;
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2) {
            inside = start <= (uintptr_t)p && (uintptr_t)p < end;
        } else if (inside && !strncmp(line, "VmFlags:", 8)) {
            found = strstr(line, flag);
            break;
        }
    }
    if (smaps) {
        fclose(smaps);
    }
    return found;
}

static inline bool kernel_has_huge_pages(void) {
    return !access("/sys/kernel/mm/transparent_hugepage/enabled", F_OK);
}

#endif
