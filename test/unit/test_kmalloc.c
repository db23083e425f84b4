/* The kmalloc family: sizes found among the caches, alignment, zeroes, overflow, krealloc, whole pages, clearing. */
#include "slabmalloc/kmalloc.h"

#include "heap.h"
#include "pagemap.h"
#include "sizeclass.h"
#include "slob.h"
#include "support.h"

static const char *cache_name(size_t bytes) {
    static char name[32];
    size_t length = slabmalloc_kmalloc_cache_name(bytes, name, sizeof name);
    MUST(length == strlen(name));
    return name;
}

Test(kmalloc, finds_the_smallest_cache_by_size) {
    static const struct {
        size_t bytes;
        const char *name;
    } cases[] = {
        {0, "kmalloc-16"},      {1, "kmalloc-16"},           {16, "kmalloc-16"},   {17, "kmalloc-32"},
        {129, "kmalloc-144"},   {256, "kmalloc-256"},        {257, "kmalloc-288"}, {4096, "kmalloc-4096"},
        {4097, "kmalloc-4608"}, {32 * KIB, "kmalloc-32768"}, {32 * KIB + 1, ""},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const char *name = cache_name(cases[i].bytes);
        cr_assert(!strcmp(name, cases[i].name), "%zu bytes: %s", cases[i].bytes, name);
    }
    for (size_t bytes = 0; bytes <= SLABMALLOC_KMALLOC_CACHE_MAX; bytes++) {
        size_t size = slabmalloc_kmalloc_cache_size(bytes);
        MUST(size >= bytes && (size == 16 || slabmalloc_kmalloc_cache_size(bytes - 1) <= size));
        MUST(slabmalloc_kmalloc_cache_size(size) == size);
    }
    char cut[6];
    MUST(slabmalloc_kmalloc_cache_name(100, cut, sizeof cut) == strlen("kmalloc-112") && !strcmp(cut, "kmall"));
    MUST(slabmalloc_kmalloc_cache_name(100, NULL, 0) == strlen("kmalloc-112"));
}

Test(kmalloc, objects_are_of_the_cache_that_the_search_names) {
    for (size_t bytes = 1; bytes <= SLABMALLOC_KMALLOC_CACHE_MAX; bytes += 1 + bytes / 40) {
        char *p = slabmalloc_kmalloc(bytes, 0);
        MUST(p && slabmalloc_ksize(p) == slabmalloc_kmalloc_cache_size(bytes));
        memset(p, 0x77, slabmalloc_ksize(p));
        slabmalloc_kfree(p);
    }
    MUST(!slabmalloc_ksize(NULL));
    slabmalloc_kfree(NULL);
    MUST_BE_SOUND();
}

Test(kmalloc, powers_of_two_are_aligned_to_themselves_up_to_a_page) {
    for (size_t bytes = 8; bytes <= MIB; bytes *= 2) {
        void *p[5];
        for (size_t i = 0; i < COUNT_OF(p); i++) {
            p[i] = slabmalloc_kmalloc(bytes, 0);
            MUST((uintptr_t)p[i] % min_size(bytes, PAGE_BYTES) == 0);
        }
        for (size_t i = 0; i < COUNT_OF(p); i++) {
            slabmalloc_kfree(p[i]);
        }
    }
}

static const size_t sizes[] = {1, 40, 4000, 32 * KIB, 33 * KIB, 300 * KIB, 3 * MIB};

Test(kmalloc, zeroed_blocks_read_zero_in_all_of_ksize) {
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        char *dirty[4];
        for (size_t k = 0; k < COUNT_OF(dirty); k++) {
            dirty[k] = slabmalloc_kmalloc(sizes[i], 0);
            memset(dirty[k], 0xff, slabmalloc_ksize(dirty[k]));
        }
        for (size_t k = 0; k < COUNT_OF(dirty); k++) {
            slabmalloc_kfree(dirty[k]);
        }
        char *a = slabmalloc_kzalloc(sizes[i], 0), *b = slabmalloc_kmalloc(sizes[i], SLABMALLOC_PAGE_ZERO);
        char *c = slabmalloc_kcalloc(1, sizes[i], 0), *d = slabmalloc_kvmalloc(sizes[i], SLABMALLOC_PAGE_ZERO);
        MUST(all_bytes_are(a, slabmalloc_ksize(a), 0) && all_bytes_are(b, slabmalloc_ksize(b), 0));
        MUST(all_bytes_are(c, slabmalloc_ksize(c), 0) && all_bytes_are(d, slabmalloc_ksize(d), 0));
        slabmalloc_kfree(a);
        slabmalloc_kfree(b);
        slabmalloc_kfree(c);
        slabmalloc_kvfree(d);
    }
    MUST_BE_SOUND();
}

