/* Routes and borders of the malloc-like calls, against a shadow of what every block must hold. */
#include "heap.h"
#include "pagemap.h"
#include "run.h"
#include "sizeclass.h"
#include "support.h"

/* Where one route ends and the next begins, and all class borders, each with its neighbours. */
static size_t borders(size_t out[400]) {
    size_t n = 0;
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        out[n++] = sizeclass_bytes(class) - 1;
        out[n++] = sizeclass_bytes(class);
        out[n++] = sizeclass_bytes(class) + 1;
    }
    static const size_t more[] = {PAGE_BYTES, 9 * PAGE_BYTES, RUN_CACHE_ONE, 1 * MIB, BLOCK_BYTES / 2 + 1,
                                  RUN_MAX,    2 * RUN_MAX,    5 * MIB,       16 * MIB};
    for (size_t i = 0; i < COUNT_OF(more); i++) {
        out[n++] = more[i] - 1;
        out[n++] = more[i];
        out[n++] = more[i] + 1;
    }
    return n;
}

Test(heap, every_size_border_gives_room_for_the_request) {
    size_t size[400], n = borders(size);
    static char *p[400];
    for (size_t i = 0; i < n; i++) {
        p[i] = slabmalloc_malloc(size[i]);
        MUST(p[i] && ((uintptr_t)p[i] & 15) == 0);
        MUST(slabmalloc_usable_size(p[i]) >= size[i]);
        words_fill(p[i], slabmalloc_usable_size(p[i]), i); /* all of it may be written */
    }
    for (size_t i = 0; i < n; i++) {
        MUST(words_hold(p[i], slabmalloc_usable_size(p[i]), i));
        slabmalloc_free(p[i]);
    }
    MUST_BE_SOUND();
}

Test(heap, route_follows_from_the_size) {
    void *p = slabmalloc_malloc(SLAB_MAX), *q = slabmalloc_malloc(SLAB_MAX + 1);
    MUST(pagemap_tag(p) >> TAG_CLASS_BITS);
    MUST(pagemap_tag(q) == TAG_RUN);
    void *r = slabmalloc_malloc(RUN_MAX), *s = slabmalloc_malloc(RUN_MAX + 1);
    MUST(pagemap_tag(r) == TAG_RUN);
    MUST(pagemap_tag(s) == TAG_MAPPING);
    slabmalloc_free(p);
    slabmalloc_free(q);
    slabmalloc_free(r);
    slabmalloc_free(s);
}

Test(heap, size_0_gives_distinct_blocks) {
    char *p = slabmalloc_malloc(0), *q = slabmalloc_malloc(0), *r = slabmalloc_calloc(0, 10);
    MUST(p && q && r && p != q && q != r && p != r);
    slabmalloc_free(p);
    slabmalloc_free(q);
    slabmalloc_free(r);
}

/* --- realloc --- */

Test(heap, realloc_keeps_contents_between_all_routes) {
    static const size_t size[] = {1,         15,        16,      17,      100,         255,          257,
                                  1000,      4096,      4097,    20000,   SLAB_MAX,    SLAB_MAX + 1, 50000,
                                  200 * KIB, 300 * KIB, 1 * MIB, RUN_MAX, RUN_MAX + 1, 3 * MIB,      5 * MIB + 1};
    for (size_t i = 0; i < COUNT_OF(size); i++) {
        for (size_t j = 0; j < COUNT_OF(size); j++) {
            char *p = slabmalloc_malloc(size[i]);
            words_fill(p, size[i], i);
            char *q = slabmalloc_realloc(p, size[j]);
            MUST(q && words_hold(q, min_size(size[i], size[j]) & ~(size_t)7, i));
            MUST(slabmalloc_usable_size(q) >= size[j]);
            words_fill(q, size[j], j);
            /* And on to a third size, from whatever the second left behind. */
            size_t k = (i * 7 + j * 3) % COUNT_OF(size);
            char *r = slabmalloc_realloc(q, size[k]);
            MUST(r && words_hold(r, min_size(size[j], size[k]) & ~(size_t)7, j));
            slabmalloc_free(r);
        }
    }
    slabmalloc_trim();
    MUST(stats_now().used_bytes == 0);
    MUST_BE_SOUND();
}

