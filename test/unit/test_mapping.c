/* Own mappings: their sizes, the cache of freed ones, moving page tables instead of bytes, refused system calls. */
#include "lock.h"
#include "mapping_support.h"
#include "pagemap.h"
#include "region.h"

/* As realloc does it: what cannot be grown, since it is several map areas, is copied. */
static char *resize(char *p, size_t bytes) {
    char *grown = mapping_resize(p, bytes);
    if (!grown && (grown = mapping_alloc(bytes, 1, false))) {
        memcpy(grown, p, min_size(bytes, mapping_npages(p) * PAGE_BYTES));
        mapping_free(p);
    }
    return grown;
}

static void large_cache(void) {
    options.map_cache = 64 * MIB;
}

TestSuite(mapping, .init = large_cache);

Test(mapping, has_room_for_the_request_and_is_pageblock_aligned) {
    static const size_t sizes[] = {BLOCK_BYTES + 1, BLOCK_BYTES + PAGE_BYTES, 3 * MIB - 1, 5 * MIB + 1, 64 * MIB};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        char *p = map(sizes[i]);
        MUST(mapping_npages(p) >= pages_of(sizes[i]));
        MUST(((uintptr_t)p & (BLOCK_BYTES - 1)) == 0);
        MUST(pagemap_tag(p) == TAG_MAPPING);
        words_fill(p, sizes[i], i);
        MUST(words_hold(p, sizes[i], i));
        mapping_free(p);
    }
}

Test(mapping, can_be_aligned_beyond_a_pageblock) {
    void *p[12];
    for (unsigned i = 0; i < COUNT_OF(p); i++) {
        size_t align = BLOCK_BYTES << i % 6;
        p[i] = mapping_alloc(i < 6 ? 1 : 3 * MIB, align, true);
        MUST(p[i] && ((uintptr_t)p[i] & (align - 1)) == 0);
        memset(p[i], 1, mapping_npages(p[i]) * PAGE_BYTES);
        if (i % 2) {
            mapping_free(p[i]); /* cached ones must be right for the next alignment too */
        }
    }
}

Test(mapping, totals_follow_live_and_cached_bytes) {
    struct mapping_totals start = mapping_totals();
    char *p = map(8 * MIB), *q = map(6 * MIB);
    struct mapping_totals now = mapping_totals();
    MUST(now.live_bytes == start.live_bytes + 14 * MIB && now.live_count == start.live_count + 2);
    p = mapping_resize(p, 16 * MIB);
    q = mapping_resize(q, 4 * MIB);
    now = mapping_totals();
    MUST(now.live_bytes == start.live_bytes + 20 * MIB && now.live_count == start.live_count + 2);
    mapping_free(p);
    mapping_free(q);
    now = mapping_totals();
    MUST(now.live_bytes == start.live_bytes && now.live_count == start.live_count);
    MUST(now.cached_bytes >= 16 * MIB);
    mapping_trim();
    MUST(cached() == 0);
}

/* Growing a cached extent may move it, to an address that is aligned to a pageblock only. */
Test(mapping, cached_extent_that_is_too_small_does_not_spoil_the_alignment) {
    for (unsigned i = 0; i < 12; i++) {
        char *p = mapping_alloc(4 * MIB, 16 * MIB, false);
        block_after(p);
        mapping_free(p);
        char *q = mapping_alloc((8 + 2 * i) * MIB, 16 * MIB, false);
        MUST(q && ((uintptr_t)q & (16 * MIB - 1)) == 0);
    }
}

/* --- The cache --- */

Test(mapping, cached_extent_serves_smaller_requests_and_comes_together_again) {
    char *whole = map(32 * MIB), *part[4];
    mapping_free(whole);
    MUST(cached() == 32 * MIB);
    fault_arm(1u << SYS_MAP | 1u << SYS_UNMAP | 1u << SYS_REMAP, 0, 0);
    for (size_t i = 0; i < 4; i++) {
        part[i] = map(8 * MIB);
        MUST(part[i] >= whole && part[i] + 8 * MIB <= whole + 32 * MIB);
        words_fill(part[i], 8 * MIB, i);
        MUST(cached() == 32 * MIB - (i + 1) * 8 * MIB);
    }
    for (size_t i = 0; i < 4; i++) {
        MUST(words_hold(part[i], 8 * MIB, i)); /* disjoint */
        mapping_free(part[i ^ 2]);
    }
    MUST(cached() == 32 * MIB);
    MUST(map(32 * MIB) == whole);
    MUST(cached() == 0);
    MUST(fault_disarm() == 0); /* not one system call */
}

