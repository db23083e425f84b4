/*
 * Rules of the family that hold for every size, not for some: alignment, usable size and content at each border where
 * the allocator changes its ways, wherever these are; errno through every way a block can go; degenerate arguments.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tap.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { MIB = 1 << 20, MARK = 12345 };

/* --- Every size --- */

static void every_size_is_aligned(void) {
    size_t bad = 0, unusable = 0;
    for (size_t n = 0; n <= 70000; n += n < 5000 ? 1 : 13) {
        char *p[3] = {opaque(malloc(n)), opaque(calloc(1, n)), opaque(realloc(NULL, n))};
        for (int k = 0; k < 3; k++) {
            bad += !p[k] || !aligned_to(p[k], 16);
            unusable += malloc_usable_size(p[k]) < n;
            memset(p[k], 1, malloc_usable_size(p[k]));
        }
        for (int k = 0; k < 3; k++)
            free(p[k]);
    }
    ok(!bad, "malloc, calloc and realloc align every size to 16 bytes");
    ok(!unusable, "and all of it is usable");
}

/* Sizes at which malloc_usable_size changes: the last of one kind. */
static size_t borders[4096], nborders;

static void find_borders(size_t from, size_t to, size_t step) {
    size_t before = 0;
    for (size_t n = from; n <= to; n += step) {
        void *p = opaque(malloc(n));
        size_t usable = malloc_usable_size(p);
        free(p);
        if (before && usable != before && before >= n - step && nborders < sizeof borders / sizeof *borders)
            borders[nborders++] = before;
        before = usable;
    }
}

static size_t moves_well(size_t from, size_t to, size_t seed) {
    size_t kept = from < to ? from : to;
    char *p = opaque(malloc(from));
    pattern_fill(p, from, seed);
    p = opaque(realloc(p, to));
    size_t bad = !p || malloc_usable_size(p) < to || pattern_check(p, kept, seed) != kept;
    memset(p, 1, malloc_usable_size(p));
    free(p);
    return bad;
}

static void content_crosses_every_border(void) {
    size_t bad = 0, dirty = 0;
    find_borders(1, 40000, 1);
    find_borders(40000, 300000, 512);
    static const size_t large[] = {1 << 20, 2 * MIB, 4 * MIB, 32 * MIB};
    for (size_t i = 0; i < sizeof large / sizeof *large; i++)
        borders[nborders++ % 4096] = large[i];
    size_t count = nborders < 4096 ? nborders : 4096;
    for (size_t i = 0; i < count; i++) {
        size_t at = borders[i];
        static const size_t steps[] = {1, 2, 16, 4096};
        for (size_t k = 0; k < 4; k++) {
            bad += moves_well(at, at + steps[k], i + k);
            bad += moves_well(at + steps[k], at, i + k);
        }
        bad += moves_well(at, at, i);
        bad += moves_well(at, at * 2 + 1, i);
        bad += moves_well(at * 2 + 1, at, i);
        bad += moves_well(at, at / 3 + 1, i);
    }
    ok(count > 4 && !bad, "realloc keeps the content one byte up and down over each border of sizes");
    for (size_t i = 0; i < count; i++)
        for (size_t n = borders[i] - 1; n <= borders[i] + 1; n++) {
            void *used[2] = {opaque(malloc(n)), opaque(malloc(n))};
            for (int k = 0; k < 2; k++)
                memset(used[k], 0xa5, malloc_usable_size(used[k]));
            free(used[0]);
            free(used[1]);
            unsigned char *p = opaque(calloc(n, 1));
            for (size_t k = 0; p && k < n; k++)
                dirty += p[k] != 0;
            free(p);
        }
    note("%zu borders", count);
    ok(!dirty, "calloc is zero at each of them, over memory used before");
}

/* --- errno --- */

static void *frees_for_others(void *argument) {
    void **p = argument;
    size_t changed = 0;
    for (size_t i = 0; i < 5000; i++) {
        errno = MARK;
        free(p[i]);
        changed += errno != MARK;
    }
    return (void *)changed;
}

static size_t frees_large(void) {
    enum { COUNT = 60 };
    void *p[COUNT];
    size_t changed = 0;
    for (size_t i = 0; i < COUNT; i++)
        memset(p[i] = opaque(malloc(3 * MIB + i * 4096)), 1, 100);
    for (size_t i = 0; i < COUNT; i++) {
        errno = MARK;
        free(p[i]);
        changed += errno != MARK;
    }
    return changed;
}

