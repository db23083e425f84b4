/* zone.h promises, second part: idle memory goes back to the kernel, and nothing else does. */
#include "zone.h"

#include <sys/syscall.h>

#include "faults.h"
#include "region.h"
#include "zone_ledger.h"

TestSuite(zone_purge, .init = zone_ledger_setup);

/* Purging. */

Test(zone_purge, purged_pages_are_zero_fresh_and_not_resident) {
    uintptr_t pfn = zone_alloc(0, ZONE_NORMAL, GROUP_RUN, BLOCK_PAGES, 0);
    out_pages += BLOCK_PAGES;
    touch(pfn, BLOCK_PAGES);
    give(pfn + 100, 300, 300);
    require(resident(pfn, BLOCK_PAGES) == BLOCK_PAGES);
    require(zone_purge(zone_of(pfn), 0) >= 300);
    require(dirty_pages() == 0);
    require(resident(pfn, BLOCK_PAGES) == BLOCK_PAGES - 300);
    require(all_bytes_are(pfn_pointer(pfn), 100 * PAGE_BYTES, 0x5a));
    require(all_bytes_are(pfn_pointer(pfn + 100), 300 * PAGE_BYTES, 0));
    require(all_bytes_are(pfn_pointer(pfn + 400), 112 * PAGE_BYTES, 0x5a));
    for (size_t i = 100; i < 400; i++) {
        require(buddy_is_fresh(pfn + i));
    }
    must_be_sound();
}

Test(zone_purge, a_purge_keeps_what_it_is_told_to_keep) {
    make_dirty(4);
    size_t before = dirty_pages();
    require(zone_purge(zone_next(NULL), before) == 0);
    require(dirty_pages() == before);
    size_t purged = zone_purge(zone_next(NULL), before - 1);
    require(purged >= 1 && dirty_pages() <= before - 1 && dirty_pages() == before - purged);
    must_be_sound();
}

/* A free block may be fresh but for one page; only that one had memory to give back. */
Test(zone_purge, a_purge_counts_only_pages_that_were_dirty) {
    uintptr_t pfn = take(BLOCK_PAGES);
    touch(pfn, 3);
    give(pfn, BLOCK_PAGES, 3);
    require(dirty_pages() == 3);
    uint64_t before = zone_of(pfn)->purged_pages;
    require(zone_purge(zone_of(pfn), 0) == 3);
    require(zone_of(pfn)->purged_pages - before == 3);
    uintptr_t both[2] = {take(BLOCK_PAGES), take(BLOCK_PAGES)};
    give(both[0], BLOCK_PAGES, 5);
    give(both[1], BLOCK_PAGES, 7);
    require(zone_purge(zone_of(pfn), 0) == 12);
    require(zone_of(pfn)->purged_pages - before == 15);
}

Test(zone_purge, a_refused_purge_leaves_dirty_pages_dirty) {
    uintptr_t pfn = take(64);
    touch(pfn, 64);
    give(pfn, 64, 64);
    refuse(SYS_ADVISE, 0, UINT_MAX);
    require(zone_purge(zone_of(pfn), 0) == 0);
    require(zone_trim() == 0);
    require(plan.seen > 0);
    require(dirty_pages() == 64 && resident(pfn, 64) == 64);
    for (size_t i = 0; i < 64; i++) {
        require(!buddy_is_fresh(pfn + i));
    }
    must_be_sound();
    sys_fault_hook = NULL;
    require(zone_trim() >= 64 && resident(pfn, 64) == 0);
}

Test(zone_purge, a_purge_gives_up_after_64_refusals) {
    for (int i = 0; i < 10; i++) {
        uintptr_t pfn = take(BLOCK_PAGES);
        touch(pfn, BLOCK_PAGES);
        for (size_t at = 0; at < BLOCK_PAGES; at += 32) {
            give(pfn + at, 16, 16);
        }
    }
    size_t before = dirty_pages();
    refuse(SYS_ADVISE, 0, UINT_MAX);
    require(zone_purge(zone_next(NULL), 0) == 0);
    require(plan.seen == 64 && dirty_pages() == before);
    must_be_sound();
}

