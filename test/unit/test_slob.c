/* SLOB heaps: blocks in a page, three lists, next fit, coalescing, large blocks, boot pages, threads, fork, misuse. */
#include "heap.h"
#include "lock_wait.h"
#include "options.h"
#include "pagemap.h"
#include "slabmalloc/pages.h"
#include "slabmalloc/slob.h"
#include "slob.h"
#include "slob_boot.h"
#include "slob_large.h"
#include "slob_page.h"
#include "support.h"
#include "sys.h"

#define STEPS 2 /* alignments of a heap: 8 and 16 bytes */

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
    char *p = slob_alloc(heap, bytes, 1, false);
    MUST(p != NULL);
    return p;
}

static uintptr_t page_of(const void *p) {
    return pointer_pfn(p);
}

/* --- A page --- */

struct bench_page {
    struct slob_page sp;
    char bytes[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
};

static struct bench_page *new_page(unsigned step) {
    static struct bench_page page;
    page.sp = (struct slob_page){0};
    slob_page_init(&page.sp, page.bytes, step);
    return &page;
}

static unsigned page_take(struct bench_page *page, unsigned units) {
    return slob_page_take(&page->sp, page->bytes, units, 1);
}

static size_t page_blocks(struct bench_page *page, unsigned step) {
    size_t nblocks = 0;
    const char *broken = slob_page_check(&page->sp, page->bytes, step, &nblocks);
    if (broken) {
        must_fail(__FILE__, __LINE__, broken);
    }
    return nblocks;
}

Test(slob_page, takes_the_first_free_block_that_fits) {
    struct bench_page *page = new_page(1);
    unsigned a = page_take(page, 10), b = page_take(page, 20), c = page_take(page, 10);
    MUST(a == 0 && b == 10 && c == 30);
    slob_page_give(&page->sp, page->bytes, a);
    slob_page_give(&page->sp, page->bytes, b);
    MUST(page_take(page, 31) == 40); /* too long for the hole */
    MUST(page_take(page, 25) == 0);
    MUST(page_take(page, 6) == 71);
    MUST(page_take(page, 5) == 25);
    MUST(page_blocks(page, 1) == 5);
}

Test(slob_page, merges_a_freed_block_with_both_neighbours) {
    for (unsigned order = 0; order < 6; order++) {
        static const unsigned orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
        struct bench_page *page = new_page(1);
        unsigned block[3], guard;
        for (unsigned i = 0; i < 3; i++) {
            block[i] = page_take(page, 8 + i);
        }
        guard = page_take(page, 3);
        for (unsigned i = 0; i < 3; i++) {
            slob_page_give(&page->sp, page->bytes, block[orders[order][i]]);
            page_blocks(page, 1);
        }
        MUST(page_take(page, 8 + 9 + 10) == 0);
        slob_page_give(&page->sp, page->bytes, 0);
        slob_page_give(&page->sp, page->bytes, guard);
        MUST(slob_page_empty(&page->sp, 1) && page->sp.longest == SLOB_END);
        MUST(page_blocks(page, 1) == 0);
    }
}

Test(slob_page, knows_blocks_from_what_is_none) {
    struct bench_page *page = new_page(1);
    unsigned a = page_take(page, 10), b = page_take(page, 10);
    uint16_t *words = (uint16_t *)slob_payload(page->bytes, a);
    for (size_t i = 0; i < (10 * SLOB_UNIT - SLOB_HEAD) / sizeof *words; i++) {
        words[i] = 0x8001; /* as the size of an allocated block of one unit */
    }
    MUST(slob_page_judge(&page->sp, page->bytes, a) == SLOB_GOOD);
    MUST(slob_page_judge(&page->sp, page->bytes, b) == SLOB_GOOD);
    for (unsigned inside = a + 1; inside < b; inside++) {
        MUST(slob_page_judge(&page->sp, page->bytes, inside) == SLOB_NO_BLOCK);
    }
    slob_page_give(&page->sp, page->bytes, a);
    MUST(slob_page_judge(&page->sp, page->bytes, a) == SLOB_FREE_ALREADY);
    slob_page_give(&page->sp, page->bytes, b); /* merged into what is before it */
    MUST(slob_page_judge(&page->sp, page->bytes, b) == SLOB_FREE_ALREADY);
    MUST(slob_page_judge(&page->sp, page->bytes, SLOB_END) == SLOB_NO_BLOCK);
    MUST(slob_page_judge(&page->sp, page->bytes, UINT32_MAX) == SLOB_NO_BLOCK);
}

Test(slob_page, resizes_in_place_while_the_neighbour_is_free) {
    struct bench_page *page = new_page(1);
    unsigned a = page_take(page, 10), b = page_take(page, 10), c = page_take(page, 10);
    MUST(!slob_page_resize(&page->sp, page->bytes, a, 11));
    slob_page_give(&page->sp, page->bytes, b);
    MUST(!slob_page_resize(&page->sp, page->bytes, a, 21));
    MUST(slob_page_resize(&page->sp, page->bytes, a, 20));
    MUST(slob_page_resize(&page->sp, page->bytes, a, 4));
    MUST(page_take(page, 16) == 4);
    MUST(slob_page_judge(&page->sp, page->bytes, c) == SLOB_GOOD);
    MUST(page_blocks(page, 1) == 3);
}

Test(slob_page, keeps_alignment_and_gives_what_is_before_it_to_others) {
    for (unsigned step = 1; step <= STEPS; step++) {
        for (unsigned align = step; align <= PAGE_BYTES / SLOB_UNIT / 2; align *= 2) {
            struct bench_page *page = new_page(step);
            MUST(slob_page_take(&page->sp, page->bytes, 2 * step, step) == slob_first(step));
            unsigned at = slob_page_take(&page->sp, page->bytes, 2 * step, align);
            MUST((uintptr_t)slob_payload(page->bytes, at) % (align * SLOB_UNIT) == 0);
            MUST(page_blocks(page, step) == 2);
        }
    }
}

Test(slob_page, survives_being_stored_in_a_struct_page) {
    struct page page = {0};
    struct slob_page in = {.next = ((uintptr_t)1 << (ADDRESS_BITS - PAGE_SHIFT)) - 1,
                           .prev = ((uintptr_t)1 << (ADDRESS_BITS - PAGE_SHIFT)) - 2,
                           .list = 2,
                           .heap = 255,
                           .head = SLOB_NONE,
                           .nfree = SLOB_END,
                           .longest = SLOB_END};
    slob_page_store(&page, &in);
    struct slob_page out = slob_page_load(&page);
    MUST(in.next == out.next && in.prev == out.prev && in.list == out.list && in.heap == out.heap);
    MUST(in.head == out.head && in.nfree == out.nfree && in.longest == out.longest);
    MUST(page_peek(&page).state == PAGE_SLOB);
    MUST(slob_page_hint(&page).next == in.next && slob_page_hint(&page).longest == in.longest);
}

/* --- A heap --- */

Test(slob, keeps_three_lists_by_size) {
    static const struct {
        size_t bytes;
        enum slob_list list;
    } cases[] = {{0, SLOB_LIST_SMALL},     {255, SLOB_LIST_SMALL},  {256, SLOB_LIST_MEDIUM},
                 {1023, SLOB_LIST_MEDIUM}, {1024, SLOB_LIST_LARGE}, {PAGE_BYTES - 100, SLOB_LIST_LARGE}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct slob *heap = slob_create(1);
        char *p = take(heap, cases[i].bytes);
        for (unsigned list = 0; list < SLOB_LISTS; list++) {
            MUST(totals(heap).pages[list] == (list == cases[i].list));
        }
        while (!totals(heap).full_pages) {
            take(heap, 4);
        }
        MUST(totals(heap).pages[cases[i].list] == 0);
        slob_free(heap, p); /* its page is in the list it began in again */
        MUST(totals(heap).pages[cases[i].list] == 1 && !totals(heap).full_pages);
        must_be_sound(heap);
        slob_destroy(heap);
    }
}

Test(slob, small_blocks_stay_out_of_pages_of_larger_ones_while_their_own_have_room) {
    struct slob *heap = slob_create(1);
    char *small = take(heap, 100), *large = take(heap, 4060), *medium = take(heap, 1023);
    MUST(page_of(small) == page_of(medium)); /* rather than a new page */
    for (size_t i = 0; i < 20; i++) {
        MUST(page_of(take(heap, 64)) == page_of(small));
    }
    MUST(page_of(large) != page_of(small));
    must_be_sound(heap);
    slob_destroy(heap);
}

Test(slob, a_search_begins_where_the_last_one_ended) {
    struct slob *heap = slob_create(1);
    char *p[256];
    size_t n = 0;
    for (; n < COUNT_OF(p); n++) {
        p[n] = take(heap, 124); /* 32 blocks of 128 bytes but one to a page */
    }
    for (size_t i = 0; i < COUNT_OF(p); i += 31) {
        slob_free(heap, p[i + 3]);
        slob_free(heap, p[i + 4]);
    }
    uintptr_t last = 0;
    size_t moves = 0;
    for (size_t i = 0; i < 16; i++) {
        uintptr_t page = page_of(take(heap, 124));
        MUST(heap->list[SLOB_LIST_SMALL] == page || heap->list[SLOB_FULL] == page);
        moves += page != last;
        last = page;
    }
    MUST(moves >= 7); /* each page's hole is filled before the search goes on */
    must_be_sound(heap);
    slob_destroy(heap);
}

Test(slob, takes_the_tightest_of_the_next_pages) {
    struct slob *heap = slob_create(1);
    char *p[3][3];
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; k < 3; k++) {
            p[i][k] = take(heap, 100 + 40 * i);
        }
        take(heap, 3000 + 8 * i);
        while (totals(heap).full_pages <= i) {
            take(heap, 4);
        }
    }
    for (size_t i = 0; i < 3; i++) {
        slob_free(heap, p[i][1]);
    }
    MUST(page_of(take(heap, 140)) == page_of(p[1][1]));
    MUST(page_of(take(heap, 100)) == page_of(p[0][1]));
    MUST(page_of(take(heap, 180)) == page_of(p[2][1]));
    must_be_sound(heap);
    slob_destroy(heap);
}

