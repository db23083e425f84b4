/* SLOB heaps: blocks without headers, whose size is named when they are freed. */
#include "pagemap.h"
#include "slabmalloc/slob.h"
#include "slob.h"
#include "slob_page.h"
#include "support.h"

static void must_be_sound(struct slob *heap) {
    const char *broken = slob_check(heap);
    if (broken) {
        must_fail(__FILE__, __LINE__, broken);
    }
}

static struct slabmalloc_slob_stats totals(struct slob *heap) {
    struct slabmalloc_slob_stats stats = {0};
    slob_stats(heap, &stats);
    return stats;
}

static char *take(struct slob *heap, size_t bytes) {
    char *p = slob_alloc_sized(heap, bytes);
    MUST(p != NULL);
    return p;
}

/* --- A page --- */

static char bytes_of_page[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));

static void page_must_be_sound(const struct slob_page *sp) {
    const char *broken = slob_page_check_sized(sp, slob_grid(bytes_of_page, true));
    if (broken) {
        must_fail(__FILE__, __LINE__, broken);
    }
}

Test(slob_sized_page, is_blocks_from_its_first_byte_to_its_last) {
    struct slob_page sp = {0};
    void *grid = slob_grid(bytes_of_page, true);
    slob_page_init_sized(&sp, grid);
    page_must_be_sound(&sp);
    for (unsigned i = 0; i < PAGE_BYTES / SLOB_UNIT; i++) {
        MUST(slob_page_take(&sp, grid, 1, 1) == i);
        memset(bytes_of_page + (size_t)i * SLOB_UNIT, 0xff, SLOB_UNIT);
    }
    MUST(sp.head == SLOB_NONE && !sp.nfree && !sp.longest && slob_page_take(&sp, grid, 1, 1) == SLOB_NONE);
    page_must_be_sound(&sp);
}

Test(slob_sized_page, merges_with_both_neighbours_and_knows_free_from_allocated) {
    struct slob_page sp = {0};
    void *grid = slob_grid(bytes_of_page, true);
    slob_page_init_sized(&sp, grid);
    unsigned a = slob_page_take(&sp, grid, 10, 1), b = slob_page_take(&sp, grid, 20, 1);
    unsigned c = slob_page_take(&sp, grid, 30, 1), rest = slob_page_take(&sp, grid, SLOB_SIZED_END - 60, 1);
    MUST(slob_page_judge_sized(&sp, grid, rest, SLOB_SIZED_END - 60) == SLOB_GOOD);
    MUST(slob_page_judge_sized(&sp, grid, rest, SLOB_SIZED_END - 59) == SLOB_NO_BLOCK);
    MUST(slob_page_judge_sized(&sp, grid, UINT32_MAX, 1) == SLOB_NO_BLOCK);
    slob_page_give_sized(&sp, grid, c, 30);
    MUST(slob_page_judge_sized(&sp, grid, b, 20) == SLOB_GOOD);
    MUST(slob_page_judge_sized(&sp, grid, b, 21) == SLOB_NO_BLOCK);
    MUST(slob_page_judge_sized(&sp, grid, c, 30) == SLOB_FREE_ALREADY);
    MUST(slob_page_judge_sized(&sp, grid, c + 7, 1) == SLOB_FREE_ALREADY);
    slob_page_give_sized(&sp, grid, a, 10);
    page_must_be_sound(&sp);
    slob_page_give_sized(&sp, grid, b, 20);
    page_must_be_sound(&sp);
    MUST(sp.longest == 60 && slob_page_take(&sp, grid, 60, 1) == 0);
}

/* --- A heap --- */

Test(slob_sized, blocks_of_whole_units_fill_pages_without_waste) {
    for (unsigned step = 1; step <= 2; step++) {
        struct slob *heap = slob_create(step);
        for (size_t i = 0; i < 4 * PAGE_BYTES / 64; i++) {
            MUST(((uintptr_t)take(heap, 64) & 63) == 0);
        }
        MUST(totals(heap).held_bytes == 4 * PAGE_BYTES && totals(heap).used_bytes == 4 * PAGE_BYTES);
        MUST(totals(heap).full_pages == 4 && totals(heap).blocks == 4 * PAGE_BYTES / 64);
        must_be_sound(heap);
        slob_destroy(heap);
    }
    MUST_BE_SOUND();
}

