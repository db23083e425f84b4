/*
 * A machine with the NUMA nodes 0, 1 and 3, made up: the linker puts the functions below in the place of those that ask
 * the kernel (--wrap in test/local.mk). What real nodes do with the memory is for test/numa to see.
 */
#include "faults.h"
#include "magazine.h"
#include "options.h"
#include "region.h"
#include "slabmalloc/pages.h"
#include "support.h"
#include "zone.h"

static const unsigned nodes[] = {0, 1, 3};
static _Atomic unsigned node_here;

static struct {
    const char *address;
    size_t bytes;
    unsigned node;
} bound[256];
static unsigned nbound;

uint64_t __wrap_sys_nodes(void);
unsigned __wrap_sys_node(void);
int __wrap_sys_bind(void *address, size_t bytes, unsigned node);

static uint64_t nodes_now = 1u << 0 | 1u << 1 | 1u << 3; /* 0: the kernel does not say */

uint64_t __wrap_sys_nodes(void) {
    return nodes_now;
}

unsigned __wrap_sys_node(void) {
    return node_here;
}

int __wrap_sys_bind(void *address, size_t bytes, unsigned node) {
    MUST(nbound < COUNT_OF(bound));
    bound[nbound].address = address;
    bound[nbound].bytes = bytes;
    bound[nbound++].node = node;
    return 0;
}

/* A thread of which the program set a memory policy. */
static bool policy_set;
bool __wrap_sys_has_policy(void);
bool __wrap_sys_has_policy(void) {
    return policy_set;
}

static uint64_t spread_over; /* the nodes of the last request for interleaved memory */
static const char *spread_at;
int __wrap_sys_interleave(void *address, size_t bytes, uint64_t over);
int __wrap_sys_interleave(void *address, size_t bytes, uint64_t over) {
    (void)bytes;
    spread_at = address;
    spread_over = over;
    return 0;
}

/* What sysfs says of node 2, which has processors and no memory, too; of 4, which is offline, nothing. */
static const char *online = "0-3\n";
static unsigned files_read;
int __wrap_sys_read_file(const char *path, char *text, size_t bytes);
int __wrap_sys_read_file(const char *path, char *text, size_t bytes) {
    static const char *const files[][2] = {
        {"/sys/devices/system/node/node0/distance", "10 30 21 20\n"},
        {"/sys/devices/system/node/node1/distance", "30 10 12 40\n"},
        {"/sys/devices/system/node/node2/distance", "21 12 10 17\n"},
        {"/sys/devices/system/node/node3/distance", "20 40 17 10\n"},
    };
    files_read++;
    if (!strcmp(path, "/sys/devices/system/node/online") && online) {
        return snprintf(text, bytes, "%s", online);
    }
    for (unsigned i = 0; i < COUNT_OF(files); i++) {
        if (!strcmp(path, files[i][0])) {
            return snprintf(text, bytes, "%s", files[i][1]);
        }
    }
    return -ENOENT;
}

/* The node that the kernel was asked to take P's pages from. */
static unsigned bound_to(const void *p) {
    for (unsigned i = 0; i < nbound; i++) {
        if ((const char *)p >= bound[i].address && (const char *)p < bound[i].address + bound[i].bytes) {
            return bound[i].node;
        }
    }
    return UINT_MAX;
}

static unsigned node_of(const void *p) {
    return zone_of(pointer_pfn(p))->node;
}

static void setup(void) {
    zone_init();
}

TestSuite(nodes, .init = setup);

static struct lock *locks[ZONES_MAX + 1];
static unsigned nlocks;

static void note_lock(struct lock *lock) {
    locks[nlocks++] = lock;
}

Test(nodes, there_are_three_with_three_zones_each) {
    MUST(zone_node_count() == 3);
    zone_each_lock(note_lock);
    MUST(nlocks == 1 + 4 * ZONE_KINDS && locks[0] == numa_lock()); /* those of NODE_ANY too */
    for (unsigned i = 2; i < nlocks; i++) {
        MUST(locks[i] > locks[i - 1]);
    }
}