Test(mapping, request_larger_than_any_cached_extent_gets_the_pages_of_several) {
    options.hugepages = false;
    cache_apart(4);
    size_t footprint = region_footprint();
    char *p = map(14 * MIB);
    MUST(cached() == 2 * MIB);
    MUST(resident_pages(p, 14 * MIB) == 14 * MIB / PAGE_BYTES); /* not one was touched since */
    MUST(region_footprint() == footprint);
    words_fill(p, 14 * MIB, 1);
    MUST(words_hold(p, 14 * MIB, 1));
    /* More than the cache has: the rest is new. */
    char *q = map(8 * MIB);
    MUST(cached() == 0 && resident_pages(q, 8 * MIB) == 2 * MIB / PAGE_BYTES);
    MUST(region_footprint() == footprint + 6 * MIB);
    memset(q, 1, 8 * MIB);
    MUST(words_hold(p, 14 * MIB, 1));
    /* Several map areas: growing is refused or done, nothing is lost, and freed it serves again. */
    char *grown = mapping_resize(p, 24 * MIB);
    MUST(words_hold(grown ? grown : p, 14 * MIB, 1));
    mapping_free(grown ? grown : p);
    mapping_free(q);
    MUST(!mapping_check());
    p = map(40 * MIB);
    memset(p, 1, 40 * MIB);
    mapping_free(p);
    mapping_trim();
    MUST(region_footprint() == footprint - 16 * MIB);
}

/* A process may have 65,530 map areas; what is put together is one a pageblock at worst. */
Test(mapping, nothing_is_put_together_beside_16_gib_of_large_blocks) {
    options.hugepages = false;
    options.map_cache = 32 * MIB;
    char *rest = map(((size_t)16 << 30) - 20 * MIB);
    for (unsigned i = 0; i < 2; i++) {
        cache_apart(4);
        char *p = map(6 * MIB);
        MUST(resident_pages(p, 6 * MIB) == (i ? 0 : 6 * MIB / PAGE_BYTES));
        mapping_free(p);
        mapping_trim();
        if (!i) {
            MUST(map(8 * MIB) != NULL);
        }
    }
    mapping_free(rest);
}

/* Rounding up takes cached pages that serve nobody else; 2.1 MiB must not get 4. */
Test(mapping, request_is_rounded_up_to_cached_pageblocks_by_an_eighth_at_most) {
    cache_apart(4);
    char *p = map(8 * MIB - PAGE_BYTES), *q = map(5 * MIB);
    MUST(mapping_npages(p) == 8 * MIB / PAGE_BYTES && mapping_npages(q) == 5 * MIB / PAGE_BYTES);
    mapping_trim();
    mapping_free(map(32 * MIB));
    char *r = map(2 * MIB + PAGE_BYTES), *s = map(16 * MIB - PAGE_BYTES);
    MUST(mapping_npages(r) == BLOCK_PAGES + 1 && mapping_npages(s) == 16 * MIB / PAGE_BYTES);
}

Test(mapping, pages_read_as_zero_when_asked_for_whatever_is_cached) {
    cache_apart(4);
    char *p = mapping_alloc(14 * MIB, 1, true);
    MUST(p && all_bytes_are(p, 14 * MIB, 0));
}

/* The option, or as much as is live. */
static size_t cache_bound(void) {
    return max_size(options.map_cache, mapping_totals().live_bytes);
}

Test(mapping, cache_is_bounded_by_map_cache_and_the_live_mappings) {
    static char *p[20];
    options.map_cache = 16 * MIB;
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        p[i] = map((3 + i % 4) * MIB);
        block_after(p[i]); /* neighbours would be one extent */
    }
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        mapping_free(p[i]);
        MUST(cached() <= cache_bound());
    }
    MUST(cached() > 0);
    /* Neither does an extent that merging made too large stay. */
    mapping_trim();
    char *whole = map(16 * MIB);
    mapping_free(whole);
    for (size_t i = 0; i < 5; i++) {
        p[i] = map(4 * MIB);
    }
    for (size_t i = 0; i < 5; i++) {
        mapping_free(p[i]);
        MUST(cached() <= cache_bound());
    }
}

