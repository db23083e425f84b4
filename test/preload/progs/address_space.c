/*
 * address_space: RLIMIT_AS is reached.  Every call says so by NULL and ENOMEM, nothing dies, and after something was
 * freed memory is to be had again.
 */
#include "tap.h"

#include <malloc.h>
#include <pthread.h>
#include <sys/resource.h>

enum { LIMIT = 256 << 20, MAX_BLOCKS = 1 << 20 };

static void *blocks[MAX_BLOCKS];

/* Allocates blocks of a size, each touched at both ends, until there are no more. */
static size_t exhaust(size_t size, int *error) {
    size_t count = 0;
    errno = 0;
    while (count < MAX_BLOCKS) {
        char *p = opaque(malloc(size));
        if (!p)
            break;
        p[0] = p[size - 1] = 1;
        blocks[count++] = p;
    }
    *error = errno;
    return count;
}

static void release(size_t from, size_t count, size_t step) {
    for (size_t i = from; i < count; i += step)
        free(blocks[i]);
}

static void every_call_fails_in_order(size_t size) {
    void *mark = &mark, *p = mark;
    int bad = 0;
    char *old = blocks[0];
    pattern_fill(old, size, 5);
    /* Far above what is left, whichever way the heap was used up. */
    size_t more = (size_t)200 << 20;
    errno = 0, bad += opaque(malloc(more)) || errno != ENOMEM;
    errno = 0, bad += opaque(calloc(1, more)) || errno != ENOMEM;
    errno = 0, bad += opaque(realloc(old, more)) || errno != ENOMEM;
    errno = 0, bad += opaque(aligned_alloc(4096, more)) || errno != ENOMEM;
    errno = 0, bad += opaque(memalign((size_t)4 << 20, more)) || errno != ENOMEM;
    errno = 0, bad += opaque(valloc(more)) || errno != ENOMEM;
    bad += posix_memalign(&p, 64, more) != ENOMEM || p != mark;
    ok(!bad, "blocks of %zu: when all is used every call is NULL with ENOMEM", size);
    ok(pattern_check(old, size, 5) == size, "blocks of %zu: the failed realloc left its block alone", size);
}

static void *thread_exhausts(void *argument) {
    (void)argument;
    int error;
    size_t count = exhaust(5000, &error);
    release(0, count, 1);
    return (void *)(uintptr_t)(count > 1000 && error == ENOMEM);
}

int main(void) {
    tap_begin();
    struct rlimit limit = {LIMIT, LIMIT};
    if (setrlimit(RLIMIT_AS, &limit) != 0) {
        skip("RLIMIT_AS", "cannot be set");
        return done_testing();
    }

    static const size_t sizes[] = {100 << 10, 1000, 20000, 1 << 20, 300, (3 << 20) + 5, 100 << 10};
    size_t first_total = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t size = sizes[i];
        int error;
        size_t count = exhaust(size, &error), total = count * size;
        note("blocks of %zu: %zu MiB before the limit of %d MiB", size, total >> 20, LIMIT >> 20);
        ok(error == ENOMEM, "blocks of %zu: the end is NULL with ENOMEM", size);
        ok(total > (size_t)LIMIT / 2, "blocks of %zu: at least half of the limit is usable", size);
        if (i == 0)
            first_total = total;
        if (count < 8)
            continue;
        every_call_fails_in_order(size);

        release(0, count, 2);
        size_t again = 0, want = count / 4;
        void **kept = blocks;
        for (size_t k = 0; k < want; k++) {
            char *p = opaque(malloc(size));
            if (!p)
                break;
            memset(p, 2, size);
            kept[2 * k] = p;
            again++;
        }
        ok(again == want, "blocks of %zu: after half of them were freed, half of those can be had again", size);
        release(0, again * 2, 2);
        release(1, count, 2);
    }
    int error;
    size_t count = exhaust(sizes[0], &error);
    ok(count * sizes[0] > first_total / 10 * 9, "after all that as much memory can be had as at the beginning");
    release(0, count, 1);

    pthread_attr_t attributes;
    pthread_t thread;
    void *result = NULL;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 << 10);
    if (pthread_create(&thread, &attributes, thread_exhausts, NULL) == 0)
        pthread_join(thread, &result);
    ok(result != NULL, "a thread reaches the limit too and gets ENOMEM");
    char *p = opaque(malloc((size_t)50 << 20));
    ok(p != NULL, "afterwards the main thread gets a 50 MiB block");
    free(p);
    return done_testing();
}