Test(nodes, each_zone_knows_its_node_and_binds_its_memory_to_it) {
    for (unsigned i = 0; i < COUNT_OF(nodes); i++) {
        for (unsigned kind = 0; kind < ZONE_KINDS; kind++) {
            uintptr_t pfn = zone_alloc(nodes[i], kind, GROUP_RUN, 1, 0);
            MUST(pfn);
            const struct zone *zone = zone_of(pfn);
            MUST(zone->node == nodes[i] && zone->kind == kind && zone->index == nodes[i] * ZONE_KINDS + kind);
            MUST(bound_to(pfn_pointer(pfn)) == nodes[i]);
        }
    }
    unsigned count = 0;
    int before = -1;
    for (struct zone *zone = zone_next(NULL); zone; zone = zone_next(zone), count++) {
        MUST(zone->index > before);
        before = zone->index;
    }
    MUST(count == 3 * ZONE_KINDS);
}

Test(nodes, node_that_is_not_there_is_served_by_the_nearest_one) {
    static const struct { unsigned asked, served; } cases[] = {{2, 1}, {4, 0}, {63, 0}};
    for (unsigned i = 0; i < COUNT_OF(cases); i++) {
        uintptr_t pfn = zone_alloc(cases[i].asked, ZONE_NORMAL, GROUP_RUN, 1, 0);
        MUST(pfn && zone_of(pfn)->node == cases[i].served);
    }
}

/* Leaves one free pageblock in each of NODE's zones. */
static void one_free_pageblock_each(unsigned node) {
    for (unsigned kind = 0; kind < ZONE_KINDS; kind++) {
        uintptr_t pfn = zone_alloc(node, kind, GROUP_RUN, BLOCK_PAGES, 0);
        MUST(pfn && zone_of(pfn)->node == node && zone_of(pfn)->kind == kind);
        while (zone_of(pfn)->buddy.free_pages) {
            MUST(zone_alloc(node, kind, GROUP_RUN, BLOCK_PAGES, 0));
        }
        zone_free(pfn, BLOCK_PAGES, 0);
    }
}

Test(nodes, zonelist_goes_through_all_kinds_of_a_node_before_the_next_node) {
    static const struct {
        unsigned node;
        enum zone_kind kind;
    } expected[] = {{1, ZONE_NORMAL},  {1, ZONE_HIGHMEM}, {0, ZONE_NORMAL},
                    {0, ZONE_HIGHMEM}, {3, ZONE_NORMAL},  {3, ZONE_HIGHMEM}};
    for (unsigned i = 0; i < COUNT_OF(nodes); i++) {
        one_free_pageblock_each(nodes[i]);
    }
    refuse(SYS_MAP, 0, UINT_MAX);
    for (unsigned i = 0; i < COUNT_OF(expected); i++) {
        uintptr_t pfn = zone_alloc(1, ZONE_NORMAL, GROUP_RUN, BLOCK_PAGES, 0);
        MUST(pfn && zone_of(pfn)->node == expected[i].node && zone_of(pfn)->kind == expected[i].kind);
    }
    MUST(!zone_alloc(1, ZONE_NORMAL, GROUP_RUN, 1, 0));
    static const unsigned from_0[] = {0, 3, 1};
    for (unsigned i = 0; i < COUNT_OF(from_0); i++) { /* DMA is only for those who ask, on any node */
        MUST(zone_of(zone_alloc(0, ZONE_DMA, GROUP_RUN, BLOCK_PAGES, 0))->node == from_0[i]);
    }
}

Test(nodes, fitting_request_looks_at_its_own_node) {
    uintptr_t pfn = zone_alloc(3, ZONE_NORMAL, GROUP_SLAB, BLOCK_PAGES, 0);
    zone_free(pfn + 4, 2, 2); /* a dirty block of two pages on node 3 */
    size_t npages = 8;
    MUST(zone_alloc_fit(3, ZONE_NORMAL, GROUP_SLAB, &npages, 1) == pfn + 4 && npages == 2);
    npages = 8;
    uintptr_t other = zone_alloc_fit(1, ZONE_NORMAL, GROUP_SLAB, &npages, 1);
    MUST(npages == 8 && zone_of(other)->node == 1);
}

/* --- Distances --- */