Test(heap, realloc_keeps_the_whole_usable_size) {
    static const size_t size[] = {1, 100, 1000, 33000, 300 * KIB, 3 * MIB};
    for (size_t i = 0; i < COUNT_OF(size); i++) {
        char *p = slabmalloc_malloc(size[i]);
        size_t usable = slabmalloc_usable_size(p);
        words_fill(p, usable, i);
        p = slabmalloc_realloc(p, 4 * usable);
        MUST(p && words_hold(p, usable, i));
        slabmalloc_free(p);
    }
}

Test(heap, realloc_to_the_same_size_stays) {
    size_t size[400], n = borders(size);
    for (size_t i = 0; i < n; i++) {
        char *p = slabmalloc_malloc(size[i]);
        MUST(slabmalloc_realloc(p, max_size(size[i], 1)) == p);
        slabmalloc_free(p);
    }
}

Test(heap, realloc_step_by_step_grows_to_megabytes_and_back) {
    char *p = slabmalloc_malloc(1);
    p[0] = 42;
    size_t bytes = 1;
    for (; bytes < 40 * MIB; bytes += 1 + bytes / 7) {
        p = slabmalloc_realloc(p, bytes);
        MUST(p && p[0] == 42);
        p[bytes - 1] = 42;
    }
    for (; bytes > 1; bytes -= 1 + bytes / 5) {
        p = slabmalloc_realloc(p, bytes);
        MUST(p && p[0] == 42);
    }
    slabmalloc_free(p);
    slabmalloc_trim();
    MUST(stats_now().used_bytes == 0);
    MUST_BE_SOUND();
}

Test(heap, failed_realloc_leaves_the_block) {
    static const size_t size[] = {100, 40000, 3 * MIB};
    static const size_t huge[] = {(size_t)1 << 60, PTRDIFF_MAX, (size_t)PTRDIFF_MAX + 1, SIZE_MAX - 4096, SIZE_MAX};
    for (size_t i = 0; i < COUNT_OF(size); i++) {
        char *p = slabmalloc_malloc(size[i]);
        words_fill(p, size[i], i);
        for (size_t j = 0; j < COUNT_OF(huge); j++) {
            errno = 0;
            MUST(slabmalloc_realloc(p, huge[j]) == NULL && errno == ENOMEM);
            MUST(words_hold(p, size[i], i));
        }
        MUST((p = slabmalloc_realloc(p, 2 * size[i])) && words_hold(p, size[i], i));
        slabmalloc_free(p);
    }
}

/* seccomp may refuse mremap, and it cannot move what the kernel keeps as two map areas; there is memory all the same.
 */
Test(heap, realloc_of_a_large_block_does_without_mremap) {
    char *p = slabmalloc_malloc(3 * MIB);
    words_fill(p, 3 * MIB, 1);
    fault_arm(1u << SYS_REMAP, 0, FOREVER);
    char *q = slabmalloc_realloc(p, 9 * MIB);
    fault_disarm();
    MUST(q && words_hold(q, 3 * MIB, 1));
    slabmalloc_free(q);
}

/* --- calloc --- */

static void dirty_everything(void) {
    static void *p[800];
    struct rng rng = {9};
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        size_t bytes = random_size(&rng, i % 8 ? 300 * KIB : 3 * MIB);
        p[i] = slabmalloc_malloc(bytes);
        memset(p[i], 0xff, slabmalloc_usable_size(p[i]));
    }
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        slabmalloc_free(p[i]);
    }
}