/* The program locked a buffer and freed it without munlock: the kernel keeps those pages, and only those. */
Test(zone_purge, a_locked_block_does_not_keep_others_from_being_purged) {
    uintptr_t pfn = take(BLOCK_PAGES);
    touch(pfn, BLOCK_PAGES);
    if (syscall(SYS_mlock, pfn_pointer(pfn + 128), PAGE_BYTES)) { /* sanitizers make mlock do nothing */
        cr_skip_test("mlock is refused here");
    }
    give(pfn + 128, 128, 128);
    for (size_t i = 256; i < BLOCK_PAGES; i += 32) {
        give(pfn + i, 16, 16);
    }
    zone_purge(zone_of(pfn), 0);
    require(dirty_pages() <= 128, "%zu pages stay dirty", dirty_pages());
    must_be_sound();
}

Test(zone_purge, trim_gives_everything_free_in_every_zone_back) {
    static const enum zone_kind kinds[] = {ZONE_NORMAL, ZONE_HIGHMEM, ZONE_DMA};
    uintptr_t pfn[3][8];
    for (int i = 0; i < 24; i++) {
        require((pfn[i % 3][i / 3] = take_from(kinds[i % 3], BLOCK_PAGES)));
        touch(pfn[i % 3][i / 3], BLOCK_PAGES);
    }
    for (int i = 0; i < 24; i++) {
        give(pfn[i % 3][i / 3] + 1, BLOCK_PAGES - 1, BLOCK_PAGES - 1);
    }
    size_t rss = rss_bytes();
    size_t dirty = dirty_pages();
    require(dirty >= 24 * (BLOCK_PAGES - 1) && zone_trim() == dirty);
    require(dirty_pages() == 0);
    require(rss - rss_bytes() >= 40 * MIB, "%zu resident before, %zu after", rss, rss_bytes());
    for (int i = 0; i < 24; i++) {
        require(resident(pfn[i % 3][i / 3], BLOCK_PAGES) == 1);
    }
    must_be_sound();
    require(zone_trim() == 0);
}

/* Decay. The clock is the argument, so nothing here depends on time. */

Test(zone_purge, never_means_never) {
    make_dirty(32);
    options.decay_ms = 100;
    zone_decay(1000); /* from here on it is idle */
    options.decay_ms = -1;
    size_t before = dirty_pages();
    for (uint64_t now = 2000; now < 1000000; now += 1000) {
        zone_decay(now);
    }
    require(dirty_pages() == before);
}

Test(zone_purge, no_delay_means_all_at_the_next_step) {
    make_dirty(32);
    options.decay_ms = 0;
    zone_decay(1000);
    require(dirty_pages() == 0);
    must_be_sound();
}

Test(zone_purge, what_was_idle_for_whole_intervals_goes_back_bit_by_bit) {
    make_dirty(32);
    options.decay_ms = 100;
    zone_decay(1000);
    size_t first = dirty_pages(), before = first;
    zone_decay(1100);
    require(dirty_pages() < first, "nothing decays");
    require(dirty_pages() > 0, "everything at once");
    for (uint64_t now = 1200; now < 5000; now += 100) {
        before = dirty_pages();
        zone_decay(now);
        require(dirty_pages() <= before);
    }
    require(dirty_pages() < first / 8);
    must_be_sound();
}

Test(zone_purge, memory_used_in_the_interval_is_kept) {
    make_dirty(32);
    options.decay_ms = 100;
    zone_decay(1000);
    size_t before = dirty_pages();
    for (uint64_t now = 1100; now < 3000; now += 100) {
        uintptr_t pfn[32];
        for (int i = 0; i < 32; i++) { /* all of it is in use at one moment of every interval */
            pfn[i] = take(BLOCK_PAGES);
        }
        require(dirty_pages() == 0);
        for (int i = 0; i < 32; i++) {
            give(pfn[i], BLOCK_PAGES, BLOCK_PAGES);
        }
        zone_decay(now);
        require(dirty_pages() == before, "at %lu", now);
    }
}

