/*
 * A machine with the NUMA nodes 0, 1 and 3, made up: the linker puts the functions below in the place of those that ask
 * the kernel (--wrap in test/local.mk). What real nodes do with the memory is for test/numa to see.
 */
#include "faults.h"
#include "magazine.h"
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

uint64_t __wrap_sys_nodes(void) {
    return 1u << 0 | 1u << 1 | 1u << 3;
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

Test(nodes, node_that_is_not_there_is_served_by_the_next_one) {
    static const struct { unsigned asked, served; } cases[] = {{2, 3}, {4, 0}, {63, 0}};
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
    } expected[] = {{1, ZONE_NORMAL},  {1, ZONE_HIGHMEM}, {3, ZONE_NORMAL},
                    {3, ZONE_HIGHMEM}, {0, ZONE_NORMAL},  {0, ZONE_HIGHMEM}};
    for (unsigned i = 0; i < COUNT_OF(nodes); i++) {
        one_free_pageblock_each(nodes[i]);
    }
    refuse(SYS_MAP, 0, UINT_MAX);
    for (unsigned i = 0; i < COUNT_OF(expected); i++) {
        uintptr_t pfn = zone_alloc(1, ZONE_NORMAL, GROUP_RUN, BLOCK_PAGES, 0);
        MUST(pfn && zone_of(pfn)->node == expected[i].node && zone_of(pfn)->kind == expected[i].kind);
    }
    MUST(!zone_alloc(1, ZONE_NORMAL, GROUP_RUN, 1, 0));
    for (unsigned i = 0; i < COUNT_OF(nodes); i++) { /* DMA is only for those who ask, on any node */
        MUST(zone_of(zone_alloc(0, ZONE_DMA, GROUP_RUN, BLOCK_PAGES, 0))->node == nodes[i]);
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