Test(slob, gives_a_page_back_as_soon_as_nothing_is_in_it) {
    for (unsigned step = 1; step <= STEPS; step++) {
        struct slob *heap = slob_create(step);
        char *p[300];
        for (size_t i = 0; i < COUNT_OF(p); i++) {
            p[i] = take(heap, 100);
        }
        size_t held = totals(heap).held_bytes;
        MUST(held >= sizeof p / sizeof *p * 100);
        size_t before = stats_now().zone_free_bytes;
        for (size_t i = 0; i < COUNT_OF(p); i++) {
            slob_free(heap, p[i]);
            must_be_sound(heap);
        }
        MUST(totals(heap).held_bytes == 0 && totals(heap).used_bytes == 0 && totals(heap).blocks == 0);
        MUST(stats_now().zone_free_bytes == before + held);
        slob_destroy(heap);
    }
    MUST_BE_SOUND();
}

Test(slob, payloads_are_aligned_and_disjoint_for_every_size) {
    for (unsigned step = 1; step <= STEPS; step++) {
        struct slob *heap = slob_create(step);
        for (size_t bytes = 0; bytes < 2 * PAGE_BYTES; bytes += bytes < 300 ? 1 : 37) {
            char *a = take(heap, bytes), *b = take(heap, bytes);
            MUST((uintptr_t)a % (8 * step) == 0 && (uintptr_t)b % (8 * step) == 0);
            MUST(slob_usable(heap, a) >= bytes && slob_usable(heap, b) >= bytes);
            MUST(slob_usable(heap, a) < bytes + (bytes < PAGE_BYTES / 2 ? 8 * step + SLOB_HEAD : PAGE_BYTES));
            memset(a, 1, slob_usable(heap, a));
            memset(b, 2, slob_usable(heap, b));
            MUST(all_bytes_are(a, slob_usable(heap, a), 1));
            slob_free(heap, a);
            MUST(all_bytes_are(b, slob_usable(heap, b), 2));
            slob_free(heap, b);
        }
        must_be_sound(heap);
        MUST(totals(heap).held_bytes == 0);
        slob_destroy(heap);
    }
}