/* A mapping takes a cached one whole if the rest is not worth keeping. */
Test(kmalloc, zeroed_mappings_longer_than_asked_for_read_zero_to_their_ends) {
    static const size_t units[] = {PAGE_BYTES, BLOCK_BYTES}; /* to which a request might be rounded up */
    for (size_t bytes = 3 * MIB - 5; bytes <= 7 * MIB; bytes += 300 * KIB + 1) {
        for (size_t i = 0; i < COUNT_OF(units); i++) {
            size_t had = round_up(bytes, units[i]) + 100 * KIB;
            slabmalloc_trim();
            char *dirty = slabmalloc_malloc(had);
            memset(dirty, 0xff, had);
            slabmalloc_free(dirty);
            char *p = slabmalloc_kzalloc(bytes, 0);
            MUST(i > 0 || slabmalloc_ksize(p) == had);
            MUST(all_bytes_are(p, slabmalloc_ksize(p), 0));
            slabmalloc_kfree(p);
        }
    }
}

static void must_fail_with(int error, void *p) {
    MUST(!p && errno == error);
    errno = 0;
}

Test(kmalloc, overflow_and_excess_are_no_memory_unknown_flags_are_invalid) {
    errno = 0;
    must_fail_with(ENOMEM, slabmalloc_kmalloc_array(SIZE_MAX / 2, 3, 0));
    must_fail_with(ENOMEM, slabmalloc_kcalloc(SIZE_MAX, 2, 0));
    must_fail_with(ENOMEM, slabmalloc_kmalloc(SIZE_MAX, 0));
    must_fail_with(ENOMEM, slabmalloc_kzalloc(SIZE_MAX - 5, 0));
    must_fail_with(ENOMEM, slabmalloc_kvmalloc(PTRDIFF_MAX, SLABMALLOC_PAGE_ZERO));
    must_fail_with(EINVAL, slabmalloc_kmalloc(1, SLABMALLOC_PAGE_ALL + 1));
    must_fail_with(EINVAL, slabmalloc_kmalloc_node(1, 0, 63));
    char *p = slabmalloc_kmalloc(10, 0);
    must_fail_with(EINVAL, slabmalloc_krealloc(p, 20, 1u << 31));
    must_fail_with(ENOMEM, slabmalloc_krealloc(p, SIZE_MAX, 0));
    slabmalloc_kfree(p);
    void *array = slabmalloc_kmalloc_array(10, 20, 0);
    MUST(slabmalloc_ksize(array) >= 200);
    slabmalloc_kfree(array);
}

Test(kmalloc, krealloc_keeps_contents_and_zeroes_what_is_new) {
    for (size_t from = 0; from < COUNT_OF(sizes); from++) {
        for (size_t to = 0; to < COUNT_OF(sizes); to++) {
            char *noise = slabmalloc_kmalloc(sizes[to], 0);
            memset(noise, 0xee, slabmalloc_ksize(noise));
            slabmalloc_kfree(noise);
            char *p = slabmalloc_kzalloc(sizes[from], 0);
            pattern_fill(p, sizes[from], 5);
            p = slabmalloc_krealloc(p, sizes[to], SLABMALLOC_PAGE_ZERO);
            MUST(p && pattern_holds(p, min_size(sizes[from], sizes[to]), 5));
            if (sizes[to] > sizes[from]) {
                MUST(all_bytes_are(p + sizes[from], slabmalloc_ksize(p) - sizes[from], 0));
            }
            MUST(!slabmalloc_krealloc(p, 0, 0));
        }
    }
    char *fresh = slabmalloc_krealloc(NULL, 100, SLABMALLOC_PAGE_ZERO);
    MUST(all_bytes_are(fresh, 100, 0));
    slabmalloc_kfree(fresh);
    MUST_BE_SOUND();
}

Test(kmalloc, takes_and_gives_malloc_s_blocks) {
    char *p = slabmalloc_malloc(100);
    MUST(slabmalloc_ksize(p) == slabmalloc_usable_size(p));
    slabmalloc_kfree(p);
    p = slabmalloc_kmalloc(100, 0);
    slabmalloc_free(p);
    errno = 77;
    slabmalloc_kfree(slabmalloc_kmalloc(50, 0));
    MUST(errno == 77);
}

static void free_twice(void *p) {
    slabmalloc_kfree(p);
    slabmalloc_kfree(p);
}

Test(kmalloc, a_double_free_ends_with_one_line) {
    must_die_of("double free", free_twice, slabmalloc_kmalloc(64, 0));
    must_die_of("double free", free_twice, slabmalloc_kmalloc(64 * KIB, 0));
    must_die_of("double free", free_twice, slabmalloc_kmalloc(64, SLABMALLOC_PAGE_DMA));
}

