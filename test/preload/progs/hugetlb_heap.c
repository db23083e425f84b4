/*
 * hugetlb_heap NPAGES [LEAST]: needs twice as much memory as NPAGES pages of the hugetlb pool, in blocks of several sizes,
 * and gives it back. At least LEAST pages of the pool [NPAGES] are then in use, and none afterwards.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tap.h"

#include <malloc.h>

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

int main(int argc, char **argv) {
    static const size_t sizes[] = {1000, 20000, 300000, 2 << 20, 5 << 20};
    long n = argc > 1 ? strtol(argv[1], NULL, 10) : 0, least = argc > 2 ? strtol(argv[2], NULL, 10) : n;
    tap_begin();
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
        ok(left <= 1, "%zu bytes: all pages are back but what the C library holds", sizes[i]);
    }
    return done_testing();
}