/* --- Against a shadow --- */

#define SLOTS 700

struct shadow {
    char *p;
    size_t bytes, align;
    uint64_t seed;
};

static size_t some_size(struct rng *rng) {
    switch (rng_below(rng, 16)) {
    case 0:
        return rng_between(rng, PAGE_BYTES - 100, 4 * PAGE_BYTES);
    case 1:
        return rng_below(rng, 2) ? random_size(rng, 4 * MIB) : random_size(rng, 64 * KIB);
    default:
        return random_size(rng, 2048);
    }
}

static void forget(struct slob *heap, struct shadow *slot) {
    MUST(pattern_holds(slot->p, slot->bytes, slot->seed));
    slob_free(heap, slot->p);
    slot->p = NULL;
}

static void remember(struct rng *rng, struct shadow *slot, char *p, size_t bytes, size_t align) {
    MUST(p && !((uintptr_t)p & (align - 1)));
    *slot = (struct shadow){p, bytes, align, rng_next(rng) % 1000};
    pattern_fill(p, bytes, slot->seed);
}

static void one_operation(struct slob *heap, struct rng *rng, struct shadow *slot) {
    size_t bytes = some_size(rng), align = 8 * (size_t)heap->step;
    if (slot->p && rng_below(rng, 3)) {
        forget(heap, slot);
    } else if (slot->p) {
        char *p = slob_realloc(heap, slot->p, bytes);
        MUST(p && pattern_holds(p, min_size(slot->bytes, bytes), slot->seed));
        remember(rng, slot, p, bytes, align);
    } else if (rng_below(rng, 4)) {
        bool zero = rng_below(rng, 2);
        char *p = slob_alloc(heap, bytes, 1, zero);
        MUST(p && (!zero || all_bytes_are(p, bytes, 0)));
        remember(rng, slot, p, bytes, align);
    } else {
        align = (size_t)8 << rng_below(rng, 14);
        remember(rng, slot, slob_alloc(heap, bytes, align, false), bytes, align);
    }
}