static void must_be_near(unsigned node, const unsigned *order, unsigned n) {
    bool seen[NODES_MAX] = {false};
    for (unsigned i = 0; i < NODES_MAX; i++) {
        unsigned near = numa_near(node, i, true);
        MUST(near < NODES_MAX && !seen[near] && (i >= n || near == order[i]));
        seen[near] = true;
    }
}

Test(nodes, nodes_are_near_as_sysfs_says_and_those_offline_are_the_farthest) {
    must_be_near(0, (const unsigned[]){0, 3, 2, 1, 4, 5}, 6);
    must_be_near(1, (const unsigned[]){1, 2, 0, 3, 4, 5}, 6);
    must_be_near(2, (const unsigned[]){2, 1, 3, 0, 4, 5}, 6);
    must_be_near(3, (const unsigned[]){3, 2, 0, 1, 4, 5}, 6);
}

/* The file of a node has as many numbers as nodes are online. */
Test(nodes, distances_are_those_of_the_nodes_online) {
    online = "0-1,3,70\n";
    must_be_near(0, (const unsigned[]){0, 3, 1, 2, 4}, 5);
}

Test(nodes, without_sysfs_the_following_nodes_are_near) {
    online = NULL;
    must_be_near(1, (const unsigned[]){1, 2, 3, 4}, 4);
    must_be_near(63, (const unsigned[]){63, 0, 1}, 3);
}

Test(nodes, distances_are_read_when_a_request_looks_beyond_its_node_and_once) {
    MUST(zone_alloc(1, ZONE_NORMAL, GROUP_RUN, 1, 0) && files_read == 0);
    MUST(numa_near(1, 1, false) == 2 && files_read == 0);
    numa_near(1, 1, true);
    unsigned before = files_read;
    MUST(before == 2 && numa_near(1, 2, true) == 0 && numa_near(1, 2, false) == 0 && files_read == before);
}

/* --- Homes --- */

Test(nodes, home_of_a_thread_is_its_node_or_the_nearest_it_may_use) {
    static const struct { unsigned here, home; } cases[] = {{0, 0}, {1, 1}, {2, 1}, {3, 3}, {63, 0}};
    for (unsigned i = 0; i < COUNT_OF(cases); i++) {
        node_here = cases[i].here;
        MUST(numa_home() == cases[i].home);
    }
}

Test(nodes, thread_with_a_policy_gets_memory_that_is_bound_to_no_node) {
    node_here = 1;
    policy_set = true;
    MUST(numa_home() == NODE_ANY);
    struct owner *owner = owner_borrow();
    void *p = magazine_take_one(owner, 5);
    MUST(owner->node == NODE_ANY && node_of(p) == NODE_ANY && bound_to(p) == UINT_MAX && !spread_at);
    owner_return(owner);
    policy_set = false;
    MUST(numa_home() == 1);
    MUST_BE_SOUND();
}

/* A thread's owner is of the home it had at its first call. */
static void with_option_off(unsigned index) {
    (void)index;
    options.numa = NUMA_OFF;
    void *large = slabmalloc_malloc(3 * MIB), *run = slabmalloc_malloc(100 * KIB);
    MUST(numa_home() == NODE_ANY && node_of(run) == NODE_ANY && nbound == 0 && !spread_at);
    slabmalloc_free(large);
    slabmalloc_free(run);
}

Test(nodes, option_off_binds_nothing) {
    threads_run(1, with_option_off);
}

static void with_option_interleave(unsigned index) {
    (void)index;
    options.numa = NUMA_INTERLEAVE;
    const char *run = slabmalloc_malloc(100 * KIB);
    MUST(node_of(run) == NODE_ANY && spread_over == nodes_now && run - spread_at < (ptrdiff_t)(4 * MIB) && nbound == 0);
    const char *large = slabmalloc_malloc(3 * MIB);
    MUST(spread_at == large && spread_over == nodes_now && nbound == 0);
    struct slabmalloc_numa_stats any;
    MUST(!slabmalloc_numa_stats(SLABMALLOC_ANY_NODE, &any, sizeof any));
    MUST(any.interleave == any.hit && any.hit == 25 && !any.local && !any.other);
}

