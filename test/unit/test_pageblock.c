/* pageblock.h promises: the tightest range, wherever it begins. Long histories, with the buddy: test_buddy_history.c.
 */
#include "pageblock.h"

#include "util.h"

#define FIRST ((uintptr_t)3 << LEAF_SHIFT)

static struct pageblock_index partial;

static uintptr_t block(unsigned n) {
    return FIRST + n * BLOCK_PAGES;
}

static void give(uintptr_t pfn, size_t npages) {
    pageblock_give(&partial, pfn, npages);
    require(!pageblock_check(&partial, 0));
}

static void take(uintptr_t pfn, size_t npages) {
    pageblock_take(&partial, pfn, npages);
    require(!pageblock_check(&partial, 0));
}

static void cover(void) {
    require(pagemap_cover(FIRST, 4 * BLOCK_PAGES));
}

TestSuite(pageblock, .init = cover);

Test(pageblock, an_empty_index_has_no_range) {
    require(!pageblock_find(&partial, 1));
}

Test(pageblock, a_range_may_begin_anywhere) {
    give(block(0) + 13, 25);
    require(pageblock_find(&partial, 25) == block(0) + 13);
    require(!pageblock_find(&partial, 26));
}

Test(pageblock, neighbours_become_one_range) {
    give(block(0) + 60, 3);
    give(block(0) + 66, 5);
    require(!pageblock_find(&partial, 6));
    give(block(0) + 63, 3); /* across a word of the bitmap */
    require(pageblock_find(&partial, 11) == block(0) + 60);
}

Test(pageblock, the_shortest_range_that_is_long_enough_serves) {
    give(block(0) + 0, 100);
    give(block(0) + 200, 20);
    give(block(0) + 300, 30);
    require(pageblock_find(&partial, 15) == block(0) + 200);
    require(pageblock_find(&partial, 25) == block(0) + 300);
    require(pageblock_find(&partial, 31) == block(0));
}

Test(pageblock, of_equal_ranges_the_lowest_serves) {
    give(block(0) + 300, 20);
    give(block(0) + 100, 20);
    give(block(0) + 200, 20);
    require(pageblock_find(&partial, 15) == block(0) + 100);
}

Test(pageblock, the_pageblock_whose_longest_range_is_just_enough_serves) {
    give(block(0), 400);
    give(block(1) + 5, 50);
    give(block(2) + 9, 200);
    require(pageblock_find(&partial, 40) == block(1) + 5);
    require(pageblock_find(&partial, 60) == block(2) + 9);
    require(pageblock_find(&partial, 300) == block(0));
    take(block(1) + 5, 50);
    require(pageblock_find(&partial, 40) == block(2) + 9);
}

Test(pageblock, a_bin_is_searched_for_one_that_is_long_enough) {
    give(block(0), 43);
    give(block(1), 40); /* the same bin, and its first */
    require(pageblock_find(&partial, 42) == block(0));
    require(!pageblock_find(&partial, 44));
}

Test(pageblock, a_whole_pageblock_is_in_no_index) {
    give(block(0), BLOCK_PAGES);
    require(!pageblock_find(&partial, 1));
    require(pageblock_is_free(block(0), BLOCK_PAGES));
    take(block(0) + 7, 1);
    require(pageblock_find(&partial, BLOCK_PAGES - 8) == block(0) + 8);
    require(!pageblock_find(&partial, BLOCK_PAGES));
    give(block(0) + 7, 1);
    require(!pageblock_find(&partial, 1));
}

Test(pageblock, free_pages_are_known_one_by_one) {
    give(block(0) + 100, 70);
    require(pageblock_is_free(block(0) + 100, 70) && pageblock_is_free(block(0) + 130, 40));
    require(!pageblock_is_free(block(0) + 100, 71) && !pageblock_is_free(block(0) + 99, 2));
    give(block(0) + BLOCK_PAGES - 5, 5);
    require(pageblock_is_free(block(0) + BLOCK_PAGES - 5, 5));
    require(!pageblock_is_free(block(0) + BLOCK_PAGES - 5, 6)); /* not beyond the pageblock */
}

Test(pageblock, check_notices_every_broken_rule) {
    give(block(0), 43);
    give(block(1), 41);
    struct block *first = pagemap_block(block(1)), *second = pagemap_block(block(0));
    first->longest--;
    require(pageblock_check(&partial, 0));
    first->longest++;
    first->group = 1;
    require(pageblock_check(&partial, 0));
    first->group = 0;
    second->prev = 0;
    require(pageblock_check(&partial, 0));
    second->prev = block(1);
    partial.bins ^= 2;
    require(pageblock_check(&partial, 0));
    partial.bins ^= 2;
    require(!pageblock_check(&partial, 0));
}