Test(kmalloc, dma_requests_are_whole_pages_of_that_zone) {
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        char *p = slabmalloc_kmalloc(sizes[i], SLABMALLOC_PAGE_DMA | SLABMALLOC_PAGE_ZERO);
        struct slabmalloc_page_info info;
        MUST(p && slabmalloc_page_info(p, &info, sizeof info) && info.kind == SLABMALLOC_ZONE_DMA);
        MUST(slabmalloc_ksize(p) == round_up(sizes[i], PAGE_BYTES) && all_bytes_are(p, sizes[i], 0));
        pattern_fill(p, sizes[i], 6);
        p = slabmalloc_krealloc(p, sizes[i] + 100, 0);
        MUST(pattern_holds(p, sizes[i], 6));
        slabmalloc_kfree(p);
    }
    MUST_BE_SOUND();
}

Test(kmalloc, node_variants_serve_any_node_and_the_thread_s_own) {
    char *any = slabmalloc_kmalloc_node(100, 0, SLABMALLOC_ANY_NODE), *own = slabmalloc_kzalloc_node(100, 0, 0);
    char *large = slabmalloc_kvmalloc_node(5 * MIB, 0, 0);
    MUST(any && own && large && all_bytes_are(own, 100, 0));
    slabmalloc_kfree(any);
    slabmalloc_kfree(own);
    slabmalloc_kvfree(large);
}

Test(kmalloc, sensitive_blocks_are_cleared_before_anybody_else_gets_them) {
    char *p = slabmalloc_kmalloc(200, 0);
    memset(p, 's', 200);
    slabmalloc_kfree_sensitive(p);
    char *again = slabmalloc_kmalloc(200, 0);
    MUST(again == p && all_bytes_are(again, slabmalloc_ksize(again), 0));
    slabmalloc_kfree(again);
    slabmalloc_kfree_sensitive(NULL);
}

/* What the option makes of a process from its start: nothing of malloc's may be live when it is set here. */
static void in_slob_mode(void *arg) {
    (void)arg;
    options_parse("heap:slob");
    slob_start_process();
    MUST(slabmalloc_kmalloc_cache_size(10) == 0 && !strcmp(cache_name(10), ""));
    for (size_t bytes = 16; bytes <= 64 * KIB; bytes *= 2) {
        char *p = slabmalloc_kmalloc(bytes, 0), *q = slabmalloc_kzalloc(bytes - 1, 0);
        MUST((uintptr_t)p % min_size(bytes, PAGE_BYTES) == 0 && all_bytes_are(q, slabmalloc_ksize(q), 0));
        q = slabmalloc_krealloc(q, 2 * bytes, SLABMALLOC_PAGE_ZERO);
        MUST(all_bytes_are(q, 2 * bytes, 0));
        slabmalloc_kfree(p);
        slabmalloc_kfree_sensitive(q);
    }
    MUST_BE_SOUND();
}

Test(kmalloc, works_where_malloc_is_slob) {
    child_must_end_well(in_slob_mode, NULL);
}

/* With odd blocks between, so that alignment is no accident. */
static void align_in_slob_mode(void *arg) {
    (void)arg;
    options_parse("heap:slob");
    slob_start_process();
    for (size_t bytes = 1; bytes <= 16 * KIB; bytes *= 2) {
        for (size_t i = 0; i < 20; i++) {
            size_t align = min_size(bytes, PAGE_BYTES);
            char *zero = slabmalloc_kzalloc(bytes, 0), *grown = slabmalloc_kmalloc(24, 0);
            char *shrunk = slabmalloc_kmalloc(20 * KIB, 0);
            MUST(slabmalloc_kmalloc(24, 0));
            pattern_fill(grown, 24, 3);
            pattern_fill(shrunk, bytes, 4);
            grown = slabmalloc_krealloc(grown, bytes, 0);
            shrunk = slabmalloc_krealloc(shrunk, bytes, 0);
            MUST((uintptr_t)zero % align == 0 && all_bytes_are(zero, slabmalloc_ksize(zero), 0));
            MUST((uintptr_t)grown % align == 0 && pattern_holds(grown, min_size(bytes, 24), 3));
            MUST((uintptr_t)shrunk % align == 0 && pattern_holds(shrunk, bytes, 4));
            MUST(slabmalloc_krealloc(grown, bytes, 0) == grown || bytes == PAGE_BYTES / 2); /* that had a page */
        }
    }
    MUST(!slob_check(slob_of_process()));
}

Test(kmalloc, powers_of_two_are_aligned_where_malloc_is_slob) {
    child_must_end_well(align_in_slob_mode, NULL);
}