static void must_be_zero_at_every_border(void) {
    size_t size[400], n = borders(size);
    static void *p[400];
    for (size_t i = 0; i < n; i++) {
        p[i] = slabmalloc_calloc(1, size[i]);
        MUST(p[i] && all_bytes_are(p[i], size[i], 0));
        memset(p[i], 0xee, size[i]);
    }
    for (size_t i = 0; i < n; i++) {
        slabmalloc_free(p[i]);
    }
}

Test(heap, calloc_is_zero_after_dirty_frees) {
    must_be_zero_at_every_border();
    dirty_everything();
    must_be_zero_at_every_border();
    MUST_BE_SOUND();
}

Test(heap, calloc_is_zero_after_memory_went_back_to_the_kernel) {
    for (unsigned i = 0; i < 3; i++) {
        dirty_everything();
        slabmalloc_trim();
        must_be_zero_at_every_border();
    }
    options.decay_ms = 0; /* gives memory back at every occasion */
    dirty_everything();
    must_be_zero_at_every_border();
    MUST_BE_SOUND();
}

Test(heap, calloc_is_zero_when_the_kernel_refused_to_take_memory_back) {
    dirty_everything();
    fault_arm(1u << SYS_ADVISE, 0, FOREVER);
    slabmalloc_trim();
    MUST(fault_disarm() > 0);
    must_be_zero_at_every_border();
    MUST_BE_SOUND();
}

Test(heap, calloc_is_zero_in_a_heap_of_huge_pages) {
    options.huge_threshold = 0;
    for (unsigned i = 0; i < 2; i++) {
        dirty_everything();
        slabmalloc_trim();
        must_be_zero_at_every_border();
    }
}

Test(heap, calloc_refuses_products_that_overflow) {
    static const size_t half = (size_t)1 << 32;
    static const size_t pair[][2] = {{half, half},           {SIZE_MAX, 2},        {SIZE_MAX / 2 + 1, 2},
                                     {3, SIZE_MAX / 2},      {SIZE_MAX, SIZE_MAX}, {half + 1, half - 1},
                                     {SIZE_MAX / 16 + 1, 16}};
    for (size_t i = 0; i < COUNT_OF(pair); i++) {
        for (size_t swap = 0; swap < 2; swap++) {
            errno = 0;
            MUST(slabmalloc_calloc(pair[i][swap], pair[i][!swap]) == NULL && errno == ENOMEM);
        }
    }
}

Test(heap, calloc_of_fresh_memory_touches_no_page) {
    options.hugepages = false;
    slabmalloc_trim();
    char *p = slabmalloc_calloc(1, 1 * MIB), *q = slabmalloc_calloc(1, 32 * MIB);
    MUST(resident_pages(p, 1 * MIB) == 0);
    MUST(resident_pages(q, 32 * MIB) == 0);
    slabmalloc_free(p);
    slabmalloc_free(q);
}

/* --- Alignment --- */

Test(heap, aligned_blocks_of_all_alignments_do_not_overlap) {
    static const size_t size[] = {0,    1,        16,           24,        100,     1000,       4096,
                                  5000, SLAB_MAX, SLAB_MAX + 1, 100 * KIB, RUN_MAX, RUN_MAX + 1};
    static struct {
        char *p;
        size_t bytes;
    } live[27 * COUNT_OF(size) * 3];
    size_t n = 0;
    for (size_t align = 1; align <= 64 * MIB; align *= 2) {
        for (size_t i = 0; i < COUNT_OF(size); i++) {
            for (unsigned times = align <= 64 * KIB ? 3 : 1; times; times--) {
                char *p = slabmalloc_aligned_alloc(align, size[i]);
                MUST(p && ((uintptr_t)p & (align - 1)) == 0);
                live[n].bytes = slabmalloc_usable_size(p);
                MUST(live[n].bytes >= size[i]);
                live[n].bytes = min_size(live[n].bytes, size[i] + 4096);
                words_fill(p, live[n].bytes, n);
                live[n++].p = p;
            }
        }
    }
    MUST_BE_SOUND();
    for (size_t i = 0; i < n; i++) {
        MUST(words_hold(live[i].p, live[i].bytes, i));
        if (i % 3 == 0) {
            char *p = slabmalloc_realloc(live[i].p, live[i].bytes + 100);
            MUST(p && words_hold(p, live[i].bytes & ~(size_t)7, i));
            live[i].p = p;
        }
        slabmalloc_free(live[i].p);
    }
    slabmalloc_trim();
    MUST(stats_now().used_bytes == 0);
    MUST_BE_SOUND();
}