Test(zone_purge, only_what_was_idle_decays) {
    make_dirty(32);
    options.decay_ms = 100;
    zone_decay(1000);
    size_t before = dirty_pages();
    uintptr_t pfn[24];
    for (int i = 0; i < 24; i++) {
        pfn[i] = take(BLOCK_PAGES);
    }
    for (int i = 0; i < 24; i++) {
        give(pfn[i], BLOCK_PAGES, BLOCK_PAGES);
    }
    zone_decay(1100);
    require(dirty_pages() < before && dirty_pages() >= 24 * BLOCK_PAGES);
}

/* Idle is what was free the whole interval, not as much as was. */
Test(zone_purge, what_a_trim_took_does_not_count_as_idle_afterwards) {
    uintptr_t pfn[8];
    for (int i = 0; i < 8; i++) {
        require((pfn[i] = take(BLOCK_PAGES)));
        touch(pfn[i], BLOCK_PAGES);
    }
    make_dirty(32);
    options.decay_ms = 100;
    zone_decay(1000);
    zone_trim();
    for (int i = 0; i < 8; i++) {
        give(pfn[i], BLOCK_PAGES, BLOCK_PAGES);
    }
    zone_decay(1100);
    require(dirty_pages() == 8 * BLOCK_PAGES);
}

Test(zone_purge, a_step_waits_for_its_interval) {
    make_dirty(32);
    options.decay_ms = 100;
    zone_decay(1000);
    zone_decay(1100);
    size_t before = dirty_pages();
    zone_decay(1100);
    zone_decay(1199);
    require(dirty_pages() == before);
    zone_decay(1200);
    require(dirty_pages() < before);
}

/* A system call each would cost more than it frees. */
Test(zone_purge, small_pieces_are_left_to_trim) {
    for (int i = 0; i < 4; i++) {
        uintptr_t pfn = take(BLOCK_PAGES);
        touch(pfn, BLOCK_PAGES);
        for (size_t at = 0; at < BLOCK_PAGES; at += 16) {
            give(pfn + at, 15, 15);
        }
    }
    options.decay_ms = 100;
    size_t before = dirty_pages();
    for (uint64_t now = 1000; now < 3000; now += 100) {
        zone_decay(now);
    }
    require(before == 4 * BLOCK_PAGES / 16 * 15 && dirty_pages() == before);
    zone_trim();
    require(dirty_pages() == 0);
}

Test(zone_purge, live_pages_never_decay) {
    uintptr_t pfn = take(BLOCK_PAGES);
    touch(pfn, BLOCK_PAGES);
    make_dirty(32);
    options.decay_ms = 1;
    for (uint64_t now = 1000; now < 2000; now += 10) {
        zone_decay(now);
    }
    zone_trim();
    require(resident(pfn, BLOCK_PAGES) == BLOCK_PAGES);
    require(all_bytes_are(pfn_pointer(pfn), BLOCK_BYTES, 0x5a));
}

/* Shedding: what is dirty and not needed should not add to a new peak. */

static size_t grow_to_a_new_peak_with_decay(long decay_ms) {
    make_dirty(64);
    size_t before = dirty_pages();
    options.decay_ms = decay_ms;
    require(take_from(ZONE_HIGHMEM, BLOCK_PAGES));
    return before - dirty_pages();
}

static size_t grow_to_a_new_peak(void) {
    return grow_to_a_new_peak_with_decay(500);
}

Test(zone_purge, no_delay_sheds_and_never_does_not) {
    require(grow_to_a_new_peak_with_decay(0) > 0);
    require(grow_to_a_new_peak_with_decay(-1) == 0);
}

Test(zone_purge, a_new_peak_sheds_idle_memory_in_proportion) {
    size_t shed = grow_to_a_new_peak();
    require(shed > 0, "nothing is shed");
    require(shed <= 2 * BLOCK_PAGES, "%zu pages for %zu new ones", shed, BLOCK_PAGES);
    must_be_sound();
}

Test(zone_purge, every_new_peak_sheds) {
    grow_to_a_new_peak();
    for (unsigned i = 0; i < 8; i++) {
        size_t before = dirty_pages();
        require(take_from(ZONE_HIGHMEM, BLOCK_PAGES));
        require(dirty_pages() < before, "peak %u", i);
    }
    must_be_sound();
}

