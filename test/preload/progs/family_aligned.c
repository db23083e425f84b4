/*
 * memalign, aligned_alloc, posix_memalign, valloc, pvalloc: every alignment is kept, from 1 byte to 64 MiB; blocks are
 * ordinary blocks for free, realloc and malloc_usable_size; bad alignments are refused the way POSIX and glibc do it.
 */
#include "tap.h"

#include <malloc.h>

static const size_t sizes[] = {0,    1,     15,    16,     17,     100,     1000,    4095,   4096,
                               4097, 10000, 40000, 100000, 300000, 1 << 20, 2100000, 5 << 20};
enum { NSIZES = sizeof sizes / sizeof *sizes };

/* Four live blocks of each size at each alignment, written in full, checked, then grown. */
static void alignments_are_kept(const char *name, void *(*get)(size_t, size_t), size_t max_alignment) {
    size_t misaligned = 0, overlap = 0, failed = 0, lost = 0;
    for (size_t alignment = sizeof(void *); alignment <= max_alignment; alignment *= 2)
        for (size_t i = 0; i < NSIZES; i++) {
            void *block[4];
            int count = alignment >= (size_t)4 << 20 ? 2 : 4;
            for (int k = 0; k < count; k++) {
                block[k] = opaque(get(alignment, sizes[i]));
                failed += !block[k];
                misaligned += !aligned_to(block[k], alignment) || !aligned_to(block[k], 16);
                pattern_fill(block[k], malloc_usable_size(block[k]), alignment + i + (size_t)k);
            }
            for (int k = 0; k < count; k++) {
                size_t usable = malloc_usable_size(block[k]);
                overlap += usable < sizes[i] || pattern_check(block[k], usable, alignment + i + (size_t)k) != usable;
                if (k & 1) {
                    free(block[k]);
                    continue;
                }
                block[k] = opaque(realloc(block[k], usable + 5000));
                lost += !block[k] || pattern_check(block[k], usable, alignment + i + (size_t)k) != usable;
                free(block[k]);
            }
        }
    ok(!failed && !misaligned, "%s keeps every alignment up to %zu KiB", name, max_alignment >> 10);
    ok(!overlap, "%s: usable bytes cover the size and are the block's own", name);
    ok(!lost, "%s: realloc keeps the content", name);
}

static void *get_posix_memalign(size_t alignment, size_t size) {
    void *p = NULL;
    return posix_memalign(&p, alignment, size) == 0 ? p : NULL;
}

static void *get_memalign(size_t alignment, size_t size) {
    return memalign(alignment, size);
}

static void *get_aligned_alloc(size_t alignment, size_t size) {
    return aligned_alloc(alignment, size);
}

static void odd_alignments_are_rounded_up(void) {
    static const struct {
        size_t asked, got;
    } cases[] = {{0, 16},  {1, 16},    {3, 16},      {17, 32},     {24, 32},     {33, 64},
                 {48, 64}, {100, 128}, {1000, 1024}, {3000, 4096}, {4097, 8192}, {100000, 131072}};
    int bad = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t k = 0; k < NSIZES; k++) {
            void *p = opaque(memalign(opaque_size(cases[i].asked), sizes[k]));
            bad += !p || !aligned_to(p, cases[i].got);
            free(p);
        }
    ok(!bad, "memalign rounds an alignment that is no power of two up to the next one, as glibc does");
    errno = 0;
    void *p = opaque(memalign(opaque_size(SIZE_MAX / 2 + 2), 1));
    ok(!p && errno == EINVAL, "memalign with an alignment above SIZE_MAX/2+1 is NULL and EINVAL");
    errno = 0;
    p = opaque(memalign(opaque_size(SIZE_MAX / 2 + 1), 1));
    ok(!p && errno == ENOMEM, "memalign to SIZE_MAX/2+1 is NULL and ENOMEM");
}