Test(heap, aligned_requests_that_cannot_be_are_enomem) {
    static const size_t pair[][2] = {{(size_t)1 << 63, 1}, {(size_t)1 << 62, (size_t)1 << 62},
                                     {64, PTRDIFF_MAX},    {64, SIZE_MAX},
                                     {(size_t)1 << 50, 1}, {4096, SIZE_MAX - 100}};
    for (size_t i = 0; i < COUNT_OF(pair); i++) {
        errno = 0;
        MUST(slabmalloc_aligned_alloc(pair[i][0], pair[i][1]) == NULL && errno == ENOMEM);
    }
}

/* --- errno, absurd sizes --- */

Test(heap, sizes_beyond_any_address_space_are_enomem) {
    static const size_t huge[] = {
        (size_t)1 << 47,    (size_t)1 << 62, PTRDIFF_MAX - BLOCK_BYTES, PTRDIFF_MAX - BLOCK_BYTES + 1,
        PTRDIFF_MAX - 4096, PTRDIFF_MAX,     (size_t)PTRDIFF_MAX + 1,   SIZE_MAX - BLOCK_BYTES,
        SIZE_MAX - 15,      SIZE_MAX};
    for (size_t i = 0; i < COUNT_OF(huge); i++) {
        errno = 0;
        MUST(slabmalloc_malloc(huge[i]) == NULL && errno == ENOMEM);
        errno = 0;
        MUST(slabmalloc_calloc(1, huge[i]) == NULL && errno == ENOMEM);
        errno = 0;
        MUST(slabmalloc_realloc(NULL, huge[i]) == NULL && errno == ENOMEM);
    }
    MUST_BE_SOUND();
}

Test(heap, calls_that_succeed_keep_errno) {
    size_t size[400], n = borders(size);
    options.map_cache = 8 * MIB;
    for (unsigned round = 0; round < 3; round++) {
        for (size_t i = 0; i < n; i++) {
            errno = 12345;
            void *p = slabmalloc_malloc(size[i]);
            p = slabmalloc_realloc(p, size[i] + 1);
            slabmalloc_free(p);
            slabmalloc_free(slabmalloc_calloc(size[i], 1));
            slabmalloc_free(slabmalloc_aligned_alloc(64, size[i]));
            slabmalloc_free(NULL);
            MUST(errno == 12345);
        }
        slabmalloc_trim();
        MUST(errno == 12345);
    }
}

/* free keeps errno even when the kernel refuses what it asks for. */
Test(heap, free_keeps_errno_when_system_calls_fail) {
    options.map_cache = 0;
    void *p = slabmalloc_malloc(3 * MIB), *q = slabmalloc_malloc(100 * KIB);
    fault_arm(~0u, 0, FOREVER);
    errno = 12345;
    slabmalloc_free(p);
    slabmalloc_free(q);
    slabmalloc_trim();
    MUST(errno == 12345);
    fault_disarm();
}

/* --- Pointers of others --- */

static void free_value(void *arg) {
    slabmalloc_free(arg);
}

/* Pages of a slab that was given back are nobody's: a late free must not be taken for one of the slab's. */
Test(heap, object_of_a_slab_that_is_gone_is_refused) {
    static void *p[1000];
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        p[i] = slabmalloc_malloc(500);
    }
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        slabmalloc_free(p[i]);
    }
    slabmalloc_trim();
    MUST(stats_now().slabs == 0);
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        MUST(!(pagemap_tag(p[i]) >> TAG_CLASS_BITS));
    }
    must_die_of("free of a pointer that was not allocated here", free_value, p[0]);
}

