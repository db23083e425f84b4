/* buddy.h promises, in examples, and that the checker notices what is wrong. Long histories: test_buddy_history.c. */
#include "buddy_model.h"

TestSuite(buddy, .init = buddy_model_setup);

/* One pageblock of which only [AT, AT + NPAGES) is free. */
static void only_free(size_t at, size_t npages) {
    give_block(0);
    require(take(BLOCK_PAGES, 0) == FIRST);
    give(FIRST + at, npages, 0);
}

static bool free_block_at(uintptr_t pfn, unsigned order) {
    return pagemap_page(pfn)->state == PAGE_FREE && pagemap_page(pfn)->order == order;
}

/* Examples: allocation. */

Test(buddy, nothing_comes_from_an_empty_buddy) {
    require(take(1, 0) == 0);
    must_agree(0);
}

Test(buddy, a_new_pageblock_is_one_free_fresh_block) {
    give_block(1);
    require(free_block_at(FIRST + BLOCK_PAGES, MAX_ORDER));
    require(buddy.free_pages == BLOCK_PAGES && buddy.dirty_pages == 0);
    must_agree(0);
}

Test(buddy, eight_pages_split_a_block_of_32_into_8_and_8_and_16) {
    only_free(64, 32);
    require(buddy.area[3].nr_free == 0 && buddy.area[4].nr_free == 0 && buddy.area[5].nr_free == 1);
    require(take(8, 0) == FIRST + 64);
    require(free_block_at(FIRST + 64 + 8, 3));
    require(free_block_at(FIRST + 64 + 16, 4));
    require(buddy.area[3].nr_free == 1 && buddy.area[4].nr_free == 1 && buddy.area[5].nr_free == 0);
    must_agree(0);
}

Test(buddy, eight_pages_given_back_make_the_block_of_32_whole_again) {
    only_free(64, 32);
    give(take(8, 0), 8, 8);
    require(free_block_at(FIRST + 64, 5));
    must_agree(0);
}

Test(buddy, splits_keep_the_lower_half) {
    give_block(0);
    require(take(1, 0) == FIRST);
    for (unsigned order = 0; order < MAX_ORDER; order++) {
        require(free_block_at(FIRST + ((uintptr_t)1 << order), order), "order %u", order);
    }
}

Test(buddy, a_split_and_a_merge_are_counted_for_every_order_between) {
    give_block(0);
    uintptr_t pfn = take(1, 0);
    require(buddy.splits == MAX_ORDER && buddy.merges == 0);
    give(pfn, 1, 0);
    require(buddy.splits == MAX_ORDER && buddy.merges == MAX_ORDER);
}

Test(buddy, any_number_of_pages_costs_exactly_that_many) {
    give_block(0);
    for (size_t npages = 1; npages <= BLOCK_PAGES; npages++) {
        uintptr_t pfn = take(npages, 0);
        require(pfn == FIRST, "%zu pages", npages);
        require(buddy.free_pages == BLOCK_PAGES - npages, "%zu pages", npages);
        must_agree(npages);
        give(pfn, npages, npages / 2);
        must_agree(npages);
    }
}

Test(buddy, a_request_of_2_1_blocks_leaves_the_rest_of_the_four_for_others) {
    only_free(0, 256); /* four blocks of 64 */
    uintptr_t pfn = take(64 * 21 / 10, 0);
    require(pfn == FIRST);
    require(buddy.free_pages == 256 - 134);
    require(take(64, 6) == FIRST + 192);
    must_agree(0);
}

Test(buddy, alignment_is_what_was_asked_for) {
    give_block(0);
    for (unsigned align_order = 0; align_order <= MAX_ORDER; align_order++) {
        for (size_t npages = 1; npages <= BLOCK_PAGES; npages = npages * 2 + 1) {
            uintptr_t nuisance = take(1, 0); /* or the beginning would always do */
            uintptr_t pfn = take(npages, align_order);
            require(pfn % ((uintptr_t)1 << align_order) == 0, "%zu pages, order %u", npages, align_order);
            must_agree(npages);
            give(nuisance, 1, 0);
            if (pfn) {
                give(pfn, npages, 0);
            }
        }
    }
}