Test(slob_sized, blocks_are_apart_from_those_with_headers) {
    struct slob *heap = slob_create(1);
    char *sized = take(heap, 100), *headed = slob_alloc(heap, 100, 1, false);
    MUST(pointer_pfn(sized) != pointer_pfn(headed) && totals(heap).pages[SLOB_LIST_SMALL] == 2);
    slob_free_sized(heap, sized, 100);
    MUST(totals(heap).held_bytes == PAGE_BYTES);
    slob_free(heap, headed);
    MUST(totals(heap).held_bytes == 0);
    slob_destroy(heap);
}

Test(slob_sized, takes_the_tightest_page_of_all_lists) {
    struct slob *heap = slob_create(1);
    take(heap, 1500); /* a page of the list of large ones, with room for 2,596 bytes */
    take(heap, 2400); /* and now for 196 */
    char *small = take(heap, 200);
    MUST(totals(heap).pages[SLOB_LIST_SMALL] == 1 && totals(heap).pages[SLOB_LIST_LARGE] == 1);
    char *tight = take(heap, 192);
    MUST(pointer_pfn(tight) != pointer_pfn(small) && totals(heap).full_pages == 1);
    must_be_sound(heap);
    slob_destroy(heap);
}

Test(slob_sized, a_page_and_more_are_large_blocks) {
    struct slob *heap = slob_create(1);
    char *below = take(heap, PAGE_BYTES - 1), *page = take(heap, PAGE_BYTES), *large = take(heap, 5 * MIB);
    MUST(totals(heap).large_blocks == 2 && pagemap_tag(below) == TAG_SLOB && pagemap_tag(page) == TAG_SLOB_LARGE);
    memset(below, 1, PAGE_BYTES - 1);
    memset(large, 2, 5 * MIB);
    must_be_sound(heap);
    slob_free_sized(heap, below, PAGE_BYTES - 1);
    slob_free_sized(heap, page, PAGE_BYTES);
    slob_free_sized(heap, large, 5 * MIB);
    MUST(totals(heap).held_bytes == 0);
    slob_destroy(heap);
    MUST_BE_SOUND();
}

Test(slob_sized, no_memory_is_said_so) {
    struct slabmalloc_slob *heap = slabmalloc_slob_create();
    errno = 0;
    MUST(!slabmalloc_slob_alloc_sized(heap, SIZE_MAX) && errno == ENOMEM);
    errno = 5;
    void *p = slabmalloc_slob_alloc_sized(heap, 0), *q = slabmalloc_slob_alloc_sized(heap, 0);
    MUST(p && q && p != q);
    slabmalloc_slob_free_sized(heap, p, 0);
    slabmalloc_slob_free_sized(heap, q, 0);
    slabmalloc_slob_free_sized(heap, NULL, 77);
    MUST(errno == 5 && !slabmalloc_slob_check(heap));
    slabmalloc_slob_destroy(heap);
}

/* --- Against a shadow --- */

#define SLOTS 500

static struct slob *shared;

static void shadow_thread(unsigned index) {
    static _Thread_local struct {
        char *p;
        size_t bytes;
        uint64_t seed;
        bool sized;
    } slot[SLOTS];
    struct rng rng = {100 + index};
    for (unsigned long i = 0; i < rounds(20000 / SUPPORT_SLOWDOWN) + SLOTS; i++) {
        size_t k = i < SLOTS ? i : rng_below(&rng, SLOTS);
        if (slot[k].p) {
            MUST(pattern_holds(slot[k].p, slot[k].bytes, slot[k].seed));
        }
        if (slot[k].p && slot[k].sized) {
            slob_free_sized(shared, slot[k].p, slot[k].bytes);
        } else if (slot[k].p) {
            slob_free(shared, slot[k].p);
        }
        size_t bytes = random_size(&rng, rng_below(&rng, 20) ? 1500 : 2 * PAGE_BYTES);
        slot[k].sized = rng_below(&rng, 3);
        slot[k].p = slot[k].sized ? slob_alloc_sized(shared, bytes) : slob_alloc(shared, bytes, 1, false);
        slot[k].bytes = bytes;
        slot[k].seed = i;
        MUST(slot[k].p && ((uintptr_t)slot[k].p & 7) == 0);
        pattern_fill(slot[k].p, bytes, i);
        if (i % 1000 == 0) {
            must_be_sound(shared);
        }
    }
    for (size_t k = 0; k < SLOTS; k++) {
        MUST(pattern_holds(slot[k].p, slot[k].bytes, slot[k].seed));
        if (slot[k].sized) {
            slob_free_sized(shared, slot[k].p, slot[k].bytes);
        } else {
            slob_free(shared, slot[k].p);
        }
    }
}