Test(mapping, larger_than_the_cache_is_unmapped_at_once) {
    options.map_cache = 16 * MIB;
    size_t footprint = region_footprint();
    char *p = map(17 * MIB);
    mapping_free(p);
    MUST(cached() == 0);
    MUST(resident_pages(p, PAGE_BYTES) == SIZE_MAX);
    MUST(region_footprint() == footprint);
}

Test(mapping, no_cache_when_map_cache_is_0) {
    options.map_cache = 0;
    for (size_t i = 0; i < 40; i++) {
        mapping_free(map(3 * MIB));
        MUST(cached() == 0);
    }
}

Test(mapping, more_freed_extents_than_slots_are_not_lost) {
    static char *p[100];
    options.map_cache = 4 * GIB;
    size_t footprint = region_footprint();
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        p[i] = map(3 * MIB);
        block_after(p[i]);
    }
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        mapping_free(p[i]);
    }
    MUST(region_footprint() - footprint == cached());
    MUST(mapping_trim() > 0);
    MUST(cached() == 0);
    MUST(region_footprint() == footprint);
}

Test(mapping, decay_unmaps_what_waited_for_the_interval) {
    options.decay_ms = 1000;
    mapping_free(map(8 * MIB));
    mapping_decay(sys_now_ms());
    MUST(cached() == 8 * MIB);
    mapping_decay(sys_now_ms() + 2000);
    MUST(cached() == 0);
    options.decay_ms = -1;
    mapping_free(map(8 * MIB));
    mapping_decay(sys_now_ms() + 1000000);
    MUST(cached() == 8 * MIB);
}

Test(mapping, trim_unmaps_the_cache) {
    size_t footprint = region_footprint();
    char *p = map(8 * MIB);
    mapping_free(p);
    MUST(mapping_trim() == 8 * MIB);
    MUST(resident_pages(p, PAGE_BYTES) == SIZE_MAX);
    MUST(region_footprint() == footprint);
    MUST(mapping_trim() == 0);
}

/* --- Zeroes --- */

Test(mapping, zero_mapping_is_zero_whatever_was_there_before) {
    struct rng rng = {6};
    char *p[6] = {0};
    for (unsigned step = 0; step < 150 / SUPPORT_SLOWDOWN; step++) {
        size_t i = rng_below(&rng, COUNT_OF(p));
        if (p[i]) {
            mapping_free(p[i]);
        }
        size_t bytes = BLOCK_BYTES + 1 + rng_below(&rng, 14 * MIB);
        bool zero = rng_below(&rng, 2);
        p[i] = mapping_alloc(bytes, rng_below(&rng, 8) ? 1 : 8 * MIB, zero);
        MUST(p[i] && (!zero || all_bytes_are(p[i], bytes, 0)));
        if (rng_below(&rng, 4) == 0) {
            bytes = BLOCK_BYTES + 1 + rng_below(&rng, 14 * MIB);
            p[i] = resize(p[i], bytes);
            MUST(p[i] != NULL);
        }
        memset(p[i], 0xa5, mapping_npages(p[i]) * PAGE_BYTES);
    }
}

Test(mapping, zero_mapping_of_new_memory_is_not_touched) {
    char *p = mapping_alloc(64 * MIB, 1, true);
    MUST(resident_pages(p, 64 * MIB) == 0);
}

/* --- Growing and shrinking --- */

/* Every mebibyte of 16 has one byte set; after growth a copy would have touched every page. */
static void must_grow_by_page_tables(char *p, bool in_place) {
    for (size_t at = 0; at < 16 * MIB; at += 1 * MIB) {
        p[at] = (char)(1 + at / MIB);
    }
    char *q = mapping_resize(p, 64 * MIB);
    MUST(q && mapping_npages(q) == 64 * MIB / PAGE_BYTES);
    MUST(in_place == (q == p));
    MUST(resident_pages(q, 64 * MIB) == 16);
    for (size_t at = 0; at < 16 * MIB; at += 1 * MIB) {
        MUST(q[at] == (char)(1 + at / MIB));
    }
    MUST(all_bytes_are(q + 16 * MIB, 48 * MIB, 0));
    MUST(q == p || resident_pages(p, PAGE_BYTES) == SIZE_MAX);
    mapping_free(q);
}

Test(mapping, grows_in_place_into_free_address_space) {
    options.hugepages = false;
    char *p = map(64 * MIB);
    MUST(mapping_resize(p, 16 * MIB) == p); /* leaves free address space above */
    must_grow_by_page_tables(p, true);
}

