/* hugepages:hugetlb promises: the pool's pages while it has some, transparent huge pages after, never a signal; and all
 * of the pool's pages back when nothing is in them. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "hugetlb_pool.h"

#include "faults.h"
#include "hugetlb.h"
#include "mapping.h"
#include "pagemap.h"
#include "region.h"
#include "zone.h"

#define HUGE (2 * MIB)

/* The first pageblocks are ordinary memory: used up here, so that what tests allocate is from the pool. */
static void *first_block[2];

static void from_the_pool(void) {
    options.pool_shift = 21;
    options.background = false;
    options.decay_ms = 1000000;
    for (size_t i = 0; i < COUNT_OF(first_block); i++) {
        first_block[i] = slabmalloc_malloc(2 * MIB);
    }
}

TestSuite(hugetlb, .init = from_the_pool);

static bool in_pool(const void *p) {
    return smaps_bytes(p, "KernelPageSize") == HUGE;
}

/* Blocks of BYTES, held and written to. */
#define BLOCKS_MAX 65536
static char *block[BLOCKS_MAX];
static size_t nblocks;

static void take_blocks(size_t bytes, size_t total) {
    for (size_t done = 0; done < total; done += bytes) {
        MUST(nblocks < BLOCKS_MAX);
        block[nblocks] = slabmalloc_malloc(bytes);
        MUST(block[nblocks]);
        words_fill(block[nblocks], bytes, nblocks);
        nblocks++;
    }
}

static void free_blocks(size_t bytes) {
    for (size_t i = 0; i < nblocks; i++) {
        MUST(words_hold(block[i], bytes, i));
        slabmalloc_free(block[i]);
    }
    nblocks = 0;
}

/* The issue's own words: a pool of N pages and a demand of 2 N; N pages are used, the rest is transparent; all N back.
 */
static void must_use_all_and_give_back(size_t bytes, long n) {
    take_blocks(bytes, 2 * (size_t)n * HUGE);
    require(pool_free() == 0, "%zu: %ld pages of the pool left", bytes, pool_free());
    MUST_BE_SOUND();
    free_blocks(bytes);
    slabmalloc_trim();
    MUST_BE_SOUND();
    require(pool_free() == n, "%zu: %ld of %ld pages back", bytes, pool_free(), n);
}

Test(hugetlb, small_objects_use_the_pool_and_then_other_memory) {
    NEEDS_POOL(9);
    must_use_all_and_give_back(1000, 9);
    must_use_all_and_give_back(1000, 9);
}

Test(hugetlb, page_runs_use_the_pool_and_then_other_memory) {
    NEEDS_POOL(9);
    must_use_all_and_give_back(300 * KIB, 9);
    must_use_all_and_give_back(2 * MIB, 9);
}

Test(hugetlb, large_blocks_use_the_pool_and_then_other_memory) {
    NEEDS_POOL(9);
    must_use_all_and_give_back(5 * MIB, 9);
    must_use_all_and_give_back(36 * MIB, 9); /* more than the pool in one */
}

/* The first blocks live longest: a page of the pool that has one of them never goes back. */
Test(hugetlb, what_a_process_allocates_first_keeps_no_page_of_the_pool) {
    NEEDS_POOL(4);
    slabmalloc_free(first_block[0]);
    slabmalloc_free(first_block[1]);
    char *first[] = {slabmalloc_malloc(100), slabmalloc_malloc(4096), slabmalloc_malloc(70 * KIB)};
    require(pool_free() == 4 && !in_pool(first[0]));
    take_blocks(1000, 8 * HUGE);
    require(pool_free() == 0);
    free_blocks(1000);
    slabmalloc_trim();
    require(pool_free() == 4, "%ld of 4 pages back", pool_free());
    for (size_t i = 0; i < COUNT_OF(first); i++) {
        slabmalloc_free(first[i]);
    }
    MUST_BE_SOUND();
}

/* Of what is in use. */
static size_t in_use(const struct slabmalloc_stats *s) {
    return s->zone_bytes - s->zone_free_bytes + s->mapping_bytes;
}

Test(hugetlb, statistics_say_what_lies_on_the_pool) {
    NEEDS_POOL(9);
    require(stats_now().hugetlb_bytes == 0);
    take_blocks(1000, 5 * HUGE);
    struct slabmalloc_stats few = stats_now();
    require(few.hugetlb_bytes > 4 * HUGE && few.hugetlb_bytes + 2 * HUGE == in_use(&few) && !few.thp_bytes);
    char *p = slabmalloc_malloc(2 * HUGE + 100 * KIB);
    struct slabmalloc_stats more = stats_now();
    require(more.hugetlb_bytes == few.hugetlb_bytes + 2 * HUGE && !more.hugetlb_1g_bytes);
    slabmalloc_free(p);
    free_blocks(1000);
    slabmalloc_trim();
    require(stats_now().hugetlb_bytes == 0);
}