Test(buddy, the_smallest_block_that_is_large_enough_is_split) {
    give_block(0);
    require(take(BLOCK_PAGES, 0) == FIRST);
    give(FIRST + 256, 256, 0);
    give(FIRST + 64, 16, 0);
    give(FIRST + 16, 4, 0);
    require(take(3, 0) == FIRST + 16);
    require(take(3, 0) == FIRST + 64);
    require(take(15, 0) == FIRST + 256);
    must_agree(0);
}

Test(buddy, a_block_whose_merge_is_near_is_used_last) {
    give_block(0);
    require(take(BLOCK_PAGES, 0) == FIRST);
    give(FIRST + 32, 8, 8); /* the next order's buddy, 48..63, is out */
    give(FIRST + 0, 16, 16);
    give(FIRST + 16, 8, 8); /* freed last, but 24..31 would make it merge with 0..15 */
    require(take(8, 0) == FIRST + 32);
    require(take(8, 0) == FIRST + 16);
    must_agree(0);
}

Test(buddy, a_merge_is_near_for_blocks_of_every_order_but_the_last_two) {
    give_block(0);
    give_block(1);
    require(take(BLOCK_PAGES, 0) && take(BLOCK_PAGES, 0));
    for (unsigned order = 0; order + 1 < MAX_ORDER; order++) {
        size_t size = (size_t)1 << order;
        uintptr_t alone = FIRST + BLOCK_PAGES, near = FIRST + 2 * size;
        give(alone, size, size);
        give(FIRST, 2 * size, 2 * size);
        give(near, size, size); /* freed last, but its buddy would make it merge with [0, 2 * size) */
        require(take(size, 0) == alone, "order %u", order);
        require(take(size, 0) == near, "order %u", order);
        require(claim(FIRST, 2 * size));
        must_agree(order);
    }
}

Test(buddy, a_free_pageblock_next_door_is_no_merge_to_wait_for) {
    for (unsigned block = 0; block < 3; block++) {
        give_block(block);
        require(take(BLOCK_PAGES, 0));
    }
    give(FIRST + 2 * BLOCK_PAGES, 256, 256);
    give(FIRST + BLOCK_PAGES, BLOCK_PAGES, BLOCK_PAGES);
    give(FIRST, 256, 256);
    require(take(256, 0) == FIRST);
    must_agree(0);
}

Test(buddy, otherwise_the_block_freed_last_is_used_first) {
    give_block(0);
    require(take(BLOCK_PAGES, 0) == FIRST);
    give(FIRST + 32, 8, 8);
    give(FIRST + 96, 8, 8);
    give(FIRST + 160, 8, 8);
    require(take(8, 0) == FIRST + 160);
    require(take(8, 0) == FIRST + 96);
    require(take(8, 0) == FIRST + 32);
}

Test(buddy, an_aligned_block_comes_from_the_pageblock_with_the_shortest_free_ranges_of_the_first_eight) {
    give_block(0);
    give_block(1);
    require(take(BLOCK_PAGES, 0) && take(BLOCK_PAGES, 0));
    uintptr_t tight = FIRST + 8, roomy = FIRST + BLOCK_PAGES;
    give(tight, 8, 8);
    give(roomy + 256, 64, 64);
    for (unsigned i = 0; i < 7; i++) { /* freed last: otherwise used first */
        give(roomy + 16 * i, 8, 8);
    }
    require(take(8, 3) == tight);
    give(tight, 8, 8);
    for (unsigned i = 7; i < 8 + 7; i++) {
        give(roomy + 16 * i, 8, 8);
    }
    require(take(8, 3) == roomy + 16 * 14);
    require(take(8, 0) != tight);
    must_agree(0);
}

