/*
 * hugetlb_heap NPAGES [LEAST]: needs twice as much memory as NPAGES pages of the hugetlb pool, in blocks of several
 * sizes, and gives it back. At least LEAST pages of the pool [NPAGES] are then in use, and none afterwards.
 *
 * hugetlb_heap NPAGES fork: with all pages of the pool in use, parent and children write to what they share.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tap.h"

#include <malloc.h>
#include <sys/wait.h>

#define HUGE ((size_t)2 << 20)

enum { MAX_BLOCKS = 1 << 17 };

static char *blocks[MAX_BLOCKS];

static long pool_free(void) {
    char text[32] = "-1";
    int fd = open("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", O_RDONLY);
    if (fd >= 0) {
        ssize_t n = read(fd, text, sizeof text - 1);
        text[n > 0 ? n : 0] = 0;
        close(fd);
    }
    return strtol(text, NULL, 10);
}

static size_t take(size_t size, size_t total) {
    size_t count = 0;
    for (size_t done = 0; done < total && count < MAX_BLOCKS; done += size, count++) {
        blocks[count] = opaque(malloc(size));
        if (!blocks[count]) {
            break;
        }
        memset(blocks[count], (int)count, size);
    }
    return count;
}

static int release(size_t count, size_t size) {
    int good = 1;
    for (size_t i = 0; i < count; i++) {
        good &= blocks[i][0] == (char)i && blocks[i][size - 1] == (char)i && blocks[i][size / 2] == (char)i;
        free(blocks[i]);
    }
    malloc_trim(0);
    return good;
}

static void change(size_t count, size_t size, int by) {
    for (size_t i = 0; i < count; i++) {
        memset(blocks[i], (int)i + by, size);
    }
}

static int holds(size_t count, size_t size, int by) {
    int good = 1;
    for (size_t i = 0; i < count; i++) {
        good &= blocks[i][0] == (char)(i + (size_t)by) && blocks[i][size - 1] == (char)(i + (size_t)by);
    }
    return good;
}

/* The parent writes while its children read, then they write and read again. */
static void fork_with(size_t size, size_t count) {
    int turn[2], status, good = 1;
    pid_t child[2];
    if (pipe(turn) != 0) {
        return;
    }
    for (int i = 0; i < 2; i++) {
        child[i] = fork();
        if (child[i] == 0) {
            char go;
            close(turn[1]);
            int seen = holds(count, size, 0) && read(turn[0], &go, 1) == 0 && holds(count, size, 0);
            change(count, size, 2 + i);
            char *more = malloc(size);
            _exit(!(seen && more && holds(count, size, 2 + i)));
        }
    }
    change(count, size, 1);
    close(turn[1]);
    close(turn[0]);
    for (int i = 0; i < 2; i++) {
        good &= waitpid(child[i], &status, 0) == child[i] && status == 0;
    }
    ok(good, "%zu bytes: children see what they were born with, and write to it", size);
    ok(holds(count, size, 1), "%zu bytes: so does the parent", size);
    change(count, size, 0);
}

static void forks(size_t n) {
    static const size_t sizes[] = {1000, 300000, 5 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t count = take(sizes[i], 2 * n * HUGE);
        ok(pool_free() == 0, "%zu bytes: the pool is empty", sizes[i]);
        fork_with(sizes[i], count);
        ok(release(count, sizes[i]), "%zu bytes: nothing was lost", sizes[i]);
    }
}

int main(int argc, char **argv) {
    static const size_t sizes[] = {1000, 20000, 300000, 2 << 20, 5 << 20};
    long n = argc > 1 ? strtol(argv[1], NULL, 10) : 0, least = argc > 2 ? strtol(argv[2], NULL, 10) : n;
    tap_begin();
    if (argc > 2 && !strcmp(argv[2], "fork")) {
        forks((size_t)n);
        return done_testing();
    }
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t count = take(sizes[i], 2 * (size_t)n * HUGE);
        long used = n - pool_free();
        ok(count * sizes[i] >= 2 * (size_t)n * HUGE - sizes[i], "%zu bytes: twice the pool can be had", sizes[i]);
        ok(used >= least && used <= n, "%zu bytes: %ld pages of the pool are used", sizes[i], least);
        if (used < least || used > n) {
            note("%ld are", used);
        }
        ok(release(count, sizes[i]), "%zu bytes: nothing was lost", sizes[i]);
        long left = n - pool_free();
        ok(left == 0, "%zu bytes: all pages are back in the pool", sizes[i]);
    }
    return done_testing();
}