Test(mapping, moves_page_tables_when_it_cannot_grow_in_place) {
    options.hugepages = false;
    char *p = map(16 * MIB);
    block_after(p);
    must_grow_by_page_tables(p, false);
}

Test(mapping, grows_into_the_cached_extent_that_follows) {
    char *whole = map(48 * MIB), *p;
    size_t footprint = region_footprint();
    mapping_free(whole);
    fault_arm(1u << SYS_MAP | 1u << SYS_UNMAP | 1u << SYS_REMAP, 0, 0);
    p = map(8 * MIB);
    MUST(p == whole);
    words_fill(p, 8 * MIB, 1);
    MUST(mapping_resize(p, 40 * MIB) == p && mapping_npages(p) == 40 * MIB / PAGE_BYTES);
    MUST(cached() == 8 * MIB && mapping_totals().live_bytes == 40 * MIB && mapping_totals().live_count == 1);
    MUST(mapping_resize(p, 48 * MIB) == p); /* all of it */
    MUST(cached() == 0 && mapping_totals().live_bytes == 48 * MIB);
    MUST(fault_disarm() == 0); /* not one system call */
    MUST(words_hold(p, 8 * MIB, 1));
    mapping_free(p);
    MUST(cached() == 48 * MIB && region_footprint() == footprint && !mapping_check());
}

Test(mapping, growing_copies_into_a_cached_extent_unless_it_is_large) {
    options.hugepages = false;
    for (size_t bytes = 24 * MIB; bytes <= 40 * MIB; bytes += 16 * MIB) {
        char *p = map(8 * MIB), *other = map(bytes);
        void *fence = block_after(p);
        words_fill(p, 8 * MIB, 1);
        mapping_free(other);
        char *q = mapping_resize(p, bytes);
        MUST((q == other) == (bytes <= 32 * MIB));
        MUST(words_hold(q, 8 * MIB, 1) && mapping_npages(q) == bytes / PAGE_BYTES);
        MUST(mapping_totals().live_bytes == bytes && mapping_totals().live_count == 1);
        MUST(pagemap_tag(p) != TAG_MAPPING);
        MUST(cached() == (q == other ? 8 * MIB : bytes));
        mapping_free(q);
        mapping_trim();
        munmap(fence, PAGE_BYTES);
    }
}

Test(mapping, shrinking_unmaps_the_tail_and_keeps_the_rest) {
    options.hugepages = false;
    size_t footprint = region_footprint();
    char *p = map(32 * MIB);
    words_fill(p, 32 * MIB, 1);
    char *q = mapping_resize(p, 5 * MIB);
    MUST(q == p && mapping_npages(q) == 5 * MIB / PAGE_BYTES);
    MUST(words_hold(p, 5 * MIB, 1));
    MUST(resident_pages(p + 5 * MIB, PAGE_BYTES) == SIZE_MAX);
    MUST(region_footprint() == footprint + 5 * MIB);
    mapping_free(p);
    mapping_trim();
    MUST(region_footprint() == footprint);
}

