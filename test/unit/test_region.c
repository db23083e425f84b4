/* region.h promises: aligned address space that the page map covers, as much as the kernel grants, and back. */
#include "region.h"

#include <sys/resource.h>
#include <sys/syscall.h>

#include "faults.h"
#include "pagemap.h"
#include "util.h"

#define MIB ((size_t)1 << 20)

TestSuite(region);

static void must_be_usable(const struct region *region) {
    require(region->npages && region->npages % BLOCK_PAGES == 0 && region->pfn % BLOCK_PAGES == 0);
    char *p = pfn_pointer(region->pfn);
    size_t bytes = region->npages << PAGE_SHIFT;
    for (size_t i = 0; i < region->npages; i += BLOCK_PAGES / 2) {
        require(pagemap_known(region->pfn + i) && pagemap_tag(p + (i << PAGE_SHIFT)) == TAG_FOREIGN);
    }
    require(p[0] == 0 && p[bytes - 1] == 0);
    p[0] = p[bytes - 1] = 1;
}

Test(region, a_region_is_whole_pageblocks_covered_by_the_page_map) {
    for (size_t blocks = 1; blocks <= 40; blocks += 13) {
        struct region region = region_map(blocks * BLOCK_BYTES, BLOCK_BYTES, false, 0);
        require(region.npages == blocks * BLOCK_PAGES);
        must_be_usable(&region);
    }
}

Test(region, a_region_is_not_resident_before_it_is_touched) {
    struct region region = region_map(4 * BLOCK_BYTES, BLOCK_BYTES, false, 0);
    require(resident_pages(pfn_pointer(region.pfn), 4 * BLOCK_BYTES) == 0);
}

Test(region, a_region_that_is_refused_is_tried_at_half_the_size) {
    size_t expected = 16;
    for (unsigned refusals = 0; refusals <= 4; refusals++) {
        refuse(SYS_MAP, 0, refusals);
        struct region region = region_map(16 * BLOCK_BYTES, BLOCK_BYTES, false, 0);
        require(region.npages == expected * BLOCK_PAGES, "%u refusals give %zu", refusals, region.npages);
        must_be_usable(&region);
        expected /= 2;
    }
}

Test(region, halves_are_whole_pageblocks_and_never_less_than_the_least) {
    refuse(SYS_MAP, 0, 1);
    struct region region = region_map(7 * BLOCK_BYTES, 2 * BLOCK_BYTES, false, 0);
    require(region.npages == 3 * BLOCK_PAGES);
    refuse(SYS_MAP, 0, 2);
    region = region_map(7 * BLOCK_BYTES, 2 * BLOCK_BYTES, false, 0);
    require(region.npages == 2 * BLOCK_PAGES);
    refuse(SYS_MAP, 0, 3);
    region = region_map(7 * BLOCK_BYTES, 2 * BLOCK_BYTES, false, 0);
    require(region.npages == 0);
}

Test(region, when_all_is_refused_nothing_is_left_behind) {
    size_t footprint = region_footprint();
    refuse(SYS_MAP, 0, UINT_MAX);
    require(region_map(64 * BLOCK_BYTES, BLOCK_BYTES, false, 0).npages == 0);
    require(!region_map_aligned(PAGE_BYTES, PAGE_BYTES));
    require(region_footprint() == footprint);
}

/* Refuses each map call in turn: of the region, of the larger stretch it is cut from, of page map leaves. */
Test(region, a_refusal_at_any_call_leaks_no_address_space) {
    for (unsigned nth = 0; nth < 8; nth++) {
        size_t before = address_space_bytes(), footprint = region_footprint();
        refuse(SYS_MAP, nth, nth + 1);
        const void *p = region_map_aligned(512 * MIB, 1024 * MIB);
        size_t grown = address_space_bytes() - before;
        require((p != NULL) == (grown >= 512 * MIB), "call %u", nth);
        require(grown < 512 * MIB + 128 * MIB, "call %u: %zu bytes more", nth, grown); /* the rest is leaves */
        require(region_footprint() - footprint == (p ? 512 * MIB : 0), "call %u", nth);
    }
}

