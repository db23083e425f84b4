/*
 * bad_free MODE: gives free() or realloc() a pointer it must not get.
 *
 * Before the bad call all pointers that a message may rightly name go to stdout, one a line.  Afterwards comes the line
 * "survived".  A fault in a small object may be seen late, by a slow path only; those modes repeat it with thousands of
 * objects, or end the thread, so that a slow path must come.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tap.h"

#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum { MANY = 5000 };

static void *many[MANY];
static char static_bytes[4096] = "data";

/* What the message may name. */
static void *suspect(void *p) {
    printf("%p\n", p);
    fflush(stdout);
    return opaque(p);
}

static void bad_free(void *p) {
    free(suspect(p));
}

static void get_many(size_t size) {
    for (int i = 0; i < MANY; i++) {
        many[i] = opaque(malloc(size));
        memset(many[i], 1, size);
    }
}

static void free_many(size_t offset) {
    for (int i = 0; i < MANY; i++)
        free(opaque((char *)many[i] + offset));
}

static void suspect_many(size_t offset) {
    for (int i = 0; i < MANY; i++)
        suspect((char *)many[i] + offset);
}

/* Work after the fault which makes the slow paths come by: other sizes, then the same size again. */
static void churn(size_t size) {
    get_many(size);
    free_many(0);
    malloc_trim(0);
}

static void in_thread(void *(*body)(void *), void *argument) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, body, argument) == 0)
        pthread_join(thread, NULL);
}

static void *thread_frees_many(void *argument) {
    (void)argument;
    free_many(0);
    return NULL;
}

static void *thread_frees_interior_many(void *argument) {
    (void)argument;
    free_many(16);
    return NULL;
}

static void *thread_frees_twice(void *p) {
    free(p);
    free(opaque(p));
    return NULL;
}

static void *thread_gets_many(void *size) {
    get_many((size_t)size);
    return NULL;
}

static void twice(size_t size) {
    char *p = opaque(malloc(size));
    memset(p, 1, size);
    suspect(p);
    free(p);
    free(opaque(p));
}

static void twice_aligned(size_t alignment, size_t size) {
    char *p = opaque(memalign(alignment, size));
    suspect(p);
    free(p);
    free(opaque(p));
}

static void interior(size_t size, size_t offset) {
    char *p = opaque(malloc(size));
    memset(p, 1, size);
    bad_free(p + offset);
}

static int run(const char *mode) {
    size_t size = 0, offset = 0;
    char local[64] = "stack", tail;

    if (strcmp(mode, "wild-low") == 0)
        bad_free((void *)0x1230);
    else if (strcmp(mode, "wild-one") == 0)
        bad_free((void *)1);
    else if (strcmp(mode, "wild-middle") == 0)
        bad_free((void *)0x123456789ab0);
    else if (strcmp(mode, "wild-noncanonical") == 0)
        bad_free((void *)0xdeadbeefdeadbee0);
    else if (strcmp(mode, "wild-kernel") == 0)
        bad_free((void *)0xffffffff81000000);
    else if (strcmp(mode, "wild-minus-one") == 0)
        bad_free((void *)-1);
    else if (strcmp(mode, "stack") == 0)
        bad_free(local + 16);
    else if (strcmp(mode, "static") == 0)
        bad_free(static_bytes + 64);
    else if (strcmp(mode, "code") == 0)
        bad_free((void *)(uintptr_t)done_testing);
    else if (strcmp(mode, "own-mapping") == 0)
        bad_free(mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    else if (strcmp(mode, "realloc-stack") == 0)
        free(realloc(suspect(local + 16), opaque_size(100)));
    else if (strcmp(mode, "realloc-wild") == 0)
        free(realloc(suspect((void *)0xdeadbeefdeadbee0), opaque_size(100)));
    else if (strcmp(mode, "realloc-interior-large") == 0)
        free(realloc(suspect((char *)opaque(malloc(1 << 20)) + 4096), opaque_size(2 << 20)));
    else if (sscanf(mode, "interior:%zu+%zu%c", &size, &offset, &tail) == 2)
        interior(size, offset);
    else if (sscanf(mode, "interior-aligned:%zu+%zu%c", &size, &offset, &tail) == 2)
        bad_free((char *)opaque(memalign(4 << 20, size)) + offset);
    else if (sscanf(mode, "twice:%zu%c", &size, &tail) == 1)
        twice(size);
    else if (sscanf(mode, "twice-aligned:%zu@%zu%c", &size, &offset, &tail) == 2)
        twice_aligned(offset, size);
    else if (sscanf(mode, "twice-reallocated:%zu%c", &size, &tail) == 1) {
        void *p = opaque(malloc(size));
        void *q = opaque(realloc(p, size * 64));
        if (q == p)
            return 1;
        suspect(p);
        free(opaque(p));
        free(opaque(p));
    } else if (sscanf(mode, "interior-many:%zu+%zu%c", &size, &offset, &tail) == 2) {
        get_many(size);
        suspect_many(offset);
        free_many(offset);
        churn(size);
    } else if (sscanf(mode, "twice-many:%zu%c", &size, &tail) == 1) {
        get_many(size);
        suspect_many(0);
        free_many(0);
        free_many(0);
        churn(size);
    } else if (sscanf(mode, "remote-twice:%zu%c", &size, &tail) == 1) {
        void *p = opaque(malloc(size));
        suspect(p);
        in_thread(thread_frees_twice, p);
        churn(size);
    } else if (sscanf(mode, "remote-twice-many:%zu%c", &size, &tail) == 1) {
        get_many(size);
        suspect_many(0);
        in_thread(thread_frees_many, NULL);
        in_thread(thread_frees_many, NULL);
        churn(size);
    } else if (sscanf(mode, "remote-interior-many:%zu%c", &size, &tail) == 1) {
        get_many(size);
        suspect_many(16);
        in_thread(thread_frees_interior_many, NULL);
        churn(size);
    } else if (sscanf(mode, "dead-thread-twice-many:%zu%c", &size, &tail) == 1) {
        in_thread(thread_gets_many, (void *)size);
        suspect_many(0);
        free_many(0);
        free_many(0);
        churn(size);
    } else if (sscanf(mode, "closed-stderr:%zu%c", &size, &tail) == 1) {
        close(2);
        twice(size);
    } else
        return 2;
    return 0;
}

int main(int argc, char **argv) {
    /* The abort is wanted, its core is not. */
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    if (argc != 2 || run(argv[1]) == 2) {
        fprintf(stderr, "usage: bad_free MODE\n");
        return 2;
    }
    puts("survived");
    return 0;
}
