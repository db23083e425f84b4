/*
 * scarce MODE: what an allocator takes from the kernel runs out.
 *   data   RLIMIT_DATA
 *   cgroup a cgroup's limit of 64 MiB, set by whoever starts this
 *   maps   nearly as many map areas as a process may have
 * Calls answer NULL with ENOMEM or work, nothing dies, and what was there at the beginning can be had again.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tap.h"

#include <malloc.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum { MAX_BLOCKS = 1 << 20, LIMIT = 128 << 20 };

static void *blocks[MAX_BLOCKS];

static size_t exhaust(size_t size, size_t max, int *error) {
    size_t count = 0;
    errno = 0;
    while (count < max && (blocks[count] = opaque(malloc(size)))) {
        memset(blocks[count++], 1, 16);
    }
    *error = count < max ? errno : 0;
    return count;
}

static void release(size_t count) {
    for (size_t i = 0; i < count; i++)
        free(blocks[i]);
}

static void data(void) {
    static const size_t sizes[] = {100, 5000, 50000, 1 << 20, 5 << 20, 100};
    struct rlimit limit = {LIMIT, LIMIT};
    if (setrlimit(RLIMIT_DATA, &limit) != 0) {
        skip("RLIMIT_DATA", "cannot be set");
        return;
    }
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int error;
        size_t count = exhaust(sizes[i], MAX_BLOCKS, &error);
        /* Of small blocks the table may be full first. */
        ok(count == MAX_BLOCKS || error == ENOMEM, "RLIMIT_DATA: the last block of %zu bytes is NULL with ENOMEM",
           sizes[i]);
        ok(count == MAX_BLOCKS || count * sizes[i] > LIMIT / 2, "RLIMIT_DATA: half of it can be had in such blocks");
        release(count);
    }
}

/* Every second page of a mapping gets other rights, so that each is an area of its own. */
static size_t use_up_areas(size_t leave) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), max = (size_t)1 << 18, n = 0;
    char *area = mmap(NULL, max * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (area == MAP_FAILED)
        return 0;
    while (n < max && mprotect(area + n * page, page, PROT_READ) == 0)
        n += 2;
    for (size_t i = 0; n < max && i < leave; i++) /* two areas less each */
        mprotect(area + (n - 2 - 2 * i) * page, page, PROT_NONE);
    return n < max ? n : 0;
}

static void maps(void) {
    static const size_t sizes[] = {100, 5000, 100000, 3 << 20, 20 << 20, 100};
    if (!use_up_areas(10)) {
        skip("map areas", "more of them may be had than this test tries");
        return;
    }
    size_t bad = 0;
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            int error;
            size_t want = sizes[i] < 1 << 20 ? 2000 : 30, count = exhaust(sizes[i], want, &error);
            bad += count < want && error != ENOMEM;
            for (size_t k = 0; k < count; k += 2) {
                void *p = opaque(realloc(blocks[k], sizes[i] * 2));
                blocks[k] = p ? p : blocks[k];
            }
            for (size_t k = 1; k < count; k += 2)
                free(blocks[k]);
            for (size_t k = 0; k < count; k += 2)
                free(blocks[k]);
            malloc_trim(0);
        }
    ok(!bad, "20 map areas left: calls work or are NULL with ENOMEM");
    int error;
    size_t count = exhaust(1000, 1000, &error);
    ok(count == 1000, "and small blocks can be had afterwards");
    release(count);
    char *p = opaque(calloc(1, 50000));
    size_t dirty = 0;
    for (size_t i = 0; p && i < 50000; i++)
        dirty += p[i] != 0;
    ok(p && !dirty, "and calloc is zero");
    free(p);
}

/* Beyond the limit the kernel kills: nothing may be kept that stands in the way of other sizes. */
static void cgroup(void) {
    static const size_t sizes[] = {16, 100, 1000, 5000, 40000, 300000, 3 << 20};
    for (int round = 0; round < 5; round++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            size_t count = ((size_t)20 << 20) / sizes[i];
            count = count < MAX_BLOCKS ? count : MAX_BLOCKS;
            for (size_t k = 0; k < count; k++)
                memset(blocks[k] = opaque(malloc(sizes[i])), 1, sizes[i]);
            release(count);
        }
    ok(1, "a heap of 20 MiB stays far below 64 MiB");
}

int main(int argc, char **argv) {
    tap_begin();
    if (argc > 1 && strcmp(argv[1], "data") == 0)
        data();
    else if (argc > 1 && strcmp(argv[1], "maps") == 0)
        maps();
    else if (argc > 1 && strcmp(argv[1], "cgroup") == 0)
        cgroup();
    else
        return 2;
    return done_testing();
}
