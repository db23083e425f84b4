/*
 * TAP for the helper programs.  Works in C and C++, allocates nothing itself: stdout gets a static, line-wise buffer
 * so that a test which has used up all memory can still say so.
 *
 * TEST_SUBJECT tells who serves malloc: "glibc" (nothing preloaded), "slabmalloc" or "other".  Rules that glibc does
 * not keep are skipped there.
 */
#ifndef TAP_H
#define TAP_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* These programs break the rules on purpose. */
#if defined __GNUC__ && !defined __clang__
#pragma GCC diagnostic ignored "-Wfree-nonheap-object"
#if __GNUC__ >= 12
#pragma GCC diagnostic ignored "-Wuse-after-free"
#endif
#endif

static int tap_count;
static int tap_failures;

static inline int tap_subject_is(const char *name) {
    const char *subject = getenv("TEST_SUBJECT");
    return subject && strcmp(subject, name) == 0;
}

static inline void tap_begin(void) {
    static char buffer[1024];
    setvbuf(stdout, buffer, _IOLBF, sizeof buffer);
}

__attribute__((format(printf, 2, 3))) static inline int ok(int pass, const char *format, ...) {
    va_list args;
    if (!pass)
        tap_failures++;
    printf("%sok %d - ", pass ? "" : "not ", ++tap_count);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    return pass;
}

__attribute__((format(printf, 1, 2))) static inline void note(const char *format, ...) {
    va_list args;
    printf("# ");
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

static inline void skip(const char *name, const char *reason) {
    printf("ok %d # SKIP %s: %s\n", ++tap_count, name, reason);
}

static inline int done_testing(void) {
    printf("1..%d\n", tap_count);
    fflush(stdout);
    return tap_failures != 0;
}

/* Hide a value from the optimiser: it would drop malloc/free pairs and warn about the misuse tested here. */
static inline void *opaque(void *p) {
    __asm__ volatile("" : "+r"(p) : : "memory");
    return p;
}

static inline size_t opaque_size(size_t n) {
    __asm__ volatile("" : "+r"(n));
    return n;
}

/* A byte pattern that differs between blocks and along a block. */
static inline unsigned char pattern_byte(size_t seed, size_t i) {
    return (unsigned char)(seed * 31 + i + (i >> 8) * 7 + 1);
}

static inline void pattern_fill(void *p, size_t n, size_t seed) {
    unsigned char *bytes = (unsigned char *)p;
    for (size_t i = 0; i < n; i++)
        bytes[i] = pattern_byte(seed, i);
}

/* Index of the first wrong byte, or n. */
static inline size_t pattern_check(const void *p, size_t n, size_t seed) {
    const unsigned char *bytes = (const unsigned char *)p;
    size_t i;
    for (i = 0; i < n && bytes[i] == pattern_byte(seed, i); i++)
        ;
    return i;
}

static inline int aligned_to(const void *p, size_t alignment) {
    return ((uintptr_t)p & (alignment - 1)) == 0;
}

/* A field of /proc/self/status or smaps_rollup in bytes, or -1.  No stdio: must not allocate. */
static inline long proc_bytes(const char *path, const char *field) {
    char text[8192];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = 0, got;
    while ((got = read(fd, text + n, sizeof text - 1 - (size_t)n)) > 0)
        n += got;
    close(fd);
    if (n <= 0)
        return -1;
    text[n] = '\0';
    const char *at = strstr(text, field);
    if (!at)
        return -1;
    return strtol(at + strlen(field), NULL, 10) * 1024;
}

static inline long rss_bytes(void) {
    return proc_bytes("/proc/self/status", "VmRSS:");
}

#endif
