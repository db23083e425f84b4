/* Own mappings when the kernel refuses to map, unmap or move: nothing is lost, and it works afterwards. */
#include "lock.h"
#include "mapping_support.h"
#include "pagemap.h"
#include "region.h"

static void start_with_a_large_cache(void) {
    slabmalloc_free(slabmalloc_malloc(1)); /* starts the library, with the nodes of the machine */
    options.map_cache = 64 * MIB;
}

TestSuite(mapping_refused, .init = start_with_a_large_cache);

static unsigned moves_left;

static bool refuse_moves(enum sys_call call) {
    return call == SYS_REMAP && !moves_left--;
}

static void compose_with_a_refused_move(void *allowed) {
    cache_apart(4);
    size_t footprint = region_footprint() - 16 * MIB;
    moves_left = *(const unsigned *)allowed;
    sys_fault_hook = refuse_moves;
    char *p = map(14 * MIB), *q = map(6 * MIB);
    sys_fault_hook = NULL;
    words_fill(p, 14 * MIB, 1);
    words_fill(q, 6 * MIB, 2);
    MUST(words_hold(p, 14 * MIB, 1) && words_hold(q, 6 * MIB, 2));
    mapping_free(p);
    mapping_free(q);
    mapping_trim();
    MUST(!cached() && region_footprint() == footprint);
}

/* Whichever move is refused, the request is served, nothing cached is lost from the books, and so are the next ones. */
Test(mapping_refused, refused_move_of_cached_pages_leaves_a_request_of_new_ones) {
    for (unsigned allowed = 0; allowed < 4; allowed++) {
        child_must_end_well(compose_with_a_refused_move, &allowed);
    }
}

Test(mapping_refused, failed_growth_leaves_the_block_as_it_was) {
    char *p = map(8 * MIB);
    block_after(p);
    pattern_fill(p, 8 * MIB, 1);
    struct mapping_totals before = mapping_totals();
    size_t footprint = region_footprint();
    fault_arm(1u << SYS_MAP | 1u << SYS_REMAP, 0, FOREVER);
    MUST(mapping_resize(p, 32 * MIB) == NULL);
    fault_disarm();
    struct mapping_totals after = mapping_totals();
    MUST(pagemap_tag(p) == TAG_MAPPING && mapping_npages(p) == 8 * MIB / PAGE_BYTES);
    MUST(pattern_holds(p, 8 * MIB, 1));
    MUST(region_footprint() == footprint && !memcmp(&before, &after, sizeof before));
    fault_arm(1u << SYS_MAP, 0, FOREVER); /* no room to move to, and no room above */
    MUST(mapping_resize(p, 32 * MIB) == NULL);
    fault_disarm();
    MUST(pattern_holds(p, 8 * MIB, 1));
    p = mapping_resize(p, 32 * MIB);
    MUST(p && pattern_holds(p, 8 * MIB, 1));
}

Test(mapping_refused, failed_unmap_loses_address_space_only) {
    options.map_cache = 0;
    char *p = map(8 * MIB), *q = map(8 * MIB);
    pattern_fill(p, 8 * MIB, 1);
    pattern_fill(q, 8 * MIB, 2);
    fault_arm(1u << SYS_UNMAP, 0, FOREVER);
    MUST(mapping_resize(p, 3 * MIB) == p);
    mapping_free(q);
    MUST(fault_disarm() > 0);
    MUST(pattern_holds(p, 3 * MIB, 1));
    MUST(resident_pages(p + 3 * MIB, 5 * MIB) == 0); /* the memory went back */
    MUST(resident_pages(q, 8 * MIB) == 0);
    p = mapping_resize(p, 64 * MIB);
    MUST(p && pattern_holds(p, 3 * MIB, 1));
    mapping_free(p);
}

Test(mapping_refused, what_the_kernel_does_not_unmap_is_kept_and_unmapped_later) {
    options.map_cache = 16 * MIB;
    mapping_free(map(3 * MIB));
    mapping_trim();
    size_t before = region_footprint(), space = address_space_bytes();
    char *p = map(8 * MIB), *q = map(40 * MIB);
    memset(q, 1, 40 * MIB);
    fault_arm(1u << SYS_UNMAP, 0, FOREVER);
    MUST(mapping_resize(p, 3 * MIB) == p);
    mapping_free(q); /* more than the cache may hold */
    MUST(cached() == 45 * MIB && resident_pages(q, 40 * MIB) == 0);
    MUST(mapping_trim() == 0 && cached() == 45 * MIB);
    char *again = mapping_alloc(40 * MIB, 1, true);
    MUST(again == q && all_bytes_are(q, 40 * MIB, 0));
    mapping_free(again);
    fault_disarm();
    mapping_free(p);
    mapping_trim();
    MUST(cached() == 0 && region_footprint() == before);
    MUST(address_space_bytes() < space + 3 * MIB); /* the page map may have got new tables */
}