Test(nodes, option_interleave_spreads_over_all_nodes_before_the_first_touch) {
    threads_run(1, with_option_interleave);
}

static void with_option_node(unsigned index) {
    (void)index;
    options.numa = NUMA_NODE;
    options.numa_node = 3;
    MUST(numa_home() == 3);
    void *large = slabmalloc_malloc(3 * MIB);
    MUST(bound_to(large) == 3 && node_of(slabmalloc_malloc(100)) == 3);
    options.numa_node = 2;
    MUST(numa_home() == 1);
}

Test(nodes, option_node_takes_all_from_one_node_or_the_nearest) {
    threads_run(1, with_option_node);
}

/* What is cached of one home is not given to another. */
Test(nodes, large_blocks_of_one_node_are_not_reused_on_another) {
    void *first = slabmalloc_malloc(3 * MIB);
    slabmalloc_free(first);
    node_here = 1;
    void *second = slabmalloc_malloc(3 * MIB);
    node_here = 0;
    MUST(second != first && slabmalloc_malloc(3 * MIB) == first);
    MUST_BE_SOUND();
}

/* --- Nodes that come and go --- */

Test(nodes, nodes_that_come_get_zones_and_those_that_go_keep_theirs) {
    MUST(!zone_refresh_nodes());
    nodes_now |= (uint64_t)1 << 40;
    MUST(!zone_find(40, ZONE_NORMAL) && zone_refresh_nodes() && zone_node_count() == 4);
    uintptr_t pfn = zone_alloc(40, ZONE_NORMAL, GROUP_RUN, 1, 0);
    MUST(pfn && zone_of(pfn)->node == 40 && bound_to(pfn_pointer(pfn)) == 40);
    nodes_now = 1u << 3;
    MUST(zone_refresh_nodes() && !zone_refresh_nodes() && zone_node_count() == 4 && numa_home() == 3);
    zone_free(pfn, 1, 1);
    MUST(zone_alloc(40, ZONE_NORMAL, GROUP_RUN, 1, 0) == pfn);
    nodes_now = 0; /* refused */
    MUST(!zone_refresh_nodes() && numa_home() == 3);
}

/* In calls and in time. */
static void let_it_see(void) {
    sys_sleep(600);
    for (unsigned i = 0; i < 5 * 32; i++) {
        slabmalloc_free(slabmalloc_malloc(100 * KIB));
    }
}

Test(nodes, thread_goes_to_a_node_that_it_may_use_again_and_free_memory_begins_anew) {
    options.decay_ms = -1;
    node_here = 1;
    MUST(owner_have()->node == 0); /* adopted before the test */
    let_it_see();
    MUST(owner_have()->node == 1);
    void *p = slabmalloc_malloc(1 * MIB);
    memset(p, 1, 1 * MIB);
    slabmalloc_free(p);
    size_t purged = stats_now().purged_bytes;
    nodes_now = 1u << 0 | 1u << 3;
    let_it_see();
    MUST(owner_have()->node == 0 && stats_now().purged_bytes >= purged + 1 * MIB);
    nodes_now |= 1u << 1;
    let_it_see();
    MUST(owner_have()->node == 1 && node_of(slabmalloc_malloc(100)) == 1);
    MUST_BE_SOUND();
}

/* --- Counters --- */

static struct slabmalloc_numa_stats counted(int node) {
    struct slabmalloc_numa_stats stats;
    MUST(!slabmalloc_numa_stats(node, &stats, sizeof stats));
    return stats;
}