static void shadow_run(struct slob *heap, uint64_t seed, unsigned long nops) {
    static _Thread_local struct shadow slot[SLOTS];
    struct rng rng = {seed};
    memset(slot, 0, sizeof slot);
    for (unsigned long i = 0; i < nops; i++) {
        one_operation(heap, &rng, &slot[rng_below(&rng, SLOTS)]);
        if (i % 2000 == 0) {
            must_be_sound(heap);
        }
    }
    for (size_t i = 0; i < SLOTS; i++) {
        if (slot[i].p) {
            forget(heap, &slot[i]);
        }
    }
}

Test(slob, matches_a_shadow_under_random_operations) {
    for (unsigned step = 1; step <= STEPS; step++) {
        struct slob *heap = slob_create(step);
        shadow_run(heap, 17 + step, rounds(60000 / SUPPORT_SLOWDOWN));
        must_be_sound(heap);
        MUST(totals(heap).held_bytes == 0);
        slob_destroy(heap);
    }
    MUST_BE_SOUND();
}

Test(slob, destroy_gives_everything_back) {
    slabmalloc_slob_destroy(slabmalloc_slob_create());
    size_t before = stats_now().used_bytes;
    struct slob *heap = slob_create(1);
    struct rng rng = {3};
    for (size_t i = 0; i < 2000; i++) {
        take(heap, some_size(&rng));
    }
    MUST(stats_now().used_bytes > before);
    slob_destroy(heap);
    MUST(stats_now().used_bytes == before);
    MUST_BE_SOUND();
}

/* --- Large blocks --- */

static struct slob *looked_at;
static unsigned looks;

static bool look_at_heap(enum sys_call call) {
    looks += call == SYS_REMAP || call == SYS_UNMAP;
    must_be_sound(looked_at);
    return false;
}

/* What another thread, or a child, sees of a heap while this one moves a block. */
Test(slob, heaps_are_sound_while_a_large_block_is_resized) {
    looked_at = slob_create(1);
    char *p = take(looked_at, 5 * MIB), *other = take(looked_at, 7 * MIB);
    pattern_fill(p, 3 * MIB, 8);
    sys_fault_hook = look_at_heap;
    p = slob_realloc(looked_at, p, 40 * MIB);
    p = slob_realloc(looked_at, p, 3 * MIB);
    sys_fault_hook = NULL;
    MUST(looks >= 2 && pattern_holds(p, 3 * MIB, 8) && totals(looked_at).large_blocks == 2);
    slob_free(looked_at, other);
    slob_free(looked_at, p);
    slob_destroy(looked_at);
    MUST_BE_SOUND();
}