Test(buddy, a_claim_in_the_middle_of_a_block_gives_both_ends_back) {
    give_block(0);
    require(take(BLOCK_PAGES, 0) == FIRST);
    give(FIRST + 64, 64, 0);
    require(claim(FIRST + 64 + 21, 13)); /* the borders go through one block of 64, then through two of 32 */
    must_agree(1);
    require(buddy.area[4].nr_free == 2 && free_block_at(FIRST + 64, 4) && free_block_at(FIRST + 64 + 16, 2));
    give(FIRST + 64 + 21, 13, 0);
    require(free_block_at(FIRST + 64, 6));
    must_agree(2);
    require(claim(FIRST + 64 + 5, 2));
    must_agree(3);
}

/* Examples: free. */

Test(buddy, frees_coalesce_up_to_a_pageblock) {
    give_block(0);
    static uintptr_t page[BLOCK_PAGES];
    struct rng rng = {1};
    for (size_t i = 0; i < BLOCK_PAGES; i++) {
        page[i] = take(1, 0);
        require(page[i]);
    }
    require(take(1, 0) == 0);
    for (size_t left = BLOCK_PAGES; left; left--) {
        size_t pick = rng_below(&rng, left);
        give(page[pick], 1, 1);
        page[pick] = page[left - 1];
        must_agree(left);
    }
    require(free_block_at(FIRST, MAX_ORDER));
    require(buddy.dirty_pages == BLOCK_PAGES);
}

Test(buddy, coalescing_never_crosses_pageblocks) {
    for (unsigned block = 0; block < BLOCKS; block++) {
        give_block(block);
    }
    for (unsigned block = 0; block < BLOCKS; block++) {
        require(take(BLOCK_PAGES, 0));
    }
    for (unsigned block = 0; block < BLOCKS; block++) {
        give(FIRST + block * BLOCK_PAGES, BLOCK_PAGES, BLOCK_PAGES);
        must_agree(block);
    }
    require(buddy.area[MAX_ORDER].nr_free == BLOCKS);
}

Test(buddy, any_part_of_an_allocation_can_be_given_back) {
    give_block(0);
    uintptr_t pfn = take(300, 0);
    give(pfn + 100, 57, 57);
    must_agree(1);
    give(pfn + 299, 1, 0);
    must_agree(2);
    give(pfn, 100, 3);
    must_agree(3);
    give(pfn + 157, 142, 0);
    must_agree(4);
    require(free_block_at(FIRST, MAX_ORDER));
}

/* Examples: dirty and fresh. */

Test(buddy, only_touched_pages_become_dirty) {
    give_block(0);
    give(take(100, 0), 100, 37);
    require(buddy.dirty_pages == 37);
    for (size_t i = 0; i < BLOCK_PAGES; i++) {
        require(buddy_is_fresh(FIRST + i) == (i >= 37), "page %zu", i);
    }
}

Test(buddy, fresh_pages_stay_known_as_fresh_while_they_are_out) {
    give_block(0);
    give(take(2, 0), 2, 1);
    require(take(4, 0) == FIRST);
    require(!buddy_is_fresh(FIRST) && buddy_is_fresh(FIRST + 1) && buddy_is_fresh(FIRST + 3));
}

Test(buddy, dirty_blocks_are_taken_before_fresh_ones_whatever_their_order) {
    give_block(0);
    give_block(1);
    require(take(BLOCK_PAGES, 0) && take(BLOCK_PAGES, 0));
    give(FIRST, 2, 0);                   /* fresh and just right */
    give(FIRST + BLOCK_PAGES, 256, 256); /* dirty and far too large */
    require(take(2, 0) == FIRST + BLOCK_PAGES);
    must_agree(0);
}

Test(buddy, fresh_blocks_serve_when_no_dirty_one_is_large_enough) {
    give_block(0);
    require(take(BLOCK_PAGES, 0) == FIRST);
    give(FIRST + 8, 2, 2);
    give(FIRST + 256, 16, 0);
    require(take(3, 0) == FIRST + 256);
    must_agree(0);
}

Test(buddy, one_dirty_page_makes_the_whole_block_a_dirty_one) {
    give_block(0);
    give_block(1);
    give(take(1, 0), 1, 1);
    uintptr_t dirty = model.fresh[0] ? FIRST + BLOCK_PAGES : FIRST;
    require(take(BLOCK_PAGES, 0) == dirty);
}