Test(nodes, pages_are_counted_as_numastat_does) {
    node_here = 1;
    zone_alloc(1, ZONE_NORMAL, GROUP_RUN, 7, 0);
    zone_alloc(1, ZONE_HIGHMEM, GROUP_RUN, 2, 0);
    zone_alloc(3, ZONE_NORMAL, GROUP_RUN, 5, 0);
    MUST(counted(1).hit == 9 && counted(1).local == 9 && counted(1).other == 0);
    MUST(counted(3).hit == 5 && counted(3).local == 0 && counted(3).other == 5);
    zone_alloc(2, ZONE_NORMAL, GROUP_RUN, 4, 0); /* node 2 has no zones: nobody's foreign */
    MUST(counted(1).miss == 4 && counted(1).hit == 9 && counted(1).local == 13);
    refuse(SYS_MAP, 0, UINT_MAX);
    while (counted(3).foreign == 0) {
        MUST(zone_alloc(3, ZONE_NORMAL, GROUP_RUN, 1, 0));
    }
    MUST(counted(3).foreign == 1 && counted(0).miss + counted(1).miss == 5);
    for (int node = 0; node < 4; node++) {
        if (node != 2) {
            MUST(counted(node).hit + counted(node).miss == counted(node).local + counted(node).other);
        }
    }
    struct slabmalloc_numa_stats none;
    errno = 0;
    MUST(slabmalloc_numa_stats(2, &none, sizeof none) == -1 && errno == EINVAL);
    MUST(slabmalloc_numa_stats(NODE_ANY, &none, sizeof none) == -1);
}

Test(nodes, set_bound_to_no_node_goes_by_the_name_of_any_node) {
    struct slabmalloc_zone zones[ZONES_MAX];
    size_t n = slabmalloc_zones(zones, COUNT_OF(zones));
    MUST(n == 4 * ZONE_KINDS && zones[n - 1].node == SLABMALLOC_ANY_NODE);
    policy_set = true;
    uintptr_t pfn = zone_alloc(NODE_ANY, ZONE_NORMAL, GROUP_RUN, 1, 0);
    struct slabmalloc_page_info page;
    struct slabmalloc_zone_info zone;
    MUST(slabmalloc_page_info(pfn_pointer(pfn), &page, sizeof page) && page.node == -1 &&
         page.kind == SLABMALLOC_ZONE_NORMAL);
    MUST(!slabmalloc_zone_info(zones[n - 2], &zone, sizeof zone) && zone.mapped_pages);
}

/* --- Blocks of pages --- */

static struct slabmalloc_zone normal_of(unsigned node) {
    return (struct slabmalloc_zone){(int)node, SLABMALLOC_ZONE_NORMAL};
}

Test(nodes, block_of_pages_comes_from_the_node_asked_for_or_that_of_the_thread) {
    for (unsigned i = 0; i < COUNT_OF(nodes); i++) {
        for (unsigned order = 0; order <= 11; order++) {
            void *p = slabmalloc_alloc_pages_node((int)nodes[i], 0, order);
            MUST(p && node_of(p) == nodes[i] && bound_to(p) == nodes[i]);
            slabmalloc_free_pages(p, order);
            p = slabmalloc_alloc_pages(SLABMALLOC_PAGE_ZERO, order);
            MUST(p && node_of(p) == owner_have()->node);
            slabmalloc_free_pages(p, order);
        }
    }
    errno = 0;
    MUST(!slabmalloc_alloc_pages_node(2, 0, 0) && errno == EINVAL);
    MUST_BE_SOUND();
}

Test(nodes, this_node_means_no_other_node) {
    const struct slabmalloc_zone list[] = {normal_of(3), normal_of(1), {3, SLABMALLOC_ZONE_HIGHMEM}};
    const unsigned flags = SLABMALLOC_PAGE_NOWAIT | SLABMALLOC_PAGE_THISNODE;
    slabmalloc_free_pages(slabmalloc_alloc_pages_node(1, SLABMALLOC_PAGE_DMA, 0), 0); /* the heap has begun */
    one_free_pageblock_each(1);
    MUST(!slabmalloc_alloc_pages_node(3, flags, 9) && errno == ENOMEM);
    MUST(!slabmalloc_alloc_pages_zonelist(list, 3, flags, 9) && errno == ENOMEM);
    void *p = slabmalloc_alloc_pages_zonelist(list, 3, SLABMALLOC_PAGE_NOWAIT, 9);
    MUST(p && node_of(p) == 1);
    struct slabmalloc_zone_info first, second;
    MUST(!slabmalloc_zone_info(list[0], &first, sizeof first) &&
         !slabmalloc_zone_info(list[1], &second, sizeof second));
    MUST(first.misses == 3 && first.hits == 0 && second.fallbacks == 1 && second.misses == 0);
    slabmalloc_free_pages(p, 9);
    MUST(!slabmalloc_alloc_pages_node(3, flags, 9));
    p = slabmalloc_alloc_pages_node(3, SLABMALLOC_PAGE_NOWAIT, 9);
    MUST(p && node_of(p) != 3);
    slabmalloc_free_pages(p, 9);
    one_free_pageblock_each(3);
    p = slabmalloc_alloc_pages_zonelist(list + 1, 2, flags, 9);
    MUST(p && node_of(p) == 1 && !slabmalloc_alloc_pages_zonelist(list + 1, 2, flags, 9));
    p = slabmalloc_alloc_pages_node(3, flags, 9);
    MUST(p && node_of(p) == 3);
}