Test(slob, large_blocks_are_tracked_grow_in_place_and_go_back) {
    struct slob *heap = slob_create(1);
    char *p = take(heap, PAGE_BYTES), *q = take(heap, 3 * MIB);
    MUST(!((uintptr_t)p & (PAGE_BYTES - 1)) && pagemap_tag(p) == TAG_SLOB_LARGE && pagemap_tag(q) == TAG_SLOB_LARGE);
    MUST(totals(heap).large_blocks == 2 && totals(heap).large_bytes == PAGE_BYTES + 3 * MIB);
    MUST(totals(heap).blocks == 0);
    pattern_fill(p, PAGE_BYTES, 1);
    pattern_fill(q, 3 * MIB, 2);
    MUST(slob_realloc(heap, p, 20 * PAGE_BYTES) == p); /* nothing is behind it */
    MUST(slob_realloc(heap, p, 2 * PAGE_BYTES) == p);
    q = slob_realloc(heap, q, 9 * MIB);
    MUST(pattern_holds(p, PAGE_BYTES, 1) && pattern_holds(q, 3 * MIB, 2));
    MUST(totals(heap).large_bytes == 2 * PAGE_BYTES + 9 * MIB);
    must_be_sound(heap);
    p = slob_realloc(heap, p, 100);
    MUST(pattern_holds(p, 100, 1) && totals(heap).large_blocks == 1);
    q = slob_realloc(heap, q, 10000);
    MUST(pattern_holds(q, 10000, 2) && totals(heap).large_blocks == 1);
    must_be_sound(heap);
    slob_free(heap, p);
    slob_free(heap, q);
    MUST(totals(heap).held_bytes == 0);
    slob_destroy(heap);
    MUST_BE_SOUND();
}

Test(slob, what_cannot_be_had_is_no_memory_and_changes_nothing) {
    struct slabmalloc_slob *heap = slabmalloc_slob_create();
    char *p = slabmalloc_slob_alloc(heap, 50);
    pattern_fill(p, 50, 9);
    errno = 0;
    MUST(!slabmalloc_slob_alloc(heap, SIZE_MAX) && errno == ENOMEM);
    errno = 0;
    MUST(!slabmalloc_slob_alloc(heap, PTRDIFF_MAX) && errno == ENOMEM);
    errno = 0;
    MUST(!slabmalloc_slob_realloc(heap, p, SIZE_MAX - 3) && errno == ENOMEM);
    errno = 0;
    MUST(!slabmalloc_slob_aligned(heap, 24, 10) && errno == EINVAL);
    errno = 0;
    MUST(!slabmalloc_slob_aligned(heap, (size_t)1 << 63, 10) && errno == ENOMEM);
    MUST(pattern_holds(p, 50, 9));
    fault_arm(1u << SYS_MAP, 0, FOREVER);
    errno = 0;
    MUST(!slabmalloc_slob_zalloc(heap, 64 * MIB) && errno == ENOMEM);
    fault_disarm();
    MUST(!slabmalloc_slob_check(heap));
    struct slabmalloc_slob_stats stats;
    slabmalloc_slob_stats(heap, &stats, sizeof stats);
    MUST(stats.blocks == 1 && stats.large_blocks == 0);
    MUST(slabmalloc_slob_size(heap, p) >= 50 && !slabmalloc_slob_size(heap, NULL));
    MUST(!slabmalloc_slob_realloc(heap, p, 0));
    slabmalloc_slob_free(heap, NULL);
    slabmalloc_slob_stats(heap, &stats, sizeof stats);
    MUST(stats.held_bytes == 0);
    slabmalloc_slob_destroy(heap);
    slabmalloc_slob_destroy(NULL);
}

/* --- The process's heap and its boot pages --- */

Test(slob_boot, serves_pages_and_runs_lowest_first_and_knows_fresh_ones) {
    slob_boot_init();
    bool fresh;
    uintptr_t a = slob_boot_take(1, &fresh), b = slob_boot_take(10, &fresh), c = slob_boot_take(1, &fresh);
    MUST(fresh && b == a + 1 && c == a + 11 && slob_boot_has(a) && !slob_boot_has(a + BOOT_PAGES));
    MUST(!slob_boot_has(a - 1) && !slob_boot_has(0));
    slob_boot_give(b, 10, false);
    MUST(counter_read(&slob_boot.ndirty) == 10);
    MUST(!slob_boot_claim(c, 1) && slob_boot_claim(c + 1, 1) && !slob_boot_claim(a + BOOT_PAGES - 1, 2));
    MUST(slob_boot_take(10, &fresh) == b && !fresh);
    slob_boot_give(b, 10, true);
    MUST(slob_boot_take(10, &fresh) == b && fresh);
    MUST(slob_boot_take(BOOT_PAGES - 13, &fresh) == a + 13 && !slob_boot_take(1, &fresh));
    slob_boot_give(b, 10, false);
    size_t npages;
    MUST(slob_boot_take_dirty(&npages) == b && npages == 10);
    MUST(!slob_boot_take_dirty(&npages));
}

