/* pagemap.h promises: any 64-bit value is classified without a fault, and only what was tagged has a tag. */
#include "pagemap.h"

#include <pthread.h>

#include "sys.h"
#include "util.h"

/* Made-up addresses far from anything the process has; page map tables need none behind them. */
#define SPAN(n) ((uintptr_t)(40 + (n)) << LEAF_SHIFT)
#define END_OF_ROOT ((uintptr_t)ROOT_SIZE << LEAF_SHIFT)

static _Atomic unsigned maps_seen;
static bool refuse;

static bool count_maps(enum sys_call call) {
    maps_seen += call == SYS_MAP;
    return refuse && call == SYS_MAP;
}

static uint32_t tag_of(uintptr_t value) {
    return pagemap_tag((const void *)value);
}

/* Random values whose number of significant bits is uniform, so that small addresses, user ones and kernel ones occur.
 */
static void must_all_be_foreign(unsigned long count) {
    struct rng rng = {99};
    for (unsigned long i = 0; i < count; i++) {
        uint64_t value = rng_next(&rng) >> rng_below(&rng, 64);
        value = rng_below(&rng, 4) ? value : ~value;
        require(tag_of(value) == TAG_FOREIGN, "%#lx", value);
    }
}

TestSuite(pagemap);

Test(pagemap, any_64_bit_value_is_classified_as_foreign_at_first) {
    must_all_be_foreign(rounds(2000000));
}

Test(pagemap, edges_of_the_address_space_are_foreign) {
    static const uint64_t edges[] = {
        0,
        1,
        4095,
        4096,
        UINT64_C(0x7fffffffffff), /* last user address */
        UINT64_C(0x800000000000), /* first non-canonical */
        UINT64_C(0xffff7fffffffffff),
        UINT64_C(0xffff800000000000), /* first kernel address */
        UINT64_C(0xffffffff81000000),
        UINT64_C(0xfffffffffffff000),
        UINT64_MAX,
    };
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
        require(tag_of(edges[i]) == TAG_FOREIGN, "%#lx", edges[i]);
    }
    for (unsigned bit = 0; bit < 64; bit++) {
        require(tag_of(UINT64_C(1) << bit) == TAG_FOREIGN, "bit %u", bit);
        require(tag_of((UINT64_C(1) << bit) - 1) == TAG_FOREIGN, "below bit %u", bit);
        require(tag_of(~UINT64_C(0) << bit) == TAG_FOREIGN, "from bit %u", bit);
    }
}

Test(pagemap, the_programs_own_code_data_and_stack_are_foreign) {
    int on_stack;
    void *on_heap = malloc(100), *mapped = mmap(NULL, PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const void *ours[] = {&on_stack,
                          on_heap,
                          mapped,
                          "text",
                          &pagemap,
                          &maps_seen,
                          (const void *)(uintptr_t)&tag_of,
                          (const void *)(uintptr_t)&malloc};
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        require(pagemap_cover(pointer_pfn(ours[i]), 1));
        require(pagemap_tag(ours[i]) == TAG_FOREIGN, "%zu: %p", i, ours[i]);
    }
    free(on_heap);
    munmap(mapped, PAGE_BYTES);
}

Test(pagemap, values_beyond_the_root_stay_foreign_when_its_last_span_has_tags) {
    require(pagemap_cover(END_OF_ROOT - LEAF_PAGES, LEAF_PAGES));
    for (size_t block = 0; block < LEAF_PAGES; block += BLOCK_PAGES) {
        pagemap_set_tags(END_OF_ROOT - LEAF_PAGES + block, BLOCK_PAGES, 0x12345);
    }
    require(tag_of((END_OF_ROOT << PAGE_SHIFT) - 1) == 0x12345);
    require(tag_of(END_OF_ROOT << PAGE_SHIFT) == TAG_FOREIGN);
    require(tag_of(UINT64_MAX) == TAG_FOREIGN && tag_of(UINT64_C(0xffffbfffffffffff)) == TAG_FOREIGN);
    require(tag_of(0) == TAG_FOREIGN);
}

Test(pagemap, leaves_appear_on_demand) {
    require(!pagemap_known(SPAN(1)));
    require(pagemap_cover(SPAN(1) + 5, 1));
    require(pagemap_known(SPAN(1)) && pagemap_known(SPAN(2) - 1));
    require(!pagemap_known(SPAN(1) - 1) && !pagemap_known(SPAN(2)));
}

Test(pagemap, a_new_leaf_knows_nothing) {
    require(pagemap_cover(SPAN(1), LEAF_PAGES));
    for (uintptr_t pfn = SPAN(1); pfn < SPAN(2); pfn++) {
        require(tag_of(pfn << PAGE_SHIFT) == TAG_FOREIGN && pagemap_page(pfn)->state == PAGE_NONE);
        require(pagemap_block(pfn)->zone == 0);
    }
}