/* --- Threads on nodes --- */

static void use_node(unsigned node) {
    node_here = node;
    void *small = slabmalloc_malloc(100), *run = slabmalloc_malloc(100 * KIB);
    MUST(node_of(small) == node && node_of(run) == node);
    MUST(owner_have()->node == node);
    slabmalloc_free(small);
    slabmalloc_free(run);
}

static void use_node_by_index(unsigned index) {
    use_node(nodes[index]);
}

static void use_node_1(unsigned index) {
    (void)index;
    use_node(1);
}

Test(nodes, thread_gets_an_owner_and_memory_of_its_node) {
    for (unsigned i = 0; i < COUNT_OF(nodes); i++) {
        node_here = nodes[i];
        struct owner *owner = owner_borrow();
        MUST(owner->node == nodes[i]);
        void *p = magazine_take_one(owner, 5);
        MUST(node_of(p) == nodes[i] && bound_to(p) == nodes[i]);
        owner_return(owner);
    }
    threads_run(1, use_node_1);
    MUST_BE_SOUND();
}

Test(nodes, owner_of_an_exited_thread_serves_threads_of_its_node_only) {
    threads_run(1, use_node_1);
    uint32_t count = owner_count();
    threads_run(1, use_node_1);
    MUST(owner_count() == count);
    node_here = 3;
    struct owner *owner = owner_borrow();
    MUST(owner_count() == count + 1 && owner->node == 3);
    owner_return(owner);
}

static void *left[200];

static void leave_on_node_1(unsigned index) {
    (void)index;
    node_here = 1;
    for (size_t i = 0; i < COUNT_OF(left); i++) {
        left[i] = slabmalloc_malloc(1000);
    }
}

Test(nodes, slabs_are_stolen_within_a_node_only) {
    threads_run(1, leave_on_node_1);
    for (size_t i = 0; i < COUNT_OF(left); i += 2) {
        slabmalloc_free(left[i]);
    }
    node_here = 0;
    struct owner *far = owner_borrow();
    MUST(far->node == 0 && !owner_steal_slab(far, sizeclass_of(1000)));
    owner_return(far);
    node_here = 1;
    struct owner *near = owner_borrow();
    MUST(near->node == 1);
    void *p = magazine_take_one(near, sizeclass_of(1000));
    MUST(node_of(p) == 1);
    owner_return(near);
    MUST_BE_SOUND();
}

/* The library looks at the node every 64 slow calls; each of these pairs is two. */
static void let_it_look(unsigned times) {
    for (unsigned i = 0; i < times * 32; i++) {
        slabmalloc_free(slabmalloc_malloc(100 * KIB));
    }
}

/* It believes the fourth look in a row. */
static void move_to_node_3(unsigned index) {
    (void)index;
    use_node(1);
    struct owner *before = owner_have();
    node_here = 3;
    let_it_look(3);
    node_here = 1; /* home again: the count starts anew */
    let_it_look(1);
    node_here = 3;
    let_it_look(3);
    MUST(owner_have() == before);
    let_it_look(1);
    MUST(owner_have() != before && before->state == OWNER_IDLE);
    use_node(3);
}

Test(nodes, thread_that_moved_for_good_gets_an_owner_of_its_new_node) {
    threads_run(1, move_to_node_3);
    threads_run(1, use_node_by_index);
    MUST_BE_SOUND();
    slabmalloc_trim();
    MUST(stats_now().used_bytes == 0);
}