Test(slob_boot, malloc_s_heap_starts_in_boot_pages_and_goes_on_in_zones) {
    struct slob *heap = slob_of_process();
    slob_start_process();
    char *p[160], *run = take(heap, 5 * PAGE_BYTES), *small = take(heap, 20);
    MUST(slob_boot_has(page_of(run)) && slob_boot_has(page_of(small)) && !pagemap_tag(run) && !pagemap_tag(small));
    pattern_fill(run, 5 * PAGE_BYTES, 4);
    MUST(slob_realloc(heap, run, 9 * PAGE_BYTES) == run && slob_realloc(heap, run, 5 * PAGE_BYTES) == run);
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        p[i] = take(heap, 8 * PAGE_BYTES);
        pattern_fill(p[i], 8 * PAGE_BYTES, i);
    }
    MUST(!slob_boot_has(page_of(p[COUNT_OF(p) - 1])));
    must_be_sound(heap);
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        MUST(pattern_holds(p[i], 8 * PAGE_BYTES, i));
        slob_free(heap, p[i]);
    }
    MUST(pattern_holds(run, 5 * PAGE_BYTES, 4));
    must_be_sound(heap);
    MUST(slob_dirty_pages() > 0 && slob_trim() > 0 && slob_dirty_pages() == 0);
    slob_free(heap, run);
    slob_free(heap, small);
    MUST(totals(heap).held_bytes == 0);
}

Test(slob_boot, a_long_block_is_given_back_while_it_is_copied) {
    slob_start_process();
    struct slob *heap = slob_of_process();
    char *from = take(heap, MIB), *to = take(heap, MIB);
    MUST(slob_boot_has(page_of(from)));
    pattern_fill(from, MIB, 3);
    slob_large_carry(heap, to, from, MIB - 5000);
    MUST(pattern_holds(to, MIB - 5000, 3));
    MUST(all_bytes_are(from, MIB - 64 * KIB, 0) && from[MIB - 1] != 0);
    pattern_fill(from, MIB, 4);
    char *moved = slob_realloc(heap, from, 3 * MIB / 2); /* TO is in the way */
    MUST(moved != from && pattern_holds(moved, MIB, 4) && pattern_holds(to, MIB - 5000, 3));
    slob_free(heap, moved);
    slob_free(heap, to);
    must_be_sound(heap);
    heap = slob_create(1);
    from = take(heap, MIB), to = take(heap, MIB);
    pattern_fill(from, MIB, 5);
    slob_large_carry(heap, to, from, MIB);
    MUST(pattern_holds(to, MIB, 5) && pattern_holds(from, MIB, 5)); /* speed counts more in a heap of its own */
    slob_destroy(heap);
}

Test(slob_boot, malloc_s_heap_matches_a_shadow) {
    slob_start_process();
    shadow_run(slob_of_process(), 99, rounds(30000 / SUPPORT_SLOWDOWN));
    must_be_sound(slob_of_process());
    MUST(totals(slob_of_process()).held_bytes == 0);
}

/* --- Threads and fork --- */

static struct slob *shared;

static void shadow_thread(unsigned index) {
    shadow_run(shared, 1000 + index, rounds(8000 / SUPPORT_SLOWDOWN));
}

Test(slob, threads_share_a_heap) {
    shared = slob_create(1);
    threads_run(4, shadow_thread);
    must_be_sound(shared);
    MUST(totals(shared).held_bytes == 0);
    slob_destroy(shared);
}

static void fork_once(void) {
    pid_t pid = fork();
    MUST(pid >= 0);
    if (!pid) {
        _exit(0);
    }
    int status;
    MUST(waitpid(pid, &status, 0) == pid);
}

static struct lock *visited[8];
static size_t nvisited;

static void note_lock(struct lock *lock) {
    MUST(nvisited < COUNT_OF(visited));
    visited[nvisited++] = lock;
}

/* Else a child could find what the lock covers in mid-step, and the lock held by a thread it does not have. */
Test(slob, page_info_names_a_page_of_a_heap) {
    struct slabmalloc_slob *heap = slabmalloc_slob_create();
    void *p = slabmalloc_slob_alloc(heap, 100);
    struct slabmalloc_page_info info;
    MUST(slabmalloc_page_info(p, &info, sizeof info) == 1);
    MUST(info.state == SLABMALLOC_STATE_SLOB && info.pages == 1 && info.order == 0);
    slabmalloc_slob_destroy(heap);
}

