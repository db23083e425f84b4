/*
 * The malloc family keeps its contract: C, POSIX and, where those are silent, what glibc does and programs rely on.
 * Runs under glibc too, which shows that the rules are read right.
 */
#include "tap.h"

#include <malloc.h>

/* Every size where an allocator may change its ways: around powers of two and their quarters, and a stride between. */
static size_t border_sizes[4096];
static size_t border_count;

static void add_size(size_t n) {
    if (border_count < sizeof border_sizes / sizeof *border_sizes)
        border_sizes[border_count++] = n;
}

static void collect_border_sizes(size_t max) {
    for (size_t n = 0; n <= 256; n++)
        add_size(n);
    for (size_t power = 256; power <= max; power *= 2)
        for (size_t quarter = 0; quarter < 4; quarter++)
            for (int off = -17; off <= 17; off += off >= -2 && off < 2 ? 1 : 3) {
                size_t n = power + power / 4 * quarter + (size_t)off;
                if (n <= max)
                    add_size(n);
            }
}

static void every_block_is_aligned_and_writable(void) {
    size_t bad_null = 0, bad_align = 0, bad_usable = 0, bad_content = 0;
    void *blocks[4];
    for (size_t i = 0; i < border_count; i++) {
        size_t n = border_sizes[i];
        for (size_t k = 0; k < 4; k++) {
            blocks[k] = opaque(malloc(n));
            if (!blocks[k]) {
                bad_null++;
                continue;
            }
            bad_align += !aligned_to(blocks[k], 16);
            bad_usable += malloc_usable_size(blocks[k]) < n;
            pattern_fill(blocks[k], malloc_usable_size(blocks[k]), i * 4 + k);
        }
        for (size_t k = 0; k < 4; k++) {
            size_t usable = malloc_usable_size(blocks[k]);
            bad_content += pattern_check(blocks[k], usable, i * 4 + k) != usable;
            free(blocks[k]);
        }
    }
    ok(bad_null == 0, "malloc serves every size from 0 to 1 MiB");
    ok(bad_align == 0, "malloc aligns every block to 16 bytes");
    ok(bad_usable == 0, "malloc_usable_size is never less than the size asked for");
    ok(bad_content == 0, "malloc_usable_size bytes may all be written without reaching a neighbour");
}

static void empty_blocks_are_distinct(void) {
    void *a = opaque(malloc(0)), *b = opaque(malloc(0)), *c = opaque(calloc(0, 8)), *d = opaque(calloc(8, 0));
    ok(a && b && c && d, "malloc(0) and calloc of nothing give a block");
    ok(a != b && a != c && b != c && c != d, "blocks of size 0 are distinct");
    free(a), free(b), free(c), free(d);
    free(NULL);
    ok(malloc_usable_size(NULL) == 0, "malloc_usable_size(NULL) is 0");
}

static void calloc_clears(void) {
    size_t dirty = 0, wrong = 0;
    static const size_t large[] = {300 << 10,        1 << 20, (1 << 20) + 1, 2 << 20,
                                   (2 << 20) + 4096, 3 << 20, 5 << 20,       33 << 20};
    for (size_t i = 0; i < border_count + sizeof large / sizeof *large; i++) {
        size_t n = i < border_count ? border_sizes[i] : large[i - border_count];
        void *used[3];
        for (int k = 0; k < 3; k++)
            if ((used[k] = opaque(malloc(n))))
                memset(used[k], 0xa5, malloc_usable_size(used[k]));
        for (int k = 0; k < 3; k++)
            free(used[k]);
        for (int k = 0; k < 3; k++) {
            unsigned char *p = opaque(k % 2 ? calloc(n, 1) : calloc(1, n));
            used[k] = p;
            if (!p) {
                wrong++;
                continue;
            }
            for (size_t j = 0; j < n; j++)
                if (p[j]) {
                    dirty++;
                    break;
                }
            wrong += !aligned_to(p, 16);
        }
        for (int k = 0; k < 3; k++)
            free(used[k]);
    }
    ok(dirty == 0, "calloc returns zeroes although freed blocks of the size were dirty, up to 33 MiB");
    ok(wrong == 0, "calloc aligns to 16 bytes");
    errno = 0;
    void *p = opaque(calloc(opaque_size(SIZE_MAX / 2 + 2), 2));
    ok(!p && errno == ENOMEM, "calloc(SIZE_MAX/2+2, 2) overflows: NULL and ENOMEM");
    errno = 0;
    p = opaque(calloc(opaque_size((size_t)1 << 33), (size_t)1 << 33));
    ok(!p && errno == ENOMEM, "calloc(2^33, 2^33) overflows: NULL and ENOMEM");
}