Test(buddy, the_first_touch_of_a_huge_pageblock_counts_for_all_of_it) {
    give_block(0);
    pagemap_block(FIRST)->huge = true;
    uintptr_t pfn = take(1, 0);
    require(!buddy_is_fresh(pfn));
    memset(model.fresh, false, BLOCK_PAGES);
    must_agree(0);
    require(buddy.dirty_pages == BLOCK_PAGES - 1);
}

Test(buddy, a_huge_pageblock_touched_before_keeps_what_is_known_of_it) {
    give_block(0);
    pagemap_block(FIRST)->huge = true;
    require(take(BLOCK_PAGES, 0) == FIRST);
    memset(model.fresh, false, BLOCK_PAGES);
    mark_fresh(FIRST + 100, 50); /* purged: small pages now */
    give(FIRST, BLOCK_PAGES, 10);
    must_agree(0);
    require(take(200, 0) == FIRST);
    require(buddy_is_fresh(FIRST + 100) && buddy_is_fresh(FIRST + 149) && !buddy_is_fresh(FIRST + 150));
    must_agree(1);
}

/* Examples: purging. */

Test(buddy, nothing_dirty_means_nothing_to_purge) {
    unsigned order;
    give_block(0);
    require(buddy_take_dirty(&buddy, 0, &order) == 0);
    must_agree(0);
}

Test(buddy, the_largest_dirty_block_is_purged_first) {
    unsigned order;
    give_block(0);
    require(take(BLOCK_PAGES, 0) == FIRST);
    give(FIRST + 4, 4, 4);
    give(FIRST + 64, 16, 1);
    give(FIRST + 256, 256, 0);
    give(FIRST + 32, 8, 8);
    require(buddy_take_dirty(&buddy, 0, &order) == FIRST + 64 && order == 4);
    require(buddy_take_dirty(&buddy, 0, &order) == FIRST + 32 && order == 3);
    require(buddy_take_dirty(&buddy, 3, &order) == 0);
    require(buddy_take_dirty(&buddy, 2, &order) == FIRST + 4 && order == 2);
    require(buddy.dirty_pages == 0 && buddy.free_pages == 256);
    require(!buddy_check(&buddy));
}

Test(buddy, of_equal_blocks_the_one_unused_longest_is_purged_first) {
    unsigned order;
    give_block(0);
    require(take(BLOCK_PAGES, 0) == FIRST);
    for (size_t at = 0; at < BLOCK_PAGES; at += 64) {
        give(FIRST + at, 16, 16);
    }
    for (size_t at = 0; at < BLOCK_PAGES; at += 64) {
        require(buddy_take_dirty(&buddy, 0, &order) == FIRST + at, "block at %zu", at);
    }
}

Test(buddy, purged_pages_come_back_fresh) {
    unsigned order;
    give_block(0);
    give(take(64, 0), 64, 64);
    uintptr_t pfn = buddy_take_dirty(&buddy, 0, &order);
    require(pfn == FIRST && order == MAX_ORDER);
    model_take(pfn, BLOCK_PAGES);
    mark_fresh(pfn, BLOCK_PAGES);
    give(pfn, BLOCK_PAGES, 0);
    require(buddy.dirty_pages == 0);
    must_agree(0);
}

/* Examples: claiming pages at their place. */

Test(buddy, claim_takes_all_or_nothing_behind_an_allocation) {
    give_block(0);
    require(take(BLOCK_PAGES, 0) == FIRST);
    for (size_t used = 1; used < BLOCK_PAGES; used += 37) {
        for (size_t wall = used + 1; wall <= BLOCK_PAGES; wall += 31) { /* the pages from here on are out too */
            give(FIRST + used, wall - used, 0);
            for (size_t npages = BLOCK_PAGES - used + 1; npages; npages -= npages > 16 ? 13 : 1) {
                bool fits = used + npages <= wall;
                require(claim(FIRST + used, npages) == fits, "%zu pages at %zu before %zu", npages, used, wall);
                must_agree(npages);
                if (fits) {
                    give(FIRST + used, npages, 0);
                }
            }
            require(claim(FIRST + used, wall - used));
        }
    }
}