/* mremap works on one kernel map area at a time: what the cache merged may be two of them. */
Test(mapping, block_of_two_merged_extents_can_be_grown) {
    options.hugepages = false;
    char *room = mmap(NULL, 64 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    room = (char *)round_up((uintptr_t)room, BLOCK_BYTES);
    /* Two mappings that were touched apart from each other stay two map areas when they become neighbours. */
    char *low = map(8 * MIB), *guard = block_after(low), *high = map(8 * MIB);
    (void)guard;
    memset(low, 1, 8 * MIB);
    memset(high, 1, 8 * MIB);
    munmap(room, 16 * MIB);
    MUST(sys_move(low, 8 * MIB, 8 * MIB, room));
    MUST(sys_move(high, 8 * MIB, 8 * MIB, room + 8 * MIB));
    /* As if mapping_resize had moved them there. */
    for (size_t i = 0; i < 2; i++) {
        uintptr_t pfn = pointer_pfn(room + i * 8 * MIB);
        MUST(pagemap_cover(pfn, 8 * MIB / PAGE_BYTES));
        *pagemap_page(pfn) = *pagemap_page(pointer_pfn(i ? high : low));
        pagemap_set_tag(pfn, TAG_MAPPING);
        mapping_free(room + i * 8 * MIB);
    }
    char *p = map(16 * MIB);
    MUST(p == room);
    words_fill(p, 16 * MIB, 3);
    char *q = slabmalloc_realloc(p, 24 * MIB); /* by whatever means */
    MUST(q != NULL);
    MUST(words_hold(q, 16 * MIB, 3));
    memset(q, 1, 24 * MIB);
    mapping_free(q);
}

static bool is_unmapped(char *from, char *to) {
    if (from >= to) {
        return from == to;
    }
    size_t bytes = (size_t)(to - from);
    void *probe =
        mmap(from, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    return probe == from && !munmap(probe, bytes);
}

/* The page map is made for what is mapped; growing in place can leave the part it was made for. */
Test(mapping, grown_in_place_can_be_split_wherever_it_reaches) {
    size_t span = LEAF_PAGES * PAGE_BYTES;
    options.map_cache = 4 * span;
    char *hole = mmap(NULL, 3 * span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), *p;
    MUST(hole != MAP_FAILED);
    for (size_t tries = 0; !is_unmapped((p = map(4 * MIB)) + 4 * MIB, hole) && tries < 1000; tries++) {
        /* Smaller gaps further up are taken first. */
    }
    munmap(hole, 3 * span);
    char *q = mapping_resize(p, 2 * span + 8 * MIB); /* in place, unless something else is there by now */
    MUST(q != NULL);
    mapping_free(q);
    /* Piece by piece, each must be able to carry its own tag. */
    for (size_t at = 0; at + 64 * MIB <= 2 * span; at += 64 * MIB) {
        char *piece = map(64 * MIB);
        MUST(pagemap_tag(piece) == TAG_MAPPING && mapping_npages(piece) == 64 * MIB / PAGE_BYTES);
    }
}

/* --- Threads --- */

static void shuffle_mappings(unsigned index) {
    struct rng rng = {index};
    struct {
        char *p;
        size_t bytes;
        uint64_t seed;
    } live[4] = {{0}};
    for (unsigned step = 0; step < 80 / SUPPORT_SLOWDOWN; step++) {
        size_t i = rng_below(&rng, COUNT_OF(live)), bytes = BLOCK_BYTES + 1 + rng_below(&rng, 2 * MIB);
        MUST(!live[i].p || words_hold(live[i].p, live[i].bytes, live[i].seed));
        if (live[i].p && rng_below(&rng, 2)) {
            char *p = resize(live[i].p, bytes);
            MUST(p && words_hold(p, min_size(bytes, live[i].bytes), live[i].seed));
            live[i].p = p;
        } else {
            if (live[i].p) {
                mapping_free(live[i].p);
            }
            bool zero = rng_below(&rng, 2);
            live[i].p = mapping_alloc(bytes, 1, zero);
            MUST(live[i].p && (!zero || all_bytes_are(live[i].p, bytes, 0)));
        }
        live[i].bytes = bytes;
        live[i].seed = rng_next(&rng);
        words_fill(live[i].p, bytes, live[i].seed);
        if (rng_below(&rng, 30) == 0) {
            mapping_trim();
        }
    }
    for (size_t i = 0; i < COUNT_OF(live); i++) {
        if (live[i].p) {
            mapping_free(live[i].p);
        }
    }
}

Test(mapping, threads_share_the_cache) {
    size_t footprint = region_footprint();
    threads_run(4, shuffle_mappings);
    MUST(mapping_totals().live_bytes == 0 && mapping_totals().live_count == 0);
    mapping_trim();
    MUST(cached() == 0 && region_footprint() == footprint);
}

static void free_mapping_twice(void *arg) {
    options.map_cache = *(size_t *)arg;
    void *p = slabmalloc_malloc(5 * MIB);
    slabmalloc_free(p);
    slabmalloc_free(p);
}

Test(mapping, double_free_aborts_cached_or_unmapped) {
    size_t none = 0, much = 64 * MIB;
    must_die_of("double free", free_mapping_twice, &none);
    must_die_of("double free", free_mapping_twice, &much);
}

static void free_inside_mapping(void *arg) {
    slabmalloc_free((char *)slabmalloc_malloc(5 * MIB) + *(size_t *)arg);
}

Test(mapping, free_inside_a_mapping_aborts) {
    size_t first_page = 16, other_page = 3 * MIB;
    must_die_of("free of a pointer inside an object", free_inside_mapping, &first_page);
    must_die_of("free of a pointer that was not allocated here", free_inside_mapping, &other_page);
}