Test(slob, fork_waits_for_every_lock_that_another_thread_holds) {
    struct slob *a = slob_create(1), *b = slob_create(2);
    MUST(waits_for(&a->lock, fork_once));
    MUST(waits_for(&b->lock, fork_once));
    MUST(waits_for(&slob_of_process()->lock, fork_once));
    slob_each_lock(note_lock);
    MUST(nvisited == 4); /* and that of the list of heaps */
    for (size_t i = 0; i < nvisited; i++) {
        MUST(waits_for(visited[i], fork_once));
    }
    slob_destroy(a); /* not the first of the list */
    nvisited = 0;
    slob_each_lock(note_lock);
    MUST(nvisited == 3 && visited[2] == &b->lock);
    slob_destroy(b);
}

#define HANG_SECONDS (60 * SUPPORT_SLOWDOWN)

static _Atomic bool stop;

static void churn_until_stopped(unsigned index) {
    static _Atomic unsigned there;
    meet_before_fork(&there, 3);
    if (index) {
        for (uint64_t seed = index; !stop; seed += 16) {
            shadow_run(shared, seed, 300);
            slob_destroy(slob_create(1));
        }
        return;
    }
    for (size_t i = 0; i < rounds(60); i++) {
        pid_t pid = fork();
        MUST(pid >= 0);
        if (!pid) {
            alarm(HANG_SECONDS); /* a lock that nobody drops */
            must_be_sound(shared);
            shadow_run(shared, i, 200);
            slob_destroy(slob_create(2));
            _exit(slob_check(shared) != NULL);
        }
        int status;
        MUST(waitpid(pid, &status, 0) == pid);
        MUST_BE_GOOD_END(status);
    }
    stop = true;
}

Test(slob, children_of_busy_threads_can_use_the_heaps) {
    shared = slob_create(1);
    threads_run(3, churn_until_stopped);
    must_be_sound(shared);
    slob_destroy(shared);
}

/* --- Misuse --- */

static void free_twice(void *arg) {
    struct slob *heap = arg;
    char *p = take(heap, 40);
    take(heap, 40);
    slob_free(heap, p);
    slob_free(heap, p);
}

static void free_twice_merged(void *arg) {
    struct slob *heap = arg;
    char *a = take(heap, 40), *b = take(heap, 40);
    take(heap, 40);
    slob_free(heap, b);
    slob_free(heap, a);
    slob_free(heap, b);
}

static void free_twice_the_last_of_a_page(void *arg) {
    char *p = take(arg, 40);
    slob_free(arg, p);
    slob_free(arg, p);
}

static void free_large_twice(void *arg) {
    char *p = take(arg, 5 * PAGE_BYTES);
    slob_free(arg, p);
    slob_free(arg, p);
}

static void free_inside(void *arg) {
    char *p = take(arg, 400);
    memset(p, 0x41, 400);
    slob_free(arg, p + 16);
}

static void free_odd(void *arg) {
    slob_free(arg, take(arg, 400) + 3);
}

static void free_inside_large(void *arg) {
    slob_free(arg, take(arg, 3 * PAGE_BYTES) + 64);
}

static void free_to_another_heap(void *arg) {
    slob_free(slob_create(1), take(arg, 40));
}

static void free_large_to_another_heap(void *arg) {
    slob_free(slob_create(1), take(arg, 4 * PAGE_BYTES));
}

static void free_from_the_stack(void *arg) {
    char local[64];
    slob_free(arg, local + 16);
}

static void free_by_malloc_s_free(void *arg) {
    slabmalloc_free(take(arg, 40));
}

static void free_large_by_malloc_s_free(void *arg) {
    slabmalloc_free(take(arg, 4 * PAGE_BYTES));
}

static void free_of_mallocs(void *arg) {
    slob_free(arg, slabmalloc_malloc(40));
}

Test(slob, misuse_ends_with_one_line) {
    static const struct {
        const char *what;
        void (*body)(void *);
    } cases[] = {
        {"double free", free_twice},
        {"double free", free_twice_merged},
        {"double free", free_twice_the_last_of_a_page},
        {"double free", free_large_twice},
        {"free of a pointer inside an object", free_inside},
        {"free of a pointer inside an object", free_odd},
        {"free of a pointer inside an object", free_inside_large},
        {"free of a pointer of another heap", free_to_another_heap},
        {"free of a pointer of another heap", free_large_to_another_heap},
        {"free of a pointer that was not allocated here", free_from_the_stack},
        {"free of a pointer that was not allocated here", free_by_malloc_s_free},
        {"free of a pointer that was not allocated here", free_large_by_malloc_s_free},
        {"free of a pointer that was not allocated here", free_of_mallocs},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        must_die_of(cases[i].what, cases[i].body, slob_create(1));
    }
}