static void posix_memalign_refuses(void) {
    static const size_t bad_alignments[] = {0, 1, 2, 4, 7, 12, 24, 48, 100, 4097, SIZE_MAX, SIZE_MAX - 7};
    int wrong = 0, touched = 0, set_errno = 0;
    for (size_t i = 0; i < sizeof bad_alignments / sizeof *bad_alignments; i++) {
        void *mark = &wrong, *p = mark;
        errno = 12345;
        wrong += posix_memalign(&p, opaque_size(bad_alignments[i]), 100) != EINVAL;
        touched += p != mark;
        set_errno += errno != 12345;
    }
    ok(!wrong, "posix_memalign: EINVAL for an alignment that is no power of two times sizeof(void *)");
    ok(!touched && !set_errno, "posix_memalign: EINVAL leaves *memptr and errno alone");

    void *mark = &wrong, *p = mark;
    errno = 12345;
    int result = posix_memalign(&p, 4096, opaque_size((size_t)PTRDIFF_MAX - 100));
    ok(result == ENOMEM && p == mark, "posix_memalign: ENOMEM leaves *memptr alone");
    if (tap_subject_is("glibc"))
        skip("posix_memalign: ENOMEM leaves errno alone", "glibc sets it");
    else
        ok(errno == 12345, "posix_memalign: ENOMEM leaves errno alone");

    errno = 12345;
    result = posix_memalign(&p, 64, 0);
    ok(result == 0 && aligned_to(p, 64) && errno == 12345, "posix_memalign of size 0 gives an aligned block");
    free(p);
}

static void page_forms(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    int bad_valloc = 0, bad_pvalloc = 0;
    for (size_t i = 0; i < NSIZES; i++) {
        void *p = opaque(valloc(sizes[i])), *q = opaque(pvalloc(sizes[i]));
        size_t whole = (sizes[i] + page - 1) & ~(page - 1);
        bad_valloc += !p || !aligned_to(p, page) || malloc_usable_size(p) < sizes[i];
        bad_pvalloc += !q || !aligned_to(q, page) || malloc_usable_size(q) < whole;
        memset(p, 1, malloc_usable_size(p));
        memset(q, 1, malloc_usable_size(q));
        free(p);
        free(q);
    }
    ok(!bad_valloc, "valloc aligns to a page");
    ok(!bad_pvalloc, "pvalloc aligns to a page and gives whole pages");
    errno = 0;
    void *p = opaque(pvalloc(opaque_size(SIZE_MAX)));
    ok(!p && errno == ENOMEM, "pvalloc(-1) is NULL and ENOMEM");
    errno = 0;
    p = opaque(pvalloc(opaque_size(SIZE_MAX - page + 2)));
    ok(!p && errno == ENOMEM, "pvalloc of a size that rounds up to 0 is NULL and ENOMEM");
}

/* Freeing and asking again must neither leak nor lose alignment: the traffic here is 100 times the memory allowed. */
static void aligned_blocks_are_reused(void) {
    static const size_t alignments[] = {64, 512, 4096, 65536, 2 << 20};
    int bad = 0;
    long before = rss_bytes();
    for (int round = 0; round < 400; round++)
        for (size_t i = 0; i < 5; i++) {
            size_t size = 3000 + (size_t)round * 1000;
            char *p = opaque(aligned_alloc(alignments[i], size));
            bad += !p || !aligned_to(p, alignments[i]);
            memset(p, round, size);
            free(p);
        }
    ok(!bad, "aligned blocks stay aligned when memory is reused");
    ok(rss_bytes() - before < 32 << 20, "aligned blocks that were freed are reused");
}

int main(void) {
    tap_begin();
    alignments_are_kept("posix_memalign", get_posix_memalign, (size_t)1 << 20);
    alignments_are_kept("memalign", get_memalign, (size_t)1 << 20);
    alignments_are_kept("aligned_alloc", get_aligned_alloc, (size_t)1 << 20);
    int bad = 0;
    for (size_t alignment = (size_t)2 << 20; alignment <= (size_t)64 << 20; alignment *= 2)
        for (size_t i = 0; i < NSIZES; i += 4) {
            char *p = opaque(memalign(alignment, sizes[i])), *q = opaque(memalign(alignment, sizes[i]));
            bad += !p || !q || p == q || !aligned_to(p, alignment) || !aligned_to(q, alignment);
            memset(p, 1, sizes[i]);
            memset(q, 2, sizes[i]);
            p = opaque(realloc(p, sizes[i] + 100));
            bad += !p || (sizes[i] && (p[0] != 1 || p[sizes[i] - 1] != 1));
            free(p);
            free(q);
        }
    ok(!bad, "alignments of 2 to 64 MiB are kept, and such blocks grow");
    odd_alignments_are_rounded_up();
    posix_memalign_refuses();
    page_forms();
    aligned_blocks_are_reused();
    return done_testing();
}