Test(hugetlb, a_block_just_above_a_page_takes_one_of_the_pool) {
    NEEDS_POOL(3);
    char *p = slabmalloc_malloc(HUGE + 100 * KIB);
    memset(p, 1, HUGE + 100 * KIB);
    require(in_pool(p) && in_pool(p + HUGE - 1) && !in_pool(p + HUGE) && pool_free() == 2);
    slabmalloc_free(p);
    require(pool_free() == 3); /* at once */
}

Test(hugetlb, what_the_pool_has_not_is_transparent_huge_pages) {
    NEEDS_POOL(2);
    options.huge_threshold = 0;
    char *p = slabmalloc_malloc(12 * HUGE);
    memset(p, 1, 12 * HUGE);
    require(in_pool(p) && in_pool(p + HUGE) && !in_pool(p + 2 * HUGE));
    if (!access("/sys/kernel/mm/transparent_hugepage/enabled", F_OK)) {
        require(smaps_bytes(p + 4 * HUGE, "AnonHugePages") > 0);
    }
}

Test(hugetlb, an_empty_pool_is_no_difference_to_the_program) {
    NEEDS_POOL(0);
    take_blocks(1000, 4 * MIB);
    take_blocks(1000, 4 * MIB);
    free_blocks(1000);
    take_blocks(9 * MIB, 20 * MIB);
    free_blocks(9 * MIB);
    MUST_BE_SOUND();
}

/* Linux before 5.16 moves no hugetlb pages. */
Test(hugetlb, pages_of_the_pool_that_cannot_be_moved_are_no_difference_to_the_program) {
    NEEDS_POOL(4);
    size_t before = region_footprint();
    refuse(SYS_REMAP, 0, UINT_MAX);
    for (unsigned i = 0; i < 3; i++) {
        char *p = slabmalloc_malloc(5 * MIB);
        require(p && pool_free() == 4, "block %u", i);
        memset(p, 1, 5 * MIB);
        require(!in_pool(p) && plan.seen == 1, "refused %u times", plan.seen); /* and not asked again */
        slabmalloc_free(p);
    }
    slabmalloc_trim();
    MUST_BE_SOUND();
    require(region_footprint() - before < 5 * MIB);
}

/* The second piece is refused: the first, and what follows, are not given up. */
Test(hugetlb, what_was_laid_before_a_refusal_goes_back_to_the_pool) {
    NEEDS_POOL(3);
    refuse(SYS_REMAP, 1, UINT_MAX);
    char *p = slabmalloc_malloc(4 * HUGE);
    require(p && plan.seen == 2 && pool_free() == 3, "%ld left", pool_free());
    memset(p, 1, 4 * HUGE);
    slabmalloc_free(p);
    MUST_BE_SOUND();
}

Test(hugetlb, memory_of_the_pool_reads_zero_where_calloc_says_so) {
    NEEDS_POOL(6);
    for (unsigned round = 0; round < 4; round++) {
        static const size_t sizes[] = {100, 5000, 100 * KIB, MIB, 5 * MIB};
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            char *p = slabmalloc_calloc(1, sizes[i]);
            require(p && all_bytes_are(p, sizes[i], 0), "round %u size %zu", round, sizes[i]);
            memset(p, 0xff, sizes[i]);
            slabmalloc_free(p);
            if (round == 2) {
                slabmalloc_trim();
            }
        }
    }
}

Test(hugetlb, nothing_is_purged_out_of_a_page_of_the_pool) {
    NEEDS_POOL(8);
    take_blocks(3000, 10 * MIB);
    require(pool_free() < 8);
    long before = pool_free();
    for (size_t i = 0; i < nblocks; i++) {
        if (i % 16) {
            slabmalloc_free(block[i]);
        }
    }
    slabmalloc_trim(); /* holes everywhere, hardly a whole page */
    struct slabmalloc_stats stats = stats_now();
    require(stats.zone_dirty_bytes == 0 && stats.purged_bytes == 0);
    require(pool_free() >= before);
    for (size_t i = 0; i < nblocks; i += 16) {
        require(words_hold(block[i], 3000, i) && in_pool(block[i]));
        slabmalloc_free(block[i]);
    }
    MUST_BE_SOUND();
    slabmalloc_trim();
    require(pool_free() == 8);
}