Test(pagemap, covering_again_costs_nothing) {
    require(pagemap_cover(SPAN(1), 3 * LEAF_PAGES));
    sys_fault_hook = count_maps;
    require(pagemap_cover(SPAN(1), 3 * LEAF_PAGES) && pagemap_cover(SPAN(2) + 7, 1));
    require(maps_seen == 0);
}

Test(pagemap, a_cover_across_a_border_makes_both_leaves) {
    require(pagemap_cover(SPAN(2) - 1, 2));
    require(pagemap_known(SPAN(1)) && pagemap_known(SPAN(2)));
    pagemap_set_tag(SPAN(2) - 1, 0x101);
    pagemap_set_tag(SPAN(2), 0x202);
    require(tag_of((SPAN(2) << PAGE_SHIFT) - 1) == 0x101 && tag_of(SPAN(2) << PAGE_SHIFT) == 0x202);
}

Test(pagemap, a_cover_up_to_a_border_makes_no_leaf_beyond) {
    require(pagemap_cover(SPAN(1), LEAF_PAGES));
    require(!pagemap_known(SPAN(2)));
}

Test(pagemap, addresses_beyond_the_root_cannot_be_covered) {
    require(!pagemap_cover(END_OF_ROOT - 1, 2));
    require(!pagemap_cover(END_OF_ROOT, 1));
    require(!pagemap_cover(UINTPTR_MAX >> PAGE_SHIFT, 1));
    require(pagemap_cover(END_OF_ROOT - 1, 1));
}

Test(pagemap, a_refused_leaf_fails_the_cover_and_leaves_the_span_foreign) {
    sys_fault_hook = count_maps;
    refuse = true;
    require(!pagemap_cover(SPAN(3), 1));
    require(!pagemap_known(SPAN(3)) && tag_of(SPAN(3) << PAGE_SHIFT) == TAG_FOREIGN);
    refuse = false;
    require(pagemap_cover(SPAN(3), 1));
    require(pagemap_known(SPAN(3)));
}

Test(pagemap, a_tag_is_seen_from_every_byte_of_its_page_and_from_no_other) {
    require(pagemap_cover(SPAN(1), 10));
    pagemap_set_tag(SPAN(1) + 4, 0xabcdef);
    uintptr_t page = (SPAN(1) + 4) << PAGE_SHIFT;
    for (size_t byte = 0; byte < PAGE_BYTES; byte++) {
        require(tag_of(page + byte) == 0xabcdef);
    }
    require(tag_of(page - 1) == TAG_FOREIGN && tag_of(page + PAGE_BYTES) == TAG_FOREIGN);
}

Test(pagemap, tags_are_set_for_exactly_the_pages_named) {
    require(pagemap_cover(SPAN(1), BLOCK_PAGES));
    for (size_t npages = 1; npages <= BLOCK_PAGES - 2; npages += 17) {
        pagemap_set_tags(SPAN(1) + 1, npages, 0x77);
        for (size_t i = 0; i < BLOCK_PAGES; i++) {
            require(tag_of((SPAN(1) + i) << PAGE_SHIFT) == (i >= 1 && i <= npages ? 0x77 : TAG_FOREIGN));
        }
        pagemap_set_tags(SPAN(1) + 1, npages, TAG_FOREIGN);
    }
}

Test(pagemap, only_tagged_pages_of_the_whole_space_have_tags) {
    require(pagemap_cover(SPAN(0), 4 * LEAF_PAGES));
    must_all_be_foreign(rounds(500000));
    struct rng rng = {3};
    for (int i = 0; i < 1000; i++) {
        uintptr_t pfn = SPAN(0) + rng_below(&rng, 4 * LEAF_PAGES);
        pagemap_set_tag(pfn, 0x5500 | (uint32_t)(i & 0xff));
        require(tag_of(pfn << PAGE_SHIFT | rng_below(&rng, PAGE_BYTES)) == (0x5500u | (i & 0xff)));
        pagemap_set_tag(pfn, TAG_FOREIGN);
    }
    must_all_be_foreign(rounds(500000));
    for (size_t i = 0; i < LEAF_PAGES; i++) {
        require(pagemap.foreign[i] == 0, "the foreign leaf was written to");
    }
}

