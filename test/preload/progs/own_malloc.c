/*
 * A program with a malloc of its own, and with functions that have kernel names.  Its own come before a preloaded
 * library's; the library must neither hijack the kernel names nor mind that it is never called.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tap.h"

#include <pthread.h>

static _Alignas(64) char arena[64 << 20];
static size_t used;
static int calls;

void *malloc(size_t n) {
    size_t at = __atomic_fetch_add(&used, (n + 31) / 16 * 16, __ATOMIC_RELAXED);
    __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
    if (at > sizeof arena - n - 32) {
        errno = ENOMEM;
        return NULL;
    }
    *(size_t *)(void *)(arena + at) = n;
    return arena + at + 16;
}

void free(void *p) {
    (void)p;
}

void *calloc(size_t n, size_t m) {
    return malloc(n * m);
}

void *realloc(void *p, size_t n) {
    char *q = malloc(n);
    if (p && q) {
        size_t old = *(size_t *)(void *)((char *)p - 16);
        memcpy(q, p, old < n ? old : n);
    }
    return q;
}

/* xfsprogs has functions of these names. */
void *kmem_cache_alloc(void *cache, int flags);
void *kmem_cache_alloc(void *cache, int flags) {
    (void)flags;
    return cache;
}

void *kmalloc(size_t n, int flags);
void *kmalloc(size_t n, int flags) {
    (void)flags;
    return n == 42 ? arena : NULL;
}

static void *in_thread(void *argument) {
    char *p = strdup("thread");
    FILE *file = fopen("/proc/self/status", "r");
    if (file)
        fclose(file);
    return p && strcmp(p, "thread") == 0 ? argument : (void *)1;
}

int main(void) {
    tap_begin();
    pthread_t thread;
    void *result = (void *)1;
    char *p = strdup("own");
    ok(p >= arena && p < arena + sizeof arena, "libc's strdup gets memory from the program's own malloc");
    pthread_create(&thread, NULL, in_thread, NULL);
    pthread_join(thread, &result);
    ok(result == NULL, "threads and stdio work with the program's own malloc");
    ok(calls > 3, "the program's own malloc was called");
    ok(kmem_cache_alloc(arena, 0) == arena && kmalloc(42, 0) == arena, "kernel names stay the program's own");
    return done_testing();
}