static struct zone *normal_zone(void) {
    struct zone *zone = zone_next(NULL);
    while (zone->kind != ZONE_NORMAL) {
        zone = zone_next(zone);
    }
    return zone;
}

/* Beyond 256 KiB and 1/64 of what is in use; in small pieces, so that it can be hit. */
Test(zone_purge, a_new_peak_leaves_a_small_share_of_what_is_in_use) {
    for (int i = 0; i < 40; i++) {
        uintptr_t pfn = take(BLOCK_PAGES);
        touch(pfn, BLOCK_PAGES);
        for (size_t at = 0; at < BLOCK_PAGES; at += 32) {
            give(pfn + at, 16, 16);
        }
    }
    const struct zone *zone = normal_zone();
    options.decay_ms = 500;
    for (int i = 0; i < 60; i++) {
        require(take_from(ZONE_HIGHMEM, BLOCK_PAGES));
    }
    size_t used = zone->mapped_pages - zone->buddy.free_pages, allowed = (MIB / 4 >> PAGE_SHIFT) + used / 64;
    require(zone->buddy.dirty_pages <= allowed, "%zu pages of %zu stay", zone->buddy.dirty_pages, allowed);
    require(zone->buddy.dirty_pages > allowed - 16, "%zu pages of %zu stay", zone->buddy.dirty_pages, allowed);
    must_be_sound();
}

/* What was shed and taken again is better kept: half as much may stay, of what is more than 1/4 of what is in use, and
 * up to 1/8; less again when it has been quiet. */
Test(zone_purge, a_heap_that_needs_again_what_it_shed_may_keep_more) {
    enum { BLOCKS = 32, FREED = 8 };
    uintptr_t pfn[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        require((pfn[i] = take(BLOCK_PAGES)));
    }
    struct zone *zone = normal_zone();
    options.decay_ms = 500;
    size_t used = zone_used(zone), usual = (MIB / 4 >> PAGE_SHIFT) + used / 64, before = zone->purged_pages, more = 0;
    require(zone_high(zone) == usual);
    for (int round = 0; round < 32; round++) {
        for (int i = 0; i < FREED; i++) {
            touch(pfn[i], BLOCK_PAGES);
            give(pfn[i], BLOCK_PAGES, BLOCK_PAGES);
        }
        require(take_from(ZONE_HIGHMEM, BLOCK_PAGES));
        for (int i = 0; i < FREED; i++) {
            require((pfn[i] = take(BLOCK_PAGES)));
        }
        size_t shed = zone->purged_pages - before;
        size_t again = shed - min_size(shed, zone->buddy.free_pages - zone->buddy.dirty_pages);
        more = min_size((again - min_size(again, used / 4)) / 2, used / 8);
        require(zone_high(zone) == usual + more, "round %d: %zu more after %zu of %zu", round, zone_high(zone) - usual,
                again, used);
    }
    require(more == used / 8);
    for (int i = 0; i < 4; i++) {
        zone_decay_all();
    }
    require(zone_high(zone) == usual);
    must_be_sound();
}

/* One large free is no such need, however much of the heap it was; nor is it when what was shed is unmapped. */
Test(zone_purge, a_heap_that_shrank_keeps_no_more) {
    enum { BLOCKS = 64, FREED = 48 };
    uintptr_t pfn[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        require((pfn[i] = take(BLOCK_PAGES)));
        touch(pfn[i], BLOCK_PAGES);
    }
    options.decay_ms = 500;
    for (int i = 0; i < FREED; i++) {
        give(pfn[i], BLOCK_PAGES, BLOCK_PAGES);
    }
    struct zone *zone = normal_zone();
    size_t used = zone_used(zone), usual = (MIB / 4 >> PAGE_SHIFT) + used / 64, before = zone->purged_pages;
    for (int i = 0; i < BLOCKS; i++) {
        require(take_from(ZONE_HIGHMEM, BLOCK_PAGES));
    }
    require(zone->purged_pages - before > used, "only %zu pages shed", zone->purged_pages - before);
    require(zone_used(zone) == used && zone_high(zone) == usual, "may keep %zu, usually %zu", zone_high(zone), usual);
    size_t mapped = zone->mapped_pages;
    zone_unmap_free();
    require(zone->mapped_pages + used < mapped, "only %zu pages unmapped", mapped - zone->mapped_pages);
    require(zone_high(zone) == usual, "unmapped, it may keep %zu, usually %zu", zone_high(zone), usual);
    must_be_sound();
}