/* Every page of the range is free, so the header's condition holds, wherever the free block begins. */

Test(buddy, claim_fails_on_pages_that_are_out) {
    give_block(0);
    uintptr_t pfn = take(10, 0);
    require(!claim(pfn, 1) && !claim(pfn + 9, 3));
    must_agree(0);
}

Test(buddy, claim_never_crosses_a_pageblock) {
    give_block(0);
    give_block(1);
    require(!claim(FIRST, BLOCK_PAGES + 1));
    require(!claim(FIRST + BLOCK_PAGES / 2, BLOCK_PAGES));
    must_agree(0);
}

Test(buddy, claimed_pages_keep_what_is_known_about_them) {
    give_block(0);
    give(take(8, 0), 8, 3);
    require(claim(FIRST, 8));
    require(!buddy_is_fresh(FIRST + 2) && buddy_is_fresh(FIRST + 3));
    must_agree(0);
}

/* Examples: groups. */

Test(buddy, groups_do_not_share_a_pageblock_while_there_is_another) {
    give_block(0);
    give_block(1);
    uintptr_t slab = take_for(GROUP_SLAB, 1, 0), run = take_for(GROUP_RUN, 1, 0);
    require(slab / BLOCK_PAGES != run / BLOCK_PAGES);
    for (int i = 0; i < 100; i++) {
        require(take_for(GROUP_SLAB, 2, 0) / BLOCK_PAGES == slab / BLOCK_PAGES);
        require(take_for(GROUP_RUN, 3, 0) / BLOCK_PAGES == run / BLOCK_PAGES);
    }
    must_agree(0);
}

Test(buddy, a_fresh_pageblock_is_preferred_to_dirty_pages_of_another_group) {
    give_block(0);
    uintptr_t slab = take_for(GROUP_SLAB, 8, 0);
    give(slab + 4, 4, 4);
    give_block(1);
    require(take_for(GROUP_RUN, 4, 0) == FIRST + BLOCK_PAGES);
}

Test(buddy, groups_share_a_pageblock_rather_than_fail) {
    give_block(0);
    require(take_for(GROUP_SLAB, 1, 0) == FIRST);
    uintptr_t run = take_for(GROUP_RUN, 200, 0);
    require(run);
    must_agree(0);
    give(run, 200, 200);
    must_agree(1);
    require(take_for(GROUP_SLAB, 200, 0));
    must_agree(2);
}

Test(buddy, of_another_groups_blocks_the_largest_is_split) {
    give_block(0);
    require(take(BLOCK_PAGES, 0) == FIRST);
    give(FIRST + 32, 4, 4);
    give(FIRST + 128, 64, 64); /* the largest, dirty */
    give(FIRST + 64, 16, 16);
    give(FIRST + 256, 128, 0); /* larger, but fresh */
    require(take_for(GROUP_RUN, 3, 0) == FIRST + 128);
    must_agree(0);
}

Test(buddy, a_pageblock_that_became_free_serves_either_group) {
    give_block(0);
    for (unsigned i = 0; i < 6; i++) {
        enum buddy_group group = i % 2 ? GROUP_SLAB : GROUP_RUN;
        uintptr_t pfn = take_for(group, 5, 0);
        require(pfn == FIRST);
        must_agree(i);
        uintptr_t second = take_for(group, 3, 0);
        require(second == (group == GROUP_RUN ? FIRST + 5 : FIRST + 5 + 3)); /* packed, or the smallest block */
        must_agree(i);
        give(second, 3, 1);
        give(pfn, 5, 5);
        must_agree(i);
    }
}