static void realloc_keeps_content(void) {
    size_t lost = 0, failed = 0, misaligned = 0;
    /* Up one border after the other, then down again; jumps afterwards. */
    for (int round = 0; round < 3; round++) {
        char *p = opaque(malloc(1));
        size_t have = 1;
        pattern_fill(p, have, 1);
        for (size_t i = 0; i < border_count; i++) {
            size_t at = round == 0 ? i : round == 1 ? border_count - 1 - i : i * 7919 % border_count;
            size_t n = border_sizes[at] ? border_sizes[at] : 1;
            char *q = opaque(realloc(p, n));
            if (!q) {
                failed++;
                continue;
            }
            size_t kept = have < n ? have : n;
            lost += pattern_check(q, kept, 1) != kept;
            misaligned += !aligned_to(q, 16);
            pattern_fill(q, n, 1);
            p = q;
            have = n;
        }
        free(p);
    }
    ok(failed == 0, "realloc serves every size from 1 to 1 MiB");
    ok(lost == 0, "realloc keeps the content across every size border, growing, shrinking and jumping");
    ok(misaligned == 0, "realloc aligns to 16 bytes");

    static const size_t large[] = {100,     40000,   300000, 2 << 20, (4 << 20) + 1, 70 << 20,
                                   9 << 20, 2100000, 33000,  17,      130 << 20,     1};
    char *p = opaque(malloc(1));
    size_t have = 1, bad = 0;
    pattern_fill(p, have, 2);
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) {
        size_t n = large[i], kept = have < n ? have : n;
        p = opaque(realloc(p, n));
        bad += !p || pattern_check(p, kept, 2) != kept;
        pattern_fill(p, n, 2);
        have = n;
    }
    free(p);
    ok(bad == 0, "realloc keeps the content between small blocks and blocks of many MiB");

    size_t usable_lost = 0;
    for (size_t i = 0; i < border_count; i += 3) {
        p = opaque(malloc(border_sizes[i]));
        size_t usable = malloc_usable_size(p);
        pattern_fill(p, usable, i);
        p = opaque(realloc(p, usable * 2 + 1));
        usable_lost += pattern_check(p, usable, i) != usable;
        free(p);
    }
    ok(usable_lost == 0, "realloc keeps all malloc_usable_size bytes");

    p = opaque(realloc(NULL, 100));
    ok(p && malloc_usable_size(p) >= 100, "realloc(NULL, n) is malloc(n)");
    errno = 0;
    void *gone = opaque(realloc(p, opaque_size(0)));
    ok(!gone && errno == 0, "realloc(p, 0) frees, returns NULL and is no error");
    gone = opaque(realloc(NULL, opaque_size(0)));
    ok(gone != NULL, "realloc(NULL, 0) gives a block");
    free(gone);

    /* Would leak 800 MiB, were the block not freed. */
    long before = rss_bytes();
    for (int i = 0; i < 200; i++) {
        p = opaque(malloc(4 << 20));
        memset(p, 1, 4 << 20);
        if (realloc(p, opaque_size(0)))
            break;
    }
    ok(rss_bytes() - before < 64 << 20, "realloc(p, 0) does free");
}

