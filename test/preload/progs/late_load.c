/*
 * late_load LIBRARY [HOG...]: the allocator is not preloaded but opened by dlopen in a running, threaded program,
 * beside glibc's. Its TLS must fit into what is left of the static TLS block, also when HOGs have taken nearly all of
 * it.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tap.h"

#include <dlfcn.h>
#include <pthread.h>

static void *(*other_malloc)(size_t);
static void *(*other_realloc)(void *, size_t);
static void (*other_free)(void *);

static void *works(void *argument) {
    size_t bad = 0;
    (void)argument;
    for (size_t i = 0; i < 20000; i++) {
        size_t n = i * 37 % 5000 + 1;
        char *p = other_malloc(n), *q = malloc(n);
        if (!p || !q)
            return (void *)1;
        pattern_fill(p, n, i);
        pattern_fill(q, n, i + 1);
        p = other_realloc(p, n * 2);
        bad += pattern_check(p, n, i) != n || pattern_check(q, n, i + 1) != n;
        other_free(p);
        free(q);
    }
    return (void *)bad;
}

static void *waits(void *argument) {
    pthread_barrier_wait(argument);
    pthread_barrier_wait(argument);
    return works(NULL);
}

int main(int argc, char **argv) {
    tap_begin();
    if (argc < 2)
        return 2;
    for (int i = 2; i < argc; i++)
        if (!dlopen(argv[i], RTLD_NOW))
            note("%s", dlerror());
    /* A thread that was there before the library. */
    pthread_barrier_t barrier;
    pthread_t thread;
    pthread_barrier_init(&barrier, NULL, 2);
    pthread_create(&thread, NULL, waits, &barrier);
    pthread_barrier_wait(&barrier);
    void *handle = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!ok(handle != NULL, "dlopen loads the library into a running program")) {
        note("%s", dlerror());
        return done_testing();
    }
    other_malloc = (void *(*)(size_t))dlsym(handle, "malloc");
    other_realloc = (void *(*)(void *, size_t))dlsym(handle, "realloc");
    other_free = (void (*)(void *))dlsym(handle, "free");
    ok(works(NULL) == NULL, "its malloc works beside glibc's");
    pthread_barrier_wait(&barrier);
    void *result;
    pthread_join(thread, &result);
    ok(result == NULL, "and in a thread that is older than the library");
    return done_testing();
}