Test(region, a_limit_of_address_space_gives_a_smaller_region) {
    struct rlimit limit = {address_space_bytes() + 12 * BLOCK_BYTES, RLIM_INFINITY};
    require(setrlimit(RLIMIT_AS, &limit) == 0);
    struct region region = region_map(64 * BLOCK_BYTES, BLOCK_BYTES, false, 0);
    require(region.npages && region.npages <= 12 * BLOCK_PAGES, "%zu pages", region.npages);
    must_be_usable(&region);
}

Test(region, any_alignment_is_met_and_costs_no_address_space) {
    for (size_t align = PAGE_BYTES; align <= (size_t)1 << 30; align *= 4) {
        for (size_t bytes = PAGE_BYTES; bytes <= 16 * MIB; bytes = bytes * 5 + PAGE_BYTES) {
            require(pagemap_cover(0, 1));
            char *p = region_map_aligned(bytes, align);
            require(p && (uintptr_t)p % align == 0, "%zu aligned to %zu", bytes, align);
            require(pagemap_known(pointer_pfn(p)) && pagemap_known(pointer_pfn(p + bytes - 1)));
            p[0] = p[bytes - 1] = 1;
            size_t before = address_space_bytes();
            require(munmap(p, bytes) == 0);
            require(before - address_space_bytes() == bytes);
        }
    }
    size_t before = address_space_bytes();
    void *p = region_map_aligned(BLOCK_BYTES, (size_t)1 << 30);
    require(p && address_space_bytes() - before < 64 * MIB);
}

Test(region, impossible_sizes_are_refused) {
    require(!region_map_aligned(SIZE_MAX & ~(PAGE_BYTES - 1), PAGE_BYTES));
    require(!region_map_aligned(SIZE_MAX / 2 & ~(PAGE_BYTES - 1), BLOCK_BYTES));
    require(!region_map_aligned(PAGE_BYTES, (size_t)1 << 63));
}

Test(region, the_footprint_is_what_is_mapped) {
    size_t before = region_footprint();
    require(region_map(3 * BLOCK_BYTES, BLOCK_BYTES, false, 0).npages == 3 * BLOCK_PAGES);
    require(region_footprint() == before + 3 * BLOCK_BYTES);
    require(region_map_aligned(5 * PAGE_BYTES, PAGE_BYTES));
    require(region_footprint() == before + 3 * BLOCK_BYTES + 5 * PAGE_BYTES);
    region_account(-(ptrdiff_t)(5 * PAGE_BYTES));
    require(region_footprint() == before + 3 * BLOCK_BYTES);
}

Test(region, unmapped_pages_are_gone_with_their_addresses) {
    struct region region = region_map(2 * BLOCK_BYTES, BLOCK_BYTES, false, 0);
    size_t space = address_space_bytes(), footprint = region_footprint();
    require(region_unmap(region.pfn + BLOCK_PAGES, BLOCK_PAGES));
    require(space - address_space_bytes() == BLOCK_BYTES && footprint - region_footprint() == BLOCK_BYTES);
    require(resident_pages(pfn_pointer(region.pfn + BLOCK_PAGES), BLOCK_BYTES) == SIZE_MAX);
    memset(pfn_pointer(region.pfn), 1, BLOCK_BYTES);
}

Test(region, a_refused_unmap_says_so_and_changes_nothing) {
    struct region region = region_map(BLOCK_BYTES, BLOCK_BYTES, false, 0);
    memset(pfn_pointer(region.pfn), 7, BLOCK_BYTES);
    size_t footprint = region_footprint();
    refuse(SYS_UNMAP, 0, UINT_MAX);
    require(!region_unmap(region.pfn, BLOCK_PAGES));
    require(region_footprint() == footprint && all_bytes_are(pfn_pointer(region.pfn), BLOCK_BYTES, 7));
}