/* The rest of a pageblock that is just being filled is resident, and about to be used. */
Test(zone_purge, a_growing_heap_of_huge_pages_does_not_break_up_the_one_it_fills) {
    enum { PIECE = 32, PIECES = 512 };
    if (!region_map(BLOCK_BYTES, BLOCK_BYTES, true, 0).huge) {
        cr_skip_test("the kernel takes no advice for huge pages here");
    }
    for (int i = 0; i < 16; i++) {
        require(take(BLOCK_PAGES));
    }
    options.hugepages = true;
    options.huge_threshold = 32 * MIB;
    options.decay_ms = 500;
    for (int i = 0; i < PIECES; i++) {
        uintptr_t pfn = take(PIECE);
        touch(pfn, PIECE);
        require(block_huge(pagemap_block(pfn)), "piece %d", i);
    }
    must_be_sound();
}

/* Half of a pageblock, in pieces. */
static void give_half_of(uintptr_t pfn) {
    touch(pfn, BLOCK_PAGES);
    for (size_t at = 0; at < BLOCK_PAGES; at += 32) {
        give(pfn + at, 16, 16);
    }
}

static size_t idle_dirty_pages(void) {
    zone_decay_all();
    zone_decay_all();
    return dirty_pages();
}

/* Few pieces are not worth the huge pages around them; many are. */
Test(zone_purge, small_pieces_in_a_heap_of_huge_pages_go_back_when_they_are_many) {
    enum { BLOCKS = 24, MANY = 8 };
    uintptr_t pfn[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        require((pfn[i] = take(BLOCK_PAGES)));
    }
    options.hugepages = true;
    options.huge_threshold = 32 * MIB;
    options.decay_ms = 500;
    size_t before = dirty_pages();
    give_half_of(pfn[0]);
    require(idle_dirty_pages() == before + BLOCK_PAGES / 2);
    for (int i = 1; i < MANY; i++) {
        give_half_of(pfn[i]);
    }
    require(idle_dirty_pages() <= BLOCK_PAGES / 2, "%zu pages stay", dirty_pages());
    must_be_sound();
}

/* Fresh memory counts as not resident. */
Test(zone_purge, what_was_given_back_makes_room_below_the_old_peak) {
    uintptr_t pfn[32];
    for (int i = 0; i < 32; i++) {
        require((pfn[i] = take(BLOCK_PAGES)));
        touch(pfn[i], BLOCK_PAGES);
    }
    grow_to_a_new_peak();
    zone_trim();
    for (int i = 0; i < 32; i++) {
        give(pfn[i], BLOCK_PAGES, BLOCK_PAGES);
    }
    require(take_from(ZONE_HIGHMEM, BLOCK_PAGES));
    require(dirty_pages() == 32 * BLOCK_PAGES);
}

Test(zone_purge, below_an_old_peak_nothing_is_shed) {
    grow_to_a_new_peak();
    zone_trim();
    size_t trimmed = zone_next(NULL)->purged_pages;
    uintptr_t pfn[32];
    for (int i = 0; i < 32; i++) {
        require((pfn[i] = take(BLOCK_PAGES)));
    }
    for (int i = 0; i < 32; i++) {
        give(pfn[i], BLOCK_PAGES, BLOCK_PAGES);
    }
    require(dirty_pages() == 32 * BLOCK_PAGES);
    require(take_from(ZONE_HIGHMEM, BLOCK_PAGES));
    require(zone_next(NULL)->purged_pages == trimmed && dirty_pages() == 32 * BLOCK_PAGES);
}

/* Unmapping, when address space is what is missing. */