Test(pagemap, every_page_and_pageblock_has_a_struct_of_its_own) {
    require(pagemap_cover(SPAN(1), 2 * LEAF_PAGES));
    for (uintptr_t pfn = SPAN(1); pfn < SPAN(3); pfn++) {
        struct page *page = pagemap_page(pfn);
        page->link = pfn;
        page->prev = ~pfn & ((UINT64_C(1) << 48) - 1);
        page->extra = pfn & BLOCK_PAGES;
        page->state = PAGE_RUN;
        page->order = pfn % NORDERS;
        pagemap_block(pfn)->fresh[pfn / 64 % (BLOCK_PAGES / 64)] = pfn;
    }
    for (uintptr_t pfn = SPAN(1); pfn < SPAN(3); pfn++) {
        const struct page *page = pagemap_page(pfn);
        require(page->link == pfn && page->prev == (~pfn & ((UINT64_C(1) << 48) - 1)));
        require(page->extra == (pfn & BLOCK_PAGES) && page->state == PAGE_RUN && page->order == pfn % NORDERS);
        require(pagemap_block(pfn)->fresh[pfn / 64 % (BLOCK_PAGES / 64)] == (pfn | 63));
        require(tag_of(pfn << PAGE_SHIFT) == TAG_FOREIGN);
    }
}

static uintptr_t visited[8];
static size_t nvisited;

static bool visit(uintptr_t pfn, struct block *block, void *most) {
    require(block == pagemap_block(pfn) && block->zone);
    visited[nvisited++] = pfn;
    return nvisited < *(size_t *)most;
}

Test(pagemap, a_walk_sees_every_pageblock_of_a_zone_in_address_order_until_it_is_stopped) {
    static const uintptr_t offset[] = {0, BLOCK_PAGES, LEAF_PAGES - BLOCK_PAGES, LEAF_PAGES,
                                       3 * LEAF_PAGES + 5 * BLOCK_PAGES};
    size_t count = sizeof offset / sizeof *offset, most = SIZE_MAX;
    pagemap_each_block(visit, &most);
    require(nvisited == 0);
    for (size_t i = count; i--;) {
        require(pagemap_cover(SPAN(2) + offset[i], BLOCK_PAGES));
        pagemap_block(SPAN(2) + offset[i])->zone = 1;
    }
    pagemap_each_block(visit, &most);
    require(nvisited == count);
    for (size_t i = 0; i < count; i++) {
        require(visited[i] == SPAN(2) + offset[i], "pageblock %zu", i);
    }
    nvisited = 0;
    most = 3;
    pagemap_each_block(visit, &most);
    require(nvisited == 3);
}

#define RACES 200
static pthread_barrier_t barrier;

static void *cover_many(void *arg) {
    void *failed = NULL;
    for (unsigned i = 0; i < RACES; i++) {
        pthread_barrier_wait(&barrier);
        if (!pagemap_cover(SPAN(i), 1)) {
            failed = arg;
            continue;
        }
        pagemap_set_tag(SPAN(i) + (uintptr_t)arg, (uint32_t)(uintptr_t)arg);
    }
    return failed;
}

Test(pagemap, threads_that_cover_the_same_span_share_its_tables) {
    pthread_t thread[4];
    sys_fault_hook = count_maps;
    pthread_barrier_init(&barrier, NULL, 4);
    for (uintptr_t i = 0; i < 4; i++) {
        pthread_create(&thread[i], NULL, cover_many, (void *)(i + 1));
    }
    for (int i = 0; i < 4; i++) {
        void *failed;
        pthread_join(thread[i], &failed);
        require(!failed);
    }
    require(maps_seen == 2 * RACES); /* a leaf and a chunk for each span */
    for (unsigned i = 0; i < RACES; i++) {
        for (uintptr_t j = 1; j <= 4; j++) {
            require(tag_of((SPAN(i) + j) << PAGE_SHIFT) == j);
        }
    }
}

/* What is unmapped in one go may be longer than a chunk, whose neighbours in memory are anything. */
Test(pagemap, forgetting_many_pageblocks_touches_no_other_table) {
    size_t nblocks = 3 * CHUNK_BLOCKS;
    uintptr_t pfn = ((uintptr_t)5 << LEAF_SHIFT) + CHUNK_PAGES;
    require(pagemap_cover(pfn - CHUNK_PAGES, 5 * CHUNK_PAGES));
    uintptr_t before = pfn - 1, after = pfn + nblocks * BLOCK_PAGES;
    page_mark(pagemap_page(before), PAGE_RUN, 11);
    page_mark(pagemap_page(after), PAGE_RUN, 12);
    struct block *block = pagemap_block(pfn);
    block_set_zone(block, 3);
    for (size_t i = 0; i < nblocks; i++) {
        page_mark(pagemap_page(pfn + i * BLOCK_PAGES), PAGE_RUN, 1);
        pagemap_set_tag(pfn + i * BLOCK_PAGES, TAG_RUN);
    }
    pagemap_forget(pfn, nblocks);
    for (size_t i = 0; i < nblocks; i++) {
        require(pagemap_page(pfn + i * BLOCK_PAGES)->state == PAGE_NONE, "pageblock %zu", i);
        require(pagemap_tag(pfn_pointer(pfn + i * BLOCK_PAGES)) == TAG_FOREIGN, "pageblock %zu", i);
    }
    require(pagemap_page(before)->link == 11 && pagemap_page(after)->link == 12 && block_zone(block) == 3);
}