static int refuse_giving_back(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_munmap, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
    };
    struct sock_fprog filter = {sizeof code / sizeof *code, code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

static void free_keeps_errno(void) {
    static void *p[5000];
    size_t changed = 0;
    ok(frees_large() == 0, "free leaves errno alone when it gives large blocks back");
    for (size_t i = 0; i < 5000; i++)
        p[i] = opaque(malloc(i * 20));
    pthread_t thread;
    void *result = (void *)1;
    pthread_create(&thread, NULL, frees_for_others, p);
    pthread_join(thread, &result);
    ok(result == NULL, "free leaves errno alone for blocks of another thread");
    for (size_t n = 1; n <= 64 * (size_t)MIB; n *= 2) {
        void *q = opaque(malloc(n));
        errno = MARK;
        changed += opaque(realloc(q, opaque_size(0))) || errno != MARK;
        q = opaque(malloc(n));
        errno = MARK;
        q = opaque(realloc(q, n / 2 + 1));
        changed += errno != MARK;
        free(q);
    }
    ok(!changed, "so do realloc to nothing and realloc to less");
    pid_t pid = fork();
    if (pid == 0) {
        if (!refuse_giving_back())
            _exit(77);
        size_t bad = frees_large();
        malloc_trim(0);
        _exit(bad != 0);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip("free leaves errno alone when the kernel refuses the memory", "no seccomp filters here");
    else
        ok(status == 0, "free leaves errno alone when the kernel refuses the memory");
}

/* --- Degenerate arguments --- */

static void nothing_times_anything(void) {
    void *p[4] = {opaque(calloc(0, opaque_size(SIZE_MAX))), opaque(calloc(opaque_size(SIZE_MAX), 0)),
                  opaque(reallocarray(NULL, 0, opaque_size(SIZE_MAX))), opaque(reallocarray(NULL, 0, 0))};
    int bad = 0;
    for (int i = 0; i < 4; i++) {
        bad += !p[i];
        for (int k = 0; k < i; k++)
            bad += p[i] == p[k];
    }
    ok(!bad, "nothing times anything is no overflow, and gives blocks of their own");
    for (int i = 0; i < 4; i++)
        free(p[i]);
}

static void products_that_wrap(void) {
    static const size_t factors[][2] = {{SIZE_MAX, 2},
                                        {2, SIZE_MAX},
                                        {SIZE_MAX, SIZE_MAX},
                                        {(size_t)1 << 32, (size_t)1 << 32},
                                        {((size_t)1 << 32) + 1, (size_t)1 << 32}, /* wraps to 4 GiB */
                                        {SIZE_MAX / 16 + 2, 16},                  /* wraps to 16 */
                                        {SIZE_MAX, 1}};
    char *kept = opaque(malloc(100));
    int bad = 0;
    pattern_fill(kept, 100, 1);
    for (size_t i = 0; i < sizeof factors / sizeof *factors; i++) {
        size_t a = opaque_size(factors[i][0]), b = opaque_size(factors[i][1]);
        errno = 0, bad += opaque(calloc(a, b)) || errno != ENOMEM;
        errno = 0, bad += opaque(reallocarray(NULL, a, b)) || errno != ENOMEM;
        errno = 0, bad += opaque(reallocarray(kept, a, b)) || errno != ENOMEM;
    }
    ok(!bad, "calloc and reallocarray: products that wrap or are too large are NULL with ENOMEM");
    ok(pattern_check(kept, 100, 1) == 100, "and the block is left alone");
    free(kept);
}

static void aligned_alloc_is_particular(void) {
    int bad = 0;
    void *p = opaque(aligned_alloc(64, opaque_size(100)));
    ok(p && aligned_to(p, 64), "aligned_alloc: the size need not be a multiple of the alignment");
    free(p);
    static const size_t odd[] = {0, 3, 24, 100, SIZE_MAX};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        errno = 0, bad += opaque(aligned_alloc(opaque_size(odd[i]), 100)) || errno != EINVAL;
    if (tap_subject_is("slabmalloc"))
        ok(!bad, "aligned_alloc: an alignment that is no power of two is NULL with EINVAL");
    else
        skip("aligned_alloc: an alignment that is no power of two is NULL with EINVAL", "not before glibc 2.38");
    p = opaque(aligned_alloc(1, 100));
    ok(p && aligned_to(p, 16), "aligned_alloc: an alignment of 1 is the usual one");
    free(p);
}

/* Aligned or not, small or mapped: a block is a block. */
static void blocks_are_freed_alike(void) {
    size_t bad = 0;
    long before = rss_bytes();
    for (int round = 0; round < 200; round++)
        for (size_t n = 1; n <= 4 * (size_t)MIB; n *= 8) {
            void *p = NULL;
            char *q = opaque(memalign(1 << 12, n)), *r = opaque(valloc(n)), *s = opaque(aligned_alloc(1 << 16, n));
            bad += posix_memalign(&p, 1 << 14, n) != 0;
            memset(p, 1, n), memset(q, 1, n), memset(r, 1, n), memset(s, 1, n);
            free(p);
            q = opaque(realloc(q, n * 3));
            bad += !q || q[0] != 1 || q[n - 1] != 1;
            free(q);
            r = opaque(reallocarray(r, n, 2));
            bad += !r || r[n - 1] != 1;
            free(r);
            bad += opaque(realloc(s, opaque_size(0))) != NULL;
        }
    ok(!bad && rss_bytes() - before < 64 * (long)MIB, "aligned blocks may be resized, and are freed, as any other");
}

static void trim_says_what_it_did(void) {
    enum { COUNT = 50000 };
    static void *p[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        memset(p[i] = opaque(malloc(1000)), 1, 1000);
    for (size_t i = 0; i < COUNT; i++)
        free(i % 100 ? p[i] : NULL);
    int first = malloc_trim(0);
    for (size_t i = 0; i < COUNT; i += 100)
        free(p[i]);
    if (tap_subject_is("other"))
        skip("malloc_trim returns 1 when it gave memory back", "not every allocator has malloc_trim");
    else
        ok(first == 1, "malloc_trim returns 1 when it gave memory back");
    malloc_trim(opaque_size(SIZE_MAX));
    malloc_trim(opaque_size((size_t)PTRDIFF_MAX));
    void *q = opaque(malloc(100000));
    ok(q != NULL, "malloc_trim with an impossible pad does no harm");
    free(q);
}

int main(void) {
    tap_begin();
    every_size_is_aligned();
    content_crosses_every_border();
    free_keeps_errno();
    nothing_times_anything();
    products_that_wrap();
    aligned_alloc_is_particular();
    blocks_are_freed_alike();
    trim_says_what_it_did();
    return done_testing();
}