static void boot_twice(void *arg) {
    free_twice_the_last_of_a_page(arg);
}

static void boot_large_twice(void *arg) {
    free_large_twice(arg);
}

Test(slob_boot, misuse_ends_with_one_line) {
    slob_start_process();
    must_die_of("double free", boot_twice, slob_of_process());
    must_die_of("double free", boot_large_twice, slob_of_process());
    must_die_of("free of a pointer inside an object", free_inside, slob_of_process());
}

/* A check that cannot fail finds nothing. */
static void check_must_find(const char *what, struct slob *heap) {
    const char *broken = slob_check(heap);
    cr_assert(broken && !strcmp(broken, what), "'%s' instead of '%s'", broken ? broken : "nothing", what);
}

Test(slob, check_finds_planted_damage) {
    struct slob *heap = slob_create(1);
    char *p = take(heap, 40), *q = take(heap, 2 * PAGE_BYTES);
    must_be_sound(heap);
    uint16_t *head = (uint16_t *)(p - SLOB_HEAD);
    head[1]++;
    check_must_find("a SLOB block's header is not what the list of free blocks says", heap);
    head[1]--;
    head[0] += 600;
    check_must_find("a SLOB block does not end in its page", heap);
    head[0] -= 600;
    heap->nblocks++;
    check_must_find("a SLOB heap's blocks differ from its sums", heap);
    heap->nblocks--;
    heap->npages[0]++;
    check_must_find("a list of SLOB pages has another length", heap);
    heap->npages[0]--;
    pagemap_set_tag(page_of(p), TAG_FREED);
    check_must_find("a SLOB page has another tag", heap);
    pagemap_set_tag(page_of(p), TAG_SLOB);
    pagemap_set_tag(page_of(q), TAG_RUN);
    check_must_find("a large SLOB block has another tag", heap);
    pagemap_set_tag(page_of(q), TAG_SLOB_LARGE);
    heap->large_pages++;
    check_must_find("a SLOB heap's large blocks differ from its sums", heap);
    heap->large_pages--;
    must_be_sound(heap);
    slob_destroy(heap);
}

/* --- Malloc's heap in the process's totals --- */

static struct slabmalloc_stats used_after(const struct slabmalloc_stats *before) {
    struct slabmalloc_stats stats = stats_now();
    stats.used_bytes -= before->used_bytes;
    stats.slab_used_bytes -= before->slab_used_bytes;
    stats.run_bytes -= before->run_bytes;
    stats.mapping_bytes -= before->mapping_bytes;
    return stats;
}

static void count_in_slob_mode(void *arg) {
    (void)arg;
    options_parse("heap:slob");
    slob_start_process();
    struct slabmalloc_stats before = stats_now();
    char *small = slabmalloc_malloc(1000), *run = slabmalloc_malloc(100 * KIB), *mapping = slabmalloc_malloc(6 * MIB);
    struct slabmalloc_stats stats = used_after(&before);
    MUST(stats.slab_used_bytes >= 1000 && stats.slab_used_bytes < 1200); /* with two nodes */
    MUST(stats.run_bytes == 100 * KIB && stats.mapping_bytes == 6 * MIB);
    MUST(stats.used_bytes == stats.slab_used_bytes + stats.run_bytes + stats.mapping_bytes);
    MUST(stats.slab_bytes >= PAGE_BYTES && stats.slab_bytes <= 3 * PAGE_BYTES);
    MUST(stats.zone_bytes >= BOOT_PAGES * PAGE_BYTES && stats.mapped_bytes >= stats.zone_bytes + 6 * MIB);
    slabmalloc_free(run);
    MUST(stats_now().zone_dirty_bytes <= stats_now().zone_free_bytes);
    slabmalloc_free(small);
    slabmalloc_free(mapping);
    stats = used_after(&before);
    MUST(!stats.used_bytes && !stats.slab_bytes);
    MUST_BE_SOUND();
    slob_of_process()->large_pages++;
    MUST(!strcmp(slabmalloc_check(), "a SLOB heap's large blocks differ from its sums"));
}

Test(slob, malloc_s_heap_is_counted_and_checked_with_the_process_s) {
    child_must_end_well(count_in_slob_mode, NULL);
}