Test(hugetlb, region_purge_refuses_pages_of_the_pool) {
    NEEDS_POOL(1);
    struct region region = region_map_pool(HUGE, HUGE, 0);
    require(region.npages == BLOCK_PAGES);
    block_set_pool_shift(pagemap_block(region.pfn), 21);
    char *p = pfn_pointer(region.pfn);
    p[PAGE_BYTES] = 7;
    require(!region_purge(region.pfn, 2) && !region_purge(region.pfn, BLOCK_PAGES) && p[PAGE_BYTES] == 7);
    require(pool_free() == 0 && region_unmap(region.pfn, BLOCK_PAGES) && pool_free() == 1);
    require(!block_pool_shift(pagemap_block(region.pfn))); /* whoever has the addresses next is not taken for it */
}

Test(hugetlb, blocks_grow_shrink_and_move_between_the_pool_and_other_memory) {
    NEEDS_POOL(10);
    static const size_t sizes[] = {3 * MIB, 9 * MIB, 100 * KIB, 30 * MIB, 2 * MIB + 1, 6 * MIB, 4 * MIB, 100, 41 * MIB};
    char *p = slabmalloc_malloc(MIB);
    size_t bytes = MIB;
    for (unsigned round = 0; round < 3; round++) {
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            words_fill(p, bytes, i);
            char *q = slabmalloc_realloc(p, sizes[i]);
            require(q && words_hold(q, min_size(bytes, sizes[i]) & ~(size_t)7, i), "to %zu", sizes[i]);
            p = q;
            bytes = sizes[i];
            MUST_BE_SOUND();
        }
    }
    slabmalloc_free(p);
    slabmalloc_trim();
    require(pool_free() == 10);
}

Test(hugetlb, shrinking_gives_whole_pages_of_the_pool_back) {
    NEEDS_POOL(5);
    char *p = slabmalloc_malloc(5 * HUGE);
    require(p && pool_free() == 0);
    require(slabmalloc_realloc(p, 2 * HUGE + 1) == p && pool_free() == 2);
    memset(p, 1, slabmalloc_usable_size(p));
    slabmalloc_free(p);
    require(pool_free() == 5);
}

Test(hugetlb, decay_returns_free_pages_of_the_pool) {
    NEEDS_POOL(8);
    take_blocks(MIB, 8 * HUGE);
    require(pool_free() == 0);
    free_blocks(MIB);
    slabmalloc_free(slabmalloc_malloc(100));
    zone_decay(1);
    uint64_t now = 1;
    for (unsigned i = 0; i < 12; i++) {
        now += 2000000;
        zone_decay(now);
    }
    require(pool_free() >= 6, "%ld", pool_free());
    zone_decay_all();
    require(pool_free() >= 7, "%ld", pool_free());
}

Test(hugetlb, refusals_of_the_pool_cost_nothing_but_the_pool) {
    NEEDS_POOL(4);
    for (long refused = 0; refused < 6; refused++) {
        fault_arm(1u << SYS_HUGE, refused, refused + 1);
        take_blocks(100 * KIB, 4 * MIB);
        take_blocks(100 * KIB, 6 * MIB);
        fault_disarm();
        MUST_BE_SOUND();
        free_blocks(100 * KIB);
        slabmalloc_trim();
        require(pool_free() == 4);
    }
    /* Populating is an advice: refused, it is as if the pool were empty. */
    fault_arm(1u << SYS_ADVISE, 0, FOREVER);
    take_blocks(5 * MIB, 10 * MIB);
    fault_disarm();
    require(pool_free() == 4 && !in_pool(block[0]));
    free_blocks(5 * MIB);
}

Test(hugetlb, a_refused_unmap_keeps_the_page_for_later) {
    NEEDS_POOL(4);
    take_blocks(MIB, 3 * HUGE);
    free_blocks(MIB);
    fault_arm(1u << SYS_UNMAP, 0, FOREVER);
    slabmalloc_trim();
    require(fault_disarm() > 0);
    MUST_BE_SOUND();
    take_blocks(MIB, 3 * HUGE);
    require(in_pool(block[0]));
    free_blocks(MIB);
    slabmalloc_trim();
    require(pool_free() == 4);
}

/* Addresses that once were the pool's are ordinary memory later, and the other way round. */
Test(hugetlb, addresses_change_hands) {
    NEEDS_POOL(6);
    for (unsigned round = 0; round < 6; round++) {
        options.pool_shift = round % 2 ? 0 : 21;
        take_blocks(500 * KIB, 4 * HUGE);
        take_blocks(500 * KIB, 4 * HUGE);
        MUST_BE_SOUND();
        free_blocks(500 * KIB);
        slabmalloc_trim();
        MUST_BE_SOUND();
        require(pool_free() == 6 && stats_now().zone_dirty_bytes == 0);
    }
}