Test(zone_purge, free_pageblocks_can_be_unmapped_and_others_stay) {
    uintptr_t keep = take(3);
    touch(keep, 3);
    make_dirty(8);
    size_t mapped = zone_of(keep)->mapped_pages, space = address_space_bytes(), footprint = region_footprint();
    size_t unmapped = zone_unmap_free();
    require(unmapped >= 7 * BLOCK_PAGES && unmapped % BLOCK_PAGES == 0);
    require(zone_of(keep)->mapped_pages == mapped - unmapped);
    require(space - address_space_bytes() == unmapped << PAGE_SHIFT);
    require(footprint - region_footprint() == unmapped << PAGE_SHIFT);
    require(zone_of(keep)->buddy.area[MAX_ORDER].nr_free == 0);
    require(all_bytes_are(pfn_pointer(keep), 3 * PAGE_BYTES, 0x5a));
    must_be_sound();
    require(zone_unmap_free() == 0);
    uintptr_t again = take(BLOCK_PAGES);
    require(again && all_bytes_are(pfn_pointer(again), BLOCK_BYTES, 0));
    must_be_sound();
}

Test(zone_purge, a_refused_unmap_loses_nothing) {
    make_dirty(8);
    size_t mapped = zone_next(NULL)->mapped_pages;
    refuse(SYS_UNMAP, 0, UINT_MAX);
    require(zone_unmap_free() == 0);
    require(plan.seen > 0 && zone_next(NULL)->mapped_pages == mapped);
    must_be_sound();
    sys_fault_hook = NULL;
    for (size_t left = mapped; left; left -= BLOCK_PAGES) {
        uintptr_t pfn = take(BLOCK_PAGES);
        require(pfn);
        for (size_t i = 0; i < BLOCK_PAGES; i++) {
            const uint64_t *word = pfn_pointer(pfn + i);
            require(!buddy_is_fresh(pfn + i) || !*word, "a page with old bytes is taken for fresh");
        }
    }
    require(zone_next(NULL)->mapped_pages == mapped);
}

/* Huge pages. */

Test(zone_purge, huge_pages_are_wanted_from_the_threshold_on_unless_turned_off) {
    options.hugepages = true;
    options.huge_threshold = 8 * BLOCK_BYTES;
    uintptr_t pfn[8];
    for (int i = 0; i < 8; i++) {
        require(!zone_wants_huge(), "at %d pageblocks", i);
        require((pfn[i] = take(BLOCK_PAGES)));
    }
    require(zone_wants_huge());
    options.hugepages = false;
    require(!zone_wants_huge());
    options.hugepages = true;
    give(pfn[0], BLOCK_PAGES, BLOCK_PAGES); /* mapped and resident, but not in use */
    require(!zone_wants_huge());
}

Test(zone_purge, own_mappings_count_for_huge_pages_too) {
    options.hugepages = true;
    options.huge_threshold = 100 * MIB;
    require(!zone_wants_huge());
    region_account((ptrdiff_t)(100 * MIB));
    require(zone_wants_huge());
}

/* From half the threshold on, itself included. */
Test(zone_purge, an_own_mapping_counts_for_itself) {
    options.hugepages = true;
    options.huge_threshold = 64 * MIB;
    size_t used = 10 * MIB;
    region_account((ptrdiff_t)used);
    require(!zone_wants_huge_mapping(22 * MIB - PAGE_BYTES));
    require(zone_wants_huge_mapping(22 * MIB) && !zone_wants_huge());
    options.hugepages = false;
    require(!zone_wants_huge_mapping(22 * MIB));
}

Test(zone_purge, only_normal_memory_grows_huge_and_its_pageblocks_say_so) {
    if (!region_map(BLOCK_BYTES, BLOCK_BYTES, true, 0).huge) {
        cr_skip_test("the kernel takes no advice for huge pages here");
    }
    const struct zone *zone = zone_of(take(BLOCK_PAGES));
    while (zone->buddy.free_pages) {
        require(!pagemap_block(take(BLOCK_PAGES))->huge);
    }
    size_t before = zone->mapped_pages;
    options.hugepages = true;
    options.huge_threshold = 0;
    uintptr_t normal = take(1), high = take_from(ZONE_HIGHMEM, 1);
    require(normal && high && zone_of(high)->kind == ZONE_HIGHMEM);
    require(pagemap_block(normal)->huge && !pagemap_block(high)->huge);
    require(zone->mapped_pages == before + 16 * BLOCK_PAGES);
}