Test(buddy, a_halved_request_fits_the_most_that_dirty_memory_can_serve) {
    give_block(0);
    require(take(BLOCK_PAGES, 0) == FIRST);
    give(FIRST + 16, 4, 4);
    give(FIRST + 256, 64, 0); /* large, but fresh */
    require(buddy_fit(&buddy, 16, 1, GROUP_SLAB) == 4);
    require(buddy_fit(&buddy, 12, 3, GROUP_SLAB) == 3);
    require(buddy_fit(&buddy, 4, 1, GROUP_SLAB) == 4);
    require(buddy_fit(&buddy, 3, 3, GROUP_SLAB) == 3);
    require(buddy_fit(&buddy, 16, 8, GROUP_SLAB) == 16); /* no halving helps */
    require(buddy_fit(&buddy, 16, 1, GROUP_RUN) == 16);  /* another group's */
}

Test(buddy, a_dirty_pageblock_fits_any_request_of_any_group) {
    give_block(0);
    give(take(1, 0), 1, 1);
    require(buddy_fit(&buddy, 64, 1, GROUP_SLAB) == 64 && buddy_fit(&buddy, BLOCK_PAGES, 1, GROUP_RUN) == BLOCK_PAGES);
}

/* Pageblocks come and go. */

Test(buddy, only_a_wholly_free_pageblock_can_be_removed) {
    give_block(0);
    give_block(1);
    uintptr_t pfn = take(1, 0), other = FIRST + (pfn == FIRST ? BLOCK_PAGES : 0);
    require(buddy_remove_block(&buddy) == other);
    model_take(other, BLOCK_PAGES);
    must_agree(1);
    require(buddy_remove_block(&buddy) == 0);
    give(pfn, 1, 1);
    require(buddy_remove_block(&buddy) == pfn);
    require(buddy.free_pages == 0 && buddy.dirty_pages == 0 && !buddy_check(&buddy));
}

Test(buddy, a_fresh_pageblock_is_removed_before_a_dirty_one) {
    for (unsigned block = 0; block < 3; block++) {
        give_block(block);
    }
    give(take(BLOCK_PAGES, 0), BLOCK_PAGES, 1);
    for (unsigned i = 0; i < 2; i++) {
        uintptr_t pfn = buddy_remove_block(&buddy);
        require(pfn && buddy_is_fresh(pfn) && buddy.dirty_pages == 1);
        model_take(pfn, BLOCK_PAGES);
    }
    require(!buddy_is_fresh(buddy_remove_block(&buddy)) && buddy.dirty_pages == 0);
}

/* The checker, which the rest of the tests trust. */

static void must_notice(const char *what) {
    const char *broken = buddy_check(&buddy);
    require(broken, "%s is not noticed", what);
}

Test(buddy, check_notices_every_broken_invariant) {
    give_block(0);
    give_block(1);
    uintptr_t pfn = take(1, 0), block = pfn & ~(BLOCK_PAGES - 1);
    give(take(1, 0), 1, 1);
    require(!buddy_check(&buddy));
    struct page *page = pagemap_page(block + 64), saved = *page;
    require(free_block_at(block + 64, 6));

    buddy.free_pages++;
    must_notice("a wrong count of free pages");
    buddy.free_pages--;
    buddy.dirty_pages++;
    must_notice("a wrong count of dirty pages");
    buddy.dirty_pages--;
    buddy.area[6].nr_free++;
    must_notice("a wrong nr_free");
    buddy.area[6].nr_free--;
    buddy.orders[0][KIND_DIRTY] ^= 1u << 4;
    must_notice("a wrong summary of orders");
    buddy.orders[0][KIND_DIRTY] ^= 1u << 4;
    page->state = PAGE_BODY;
    must_notice("a free block that is not marked free");
    *page = saved;
    page->order = 5;
    must_notice("a free block with another order");
    *page = saved;
    page->prev = block;
    must_notice("a wrong back link");
    *page = saved;
    page->extra = 3;
    must_notice("a wrong count of dirty pages in a block");
    *page = saved;
    pagemap_page(block + 65)->state = PAGE_FREE;
    must_notice("a page marked free inside a free block");
    pagemap_page(block + 65)->state = PAGE_BODY;
    pagemap_page(block)->state = PAGE_FREE;
    pagemap_page(block)->order = 6;
    must_notice("two free buddies");
    pagemap_page(block)->state = PAGE_BODY;
    require(!buddy_check(&buddy));
}