Test(region, a_small_heap_is_kept_off_huge_pages) {
    struct region region = region_map(2 * BLOCK_BYTES, BLOCK_BYTES, false, 0);
    require(!region.huge);
    if (kernel_has_huge_pages()) {
        require(has_vm_flag(pfn_pointer(region.pfn), " nh"));
    }
    memset(pfn_pointer(region.pfn), 1, 1);
    require(resident_pages(pfn_pointer(region.pfn), 2 * BLOCK_BYTES) == 1);
}

Test(region, a_big_heap_asks_for_huge_pages_before_the_first_touch) {
    struct region region = region_map(2 * BLOCK_BYTES, BLOCK_BYTES, true, 0);
    require(region.huge == kernel_has_huge_pages());
    require(has_vm_flag(pfn_pointer(region.pfn), " hg") == region.huge);
}

Test(region, refused_advice_leaves_ordinary_pages) {
    refuse(SYS_ADVISE, 0, UINT_MAX);
    struct region region = region_map(2 * BLOCK_BYTES, BLOCK_BYTES, true, 0);
    require(!region.huge);
    must_be_usable(&region);
}

Test(region, refused_binding_leaves_memory_of_any_node) {
    refuse(SYS_BIND, 0, UINT_MAX);
    struct region region = region_map(2 * BLOCK_BYTES, BLOCK_BYTES, false, 1);
    require(plan.seen == 1);
    must_be_usable(&region);
}

Test(region, purged_pages_read_zero_and_are_not_resident) {
    struct region region = region_map(2 * BLOCK_BYTES, BLOCK_BYTES, false, 0);
    char *p = pfn_pointer(region.pfn);
    memset(p, 7, 2 * BLOCK_BYTES);
    require(region_purge(region.pfn + 10, 100));
    size_t kernel_pages = BLOCK_BYTES * 2 / (size_t)sysconf(_SC_PAGESIZE);
    size_t purged = 100 * PAGE_BYTES / (size_t)sysconf(_SC_PAGESIZE);
    require(resident_pages(p, 2 * BLOCK_BYTES) == kernel_pages - purged);
    require(all_bytes_are(p, 10 * PAGE_BYTES, 7));
    require(all_bytes_are(p + 10 * PAGE_BYTES, 100 * PAGE_BYTES, 0));
    require(all_bytes_are(p + 110 * PAGE_BYTES, 2 * BLOCK_BYTES - 110 * PAGE_BYTES, 7));
}

Test(region, a_refused_purge_says_so_and_changes_nothing) {
    struct region region = region_map(BLOCK_BYTES, BLOCK_BYTES, false, 0);
    memset(pfn_pointer(region.pfn), 7, BLOCK_BYTES);
    refuse(SYS_ADVISE, 0, UINT_MAX);
    require(!region_purge(region.pfn, BLOCK_PAGES));
    require(all_bytes_are(pfn_pointer(region.pfn), BLOCK_BYTES, 7));
}

/* A locked page cannot be given back; believing otherwise would make calloc return old bytes. */
Test(region, a_locked_page_is_not_taken_for_zero) {
    struct region region = region_map(BLOCK_BYTES, BLOCK_BYTES, false, 0);
    unsigned char *p = pfn_pointer(region.pfn);
    memset(p, 7, 16 * PAGE_BYTES);
    if (syscall(SYS_mlock, p + 4 * PAGE_BYTES, PAGE_BYTES)) { /* sanitizers make mlock do nothing */
        cr_skip_test("mlock is refused here");
    }
    require(!region_purge(region.pfn, 16) || all_bytes_are(p, 16 * PAGE_BYTES, 0));
    require(!region_purge(region.pfn + 4, 1));
    require(p[4 * PAGE_BYTES] == 7);
}