static void resize_value(void *arg) {
    slabmalloc_realloc(arg, 100);
}

Test(heap, pointers_that_are_not_ours_are_refused_whatever_their_value) {
    static char ours_not[64];
    int local;
    void *theirs = malloc(100);
    void *value[] = {ours_not,
                     &local,
                     (void *)16,
                     (void *)8,
                     (void *)-16,
                     (void *)0x7ffffffffff0,
                     (void *)0x800000000000,
                     (void *)0x8000000000000000u,
                     (void *)0xffff800000000000u,
                     theirs};
    for (size_t i = 0; i < COUNT_OF(value); i++) {
        must_die_of("free of a pointer that was not allocated here", free_value, value[i]);
        must_die_of("size asked of a pointer that is not allocated", resize_value, value[i]);
    }
    free(theirs);
}

/* --- A long random life against a shadow --- */

#define SHADOWS 3000

struct shadow {
    char *p;
    size_t bytes;
    uint64_t seed;
};

static void shadow_check(const struct shadow *s) {
    MUST(!s->p || words_hold(s->p, s->bytes, s->seed));
}

static void shadow_new(struct shadow *s, struct rng *rng) {
    size_t kind = rng_below(rng, 16);
    s->bytes = random_size(rng, kind ? 48 * KIB : rng_below(rng, 8) ? 600 * KIB : 5 * MIB);
    if (kind < 10) {
        s->p = slabmalloc_malloc(s->bytes);
    } else if (kind < 13) {
        s->p = slabmalloc_calloc(1, s->bytes);
        MUST(s->p && all_bytes_are(s->p, s->bytes, 0));
    } else {
        size_t align = (size_t)1 << rng_below(rng, kind == 15 ? 15 : 8);
        s->p = slabmalloc_aligned_alloc(align, s->bytes);
        MUST(((uintptr_t)s->p & (align - 1)) == 0);
    }
    MUST(s->p && ((uintptr_t)s->p & 15) == 0);
    s->seed = rng_next(rng);
    words_fill(s->p, s->bytes, s->seed);
}

static void shadow_resize(struct shadow *s, struct rng *rng) {
    size_t bytes = rng_below(rng, 2) ? 1 + random_size(rng, 100 * KIB) : 1 + s->bytes + rng_below(rng, 200);
    char *p = slabmalloc_realloc(s->p, bytes);
    MUST(p && words_hold(p, min_size(bytes, s->bytes) & ~(size_t)7, s->seed));
    s->p = p;
    s->bytes = bytes;
    words_fill(p, bytes, s->seed);
}

Test(heap, long_random_life_matches_its_shadow) {
    static struct shadow shadow[SHADOWS];
    struct rng rng = {2024};
    for (unsigned step = 0; step < rounds(250000 / SUPPORT_SLOWDOWN); step++) {
        /* The number of live blocks swings, so that everything drains and refills. */
        size_t span = 50 + SHADOWS * (step / 5000 % 4) / 4;
        struct shadow *s = &shadow[rng_below(&rng, min_size(span, SHADOWS))];
        shadow_check(s);
        size_t what = rng_below(&rng, 10);
        if (!s->p) {
            shadow_new(s, &rng);
        } else if (what < 3) {
            shadow_resize(s, &rng);
        } else {
            slabmalloc_free(s->p);
            s->p = NULL;
        }
        if (step % 25000 == 0) {
            slabmalloc_trim();
            MUST_BE_SOUND();
        }
    }
    for (size_t i = 0; i < SHADOWS; i++) {
        shadow_check(&shadow[i]);
        slabmalloc_free(shadow[i].p);
    }
    slabmalloc_trim();
    MUST(stats_now().used_bytes == 0);
    MUST_BE_SOUND();
}