Test(slob_sized, both_kinds_match_a_shadow_in_threads) {
    for (unsigned nthreads = 1; nthreads <= 3; nthreads += 2) {
        shared = slob_create(nthreads == 1 ? 1 : 2);
        threads_run(nthreads, shadow_thread);
        must_be_sound(shared);
        MUST(totals(shared).held_bytes == 0 && totals(shared).used_bytes == 0 && totals(shared).blocks == 0);
        slob_destroy(shared);
    }
    MUST_BE_SOUND();
}

/* --- Misuse --- */

static void free_twice(void *heap) {
    char *p = take(heap, 40);
    take(heap, 40);
    slob_free_sized(heap, p, 40);
    slob_free_sized(heap, p, 40);
}

static void free_twice_the_last(void *heap) {
    char *p = take(heap, 40);
    slob_free_sized(heap, p, 40);
    slob_free_sized(heap, p, 40);
}

static void free_beyond_a_page(void *heap) {
    slob_free_sized(heap, take(heap, 4000), 4090);
}

static void free_a_small_as_large(void *heap) {
    slob_free_sized(heap, take(heap, 4000), 5000);
}

static void free_a_large_as_small(void *heap) {
    slob_free_sized(heap, take(heap, 5000), 4000);
}

static void free_a_large_as_larger(void *heap) {
    slob_free_sized(heap, take(heap, 5000), 9000);
}

static void free_odd(void *heap) {
    slob_free_sized(heap, take(heap, 40) + 4, 8);
}

static void free_without_size(void *heap) {
    slob_free(heap, take(heap, 40));
}

static void ask_for_its_size(void *heap) {
    slob_usable(heap, take(heap, 40));
}

static void free_of_a_headed(void *heap) {
    slob_free_sized(heap, slob_alloc(heap, 40, 1, false), 40);
}

static void free_to_another_heap(void *heap) {
    slob_free_sized(slob_create(1), take(heap, 40), 40);
}

Test(slob_sized, misuse_ends_with_one_line) {
    static const struct {
        const char *what;
        void (*body)(void *);
    } cases[] = {
        {"double free", free_twice},
        {"double free", free_twice_the_last},
        {"free with a wrong size", free_beyond_a_page},
        {"free with a wrong size", free_a_small_as_large},
        {"free with a wrong size", free_a_large_as_small},
        {"free with a wrong size", free_a_large_as_larger},
        {"free of a pointer inside an object", free_odd},
        {"free without its size of a block that has no header", free_without_size},
        {"free without its size of a block that has no header", ask_for_its_size},
        {"free with a size of a block that has a header", free_of_a_headed},
        {"free of a pointer of another heap", free_to_another_heap},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        must_die_of(cases[i].what, cases[i].body, slob_create(1));
    }
}

/* A check that cannot fail finds nothing. */
static void check_must_find(const char *what, struct slob *heap) {
    const char *broken = slob_check(heap);
    cr_assert(broken && !strcmp(broken, what), "'%s' instead of '%s'", broken ? broken : "nothing", what);
}

Test(slob_sized, check_finds_planted_damage) {
    struct slob *heap = slob_create(1);
    char *a = take(heap, 40), *b = take(heap, 40);
    take(heap, 40);
    slob_free_sized(heap, a, 40);
    must_be_sound(heap);
    uint16_t *head = (uint16_t *)a;
    head[0] = 600;
    check_must_find("a free SLOB block does not end in its page", heap);
    head[0] = 0;
    check_must_find("a free SLOB block does not end in its page", heap);
    uint16_t *last = head + (size_t)15 * SLOB_UNIT / sizeof *head;
    head[0] = 5;
    last[0]++;
    check_must_find("a free SLOB block does not end in its page", heap);
    last[0]--;
    head[0] = 4;
    check_must_find("a SLOB page's free units differ from its sum", heap);
    head[0] = 15;
    check_must_find("two free SLOB blocks touch", heap);
    head[0] = 5;
    heap->used_units++;
    check_must_find("a SLOB heap's blocks differ from its sums", heap);
    heap->used_units--;
    must_be_sound(heap);
    slob_free_sized(heap, b, 40);
    slob_destroy(heap);
}