/* Pages of 1 GiB hold 512 pageblocks: they go back when all of these are free, and not before. */
Test(hugetlb, pages_of_a_gib_come_and_go_as_a_whole) {
    pool_page_kib = 1048576;
    NEEDS_POOL(1);
    options.pool_shift = 30;
    take_blocks(300 * KIB, 20 * MIB);
    require(pool_free() == 0 && smaps_bytes(block[0], "KernelPageSize") == GIB);
    char *kept = block[nblocks / 2], *large = slabmalloc_malloc(GIB + 5 * MIB); /* the pool has no other */
    require(large && smaps_bytes(large, "KernelPageSize") == PAGE_BYTES);
    slabmalloc_free(large);
    for (size_t i = 0; i < nblocks; i++) {
        MUST(words_hold(block[i], 300 * KIB, i));
        if (block[i] != kept) {
            slabmalloc_free(block[i]);
        }
    }
    slabmalloc_trim();
    MUST_BE_SOUND();
    require(pool_free() == 0 && words_hold(kept, 300 * KIB, nblocks / 2));
    slabmalloc_free(kept);
    slabmalloc_trim();
    MUST_BE_SOUND();
    require(pool_free() == 1);
    nblocks = 0;
    large = slabmalloc_malloc(GIB + 5 * MIB);
    memset(large + GIB - MIB, 1, 6 * MIB);
    require(pool_free() == 0 && smaps_bytes(large, "KernelPageSize") == GIB);
    require(smaps_bytes(large + GIB, "KernelPageSize") == PAGE_BYTES);
    slabmalloc_free(large);
    require(pool_free() == 1);
}

static void change_all(void *arg) {
    (void)arg;
    for (size_t i = 0; i < nblocks; i++) {
        MUST(words_hold(block[i], 100 * KIB, i));
        words_fill(block[i], 100 * KIB, i + 1);
    }
    take_blocks(100 * KIB, MIB);
    MUST_BE_SOUND();
    for (size_t i = 0; i < nblocks; i++) {
        slabmalloc_free(block[i]);
    }
    slabmalloc_trim();
    MUST_BE_SOUND();
}

Test(hugetlb, a_fork_child_writes_to_its_own_copy_where_the_pool_is_empty) {
    NEEDS_POOL(6);
    take_blocks(100 * KIB, 8 * HUGE);
    require(pool_free() == 0);
    for (unsigned round = 0; round < 3; round++) {
        child_must_end_well(change_all, NULL);
        require(pool_free() == 0 && in_pool(block[0]));
    }
    free_blocks(100 * KIB);
    slabmalloc_trim();
    require(pool_free() == 6);
}

Test(hugetlb, fork_without_memory_for_copies_is_still_a_fork) {
    NEEDS_POOL(6);
    take_blocks(100 * KIB, 2 * HUGE);
    for (enum sys_call call = 0; call < SYS_NCALLS; call++) {
        fault_arm(1u << call, 0, FOREVER);
        pid_t pid = fork();
        MUST(pid >= 0);
        if (!pid) {
            _exit(0);
        }
        int status;
        MUST(waitpid(pid, &status, 0) == pid);
        fault_disarm();
        MUST_BE_GOOD_END(status);
    }
    free_blocks(100 * KIB);
}

static void come_and_go(unsigned index) {
    struct rng rng = {index};
    static const size_t most[] = {200, 5000, 60000, 600000, 5000000};
    struct {
        char *p;
        size_t bytes;
    } held[24] = {{0}};
    for (unsigned long step = 0; step < rounds(3000); step++) {
        size_t i = rng_below(&rng, COUNT_OF(held));
        if (held[i].p) {
            MUST(words_hold(held[i].p, held[i].bytes, index));
            slabmalloc_free(held[i].p);
            held[i].p = NULL;
        } else {
            held[i].bytes = 1 + random_size(&rng, most[rng_below(&rng, COUNT_OF(most))]);
            held[i].p = slabmalloc_malloc(held[i].bytes);
            MUST(held[i].p);
            words_fill(held[i].p, held[i].bytes, index);
        }
        if (step % 500 == index) {
            slabmalloc_trim();
        }
    }
    for (size_t i = 0; i < COUNT_OF(held); i++) {
        slabmalloc_free(held[i].p);
    }
}

Test(hugetlb, threads_share_a_pool_that_is_too_small) {
    NEEDS_POOL(12);
    options.decay_ms = 5;
    threads_run(4, come_and_go);
    MUST_BE_SOUND();
    slabmalloc_trim();
    require(pool_free() == 12, "%ld", pool_free());
}