/* More pieces than the cache has slots for. */
Test(mapping_refused, what_cannot_be_kept_either_is_not_accounted_as_held) {
    static char *p[40];
    size_t before = region_footprint();
    options.map_cache = 0;
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        p[i] = map(3 * MIB);
        memset(p[i], 1, 3 * MIB);
        block_after(p[i]); /* neighbours would be one extent */
    }
    fault_arm(1u << SYS_UNMAP, 0, FOREVER);
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        mapping_free(p[i]);
        MUST(resident_pages(p[i], 3 * MIB) == 0);
    }
    fault_disarm();
    MUST(region_footprint() == before + cached() && cached() > 0);
    mapping_trim();
    MUST(region_footprint() == before);
}

/* Refused when it is tried, not in place: the addresses to move to are mapped by then. */
static void refuse_the_move_of(char *p, size_t bytes) {
    moves_left = 1;
    sys_fault_hook = refuse_moves;
    MUST(mapping_resize(p, bytes) == NULL);
    sys_fault_hook = NULL;
}

Test(mapping_refused, refused_move_gives_back_the_addresses_it_was_to_go_to) {
    char *p = map(8 * MIB);
    block_after(p);
    words_fill(p, 8 * MIB, 1);
    size_t footprint = region_footprint();
    for (unsigned i = 0; i < 3; i++) {
        size_t mapped = address_space_bytes();
        refuse_the_move_of(p, 64 * MIB);
        MUST(address_space_bytes() < mapped + 32 * MIB);
        MUST(region_footprint() == footprint && !mapping_check());
    }
    MUST(words_hold(p, 8 * MIB, 1));
}

static bool refuse_moves_and_looks(enum sys_call call) {
    return call == SYS_COPY || refuse_moves(call);
}

/* They may be another thread's by then. */
Test(mapping_refused, refused_move_leaves_addresses_alone_that_it_may_not_look_at) {
    char *p = map(8 * MIB);
    block_after(p);
    size_t footprint = region_footprint(), mapped = address_space_bytes();
    moves_left = 1;
    sys_fault_hook = refuse_moves_and_looks;
    MUST(mapping_resize(p, 64 * MIB) == NULL);
    sys_fault_hook = NULL;
    MUST(address_space_bytes() >= mapped + 64 * MIB);
    MUST(region_footprint() == footprint && !mapping_check());
}

static unsigned unmaps;

static bool refuse_unmaps(enum sys_call call) {
    unmaps += call == SYS_UNMAP;
    return call == SYS_UNMAP;
}

Test(mapping_refused, trim_tries_every_extent_once_however_many_are_refused) {
    cache_apart(4);
    size_t before = cached();
    sys_fault_hook = refuse_unmaps;
    MUST(mapping_trim() == 0);
    sys_fault_hook = NULL;
    MUST(unmaps == 4 && cached() == before && !mapping_check());
    MUST(mapping_trim() == before && cached() == 0);
}

Test(mapping_refused, fails_without_address_space_and_works_afterwards) {
    mapping_free(map(8 * MIB));
    fault_arm(1u << SYS_MAP | 1u << SYS_REMAP, 0, FOREVER);
    MUST(mapping_alloc(9 * MIB, 1, true) == NULL);
    fault_disarm();
    char *p = mapping_alloc(9 * MIB, 1, true);
    MUST(p && all_bytes_are(p, 9 * MIB, 0));
    mapping_free(p);
    MUST(mapping_alloc(PTRDIFF_MAX - 2 * BLOCK_BYTES, 1, false) == NULL);
    MUST(mapping_alloc(BLOCK_BYTES, (size_t)1 << 62, false) == NULL);
}

static size_t intruder_bytes;
static char *intruder;

/* Another thread maps memory just before the library unmaps something. */
static bool intrude(enum sys_call call) {
    if (call == SYS_UNMAP && !intruder) {
        intruder = mmap(NULL, intruder_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    return false;
}

/* A failed mremap(MREMAP_FIXED) has unmapped its target already: unmapping that again hits whoever came meanwhile. */
Test(mapping_refused, failed_move_unmaps_nobody_elses_memory) {
    options.hugepages = false;
    char *p = map(8 * MIB);
    block_after(p);
    memset(p, 1, 8 * MIB);
    /* Growing a block whose map area is split fails in the kernel, not before it. */
    MUST(!mprotect(p + 4 * MIB, PAGE_BYTES, PROT_READ));
    intruder_bytes = 32 * MIB;
    sys_fault_hook = intrude;
    char *q = mapping_resize(p, 32 * MIB);
    sys_fault_hook = NULL;
    MUST(!intruder || resident_pages(intruder, intruder_bytes) != SIZE_MAX);
    MUST(!q || q[0] == 1);
}