static void reallocarray_checks_overflow(void) {
    char *p = opaque(reallocarray(NULL, 100, 10));
    ok(p && malloc_usable_size(p) >= 1000, "reallocarray(NULL, 100, 10) gives 1000 bytes");
    pattern_fill(p, 1000, 3);
    errno = 0;
    void *q = opaque(reallocarray(p, opaque_size(SIZE_MAX / 4), 8));
    ok(!q && errno == ENOMEM, "reallocarray overflow: NULL and ENOMEM");
    ok(pattern_check(p, 1000, 3) == 1000, "reallocarray overflow leaves the block alone");
    p = opaque(reallocarray(p, 1000, 100));
    ok(p && pattern_check(p, 1000, 3) == 1000, "reallocarray keeps the content");
    q = opaque(reallocarray(p, opaque_size(0), 8));
    ok(!q, "reallocarray to nothing frees");
}

static void impossible_sizes_fail(void) {
    static const size_t sizes[] = {
        (size_t)PTRDIFF_MAX, (size_t)PTRDIFF_MAX + 1, SIZE_MAX - 4096, SIZE_MAX - 15, SIZE_MAX - 1, SIZE_MAX};
    int bad[8] = {0};
    char *block = opaque(malloc(300));
    pattern_fill(block, 300, 4);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t n = opaque_size(sizes[i]);
        void *untouched = &untouched, *p = untouched;
        errno = 0, bad[0] += opaque(malloc(n)) || errno != ENOMEM;
        errno = 0, bad[1] += opaque(calloc(1, n)) || errno != ENOMEM;
        errno = 0, bad[2] += opaque(realloc(block, n)) || errno != ENOMEM;
        errno = 0, bad[3] += opaque(reallocarray(block, n, 1)) || errno != ENOMEM;
        errno = 0, bad[4] += opaque(aligned_alloc(64, n)) || errno != ENOMEM;
        errno = 0, bad[5] += opaque(memalign(8192, n)) || errno != ENOMEM;
        errno = 0, bad[6] += opaque(valloc(n)) || errno != ENOMEM;
        bad[7] += posix_memalign(&p, 64, n) != ENOMEM || p != untouched;
    }
    static const char *names[] = {"malloc", "calloc", "realloc", "reallocarray", "aligned_alloc", "memalign", "valloc"};
    for (int i = 0; i < 7; i++)
        ok(!bad[i], "%s of PTRDIFF_MAX and more is NULL and ENOMEM", names[i]);
    ok(!bad[7], "posix_memalign of PTRDIFF_MAX and more is ENOMEM and leaves *memptr alone");
    ok(pattern_check(block, 300, 4) == 300, "a realloc that failed leaves the block alone");
    free(block);
}

static void free_keeps_errno(void) {
    size_t changed = 0;
    for (size_t n = 1; n <= (size_t)64 << 20; n *= 2) {
        void *p = opaque(malloc(n));
        if (p)
            memset(p, 1, n);
        errno = 12345;
        free(p);
        changed += errno != 12345;
    }
    static void *blocks[20000];
    for (size_t i = 0; i < 20000; i++)
        blocks[i] = opaque(malloc(i % 3000));
    for (size_t i = 0; i < 20000; i++) {
        errno = 12345;
        free(blocks[i]);
        changed += errno != 12345;
    }
    errno = 12345;
    free(NULL);
    changed += errno != 12345;
    ok(changed == 0, "free leaves errno alone, at every size and when it returns memory");
}

static void success_keeps_errno(void) {
    /* Not asked by a standard, but programs test errno after calls that may allocate (strtol, readdir). */
    size_t changed = 0;
    for (size_t n = 1; n <= (size_t)64 << 20; n *= 2) {
        errno = 0;
        void *p = opaque(malloc(n)), *q = opaque(calloc(1, n)), *r = opaque(aligned_alloc(4096, n));
        p = opaque(realloc(p, n * 2));
        changed += errno != 0;
        free(p), free(q), free(r);
    }
    ok(changed == 0, "calls that succeed leave errno alone");
}

int main(void) {
    tap_begin();
    collect_border_sizes((size_t)1 << 20);
    every_block_is_aligned_and_writable();
    empty_blocks_are_distinct();
    calloc_clears();
    realloc_keeps_content();
    reallocarray_checks_overflow();
    impossible_sizes_fail();
    free_keeps_errno();
    success_keeps_errno();
    return done_testing();
}
