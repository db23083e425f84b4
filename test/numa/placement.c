/*
 * placement CASE [NODE...]: on which nodes this process's memory lies. Runs in the guest with the library preloaded,
 * and prints TAP without numbers. Only move_pages(2) is believed; the library's own counters are what is tested, in one
 * case.
 */
#include "machine.h"
#include "slabmalloc/pages.h"

/* Of the library that is preloaded. */
#pragma weak slabmalloc_alloc_pages_node
#pragma weak slabmalloc_free_pages
#pragma weak slabmalloc_numa_stats

#define MIB ((size_t)1 << 20)
#define OBJECTS_MAX 300000

/* What a thread has allocated. Not from malloc. */
struct objects {
    char *at[OBJECTS_MAX];
    uint32_t size[OBJECTS_MAX];
    size_t n, bytes;
};
static struct objects hers, mine;

static void take(struct objects *objects, size_t bytes) {
    char *p = malloc(bytes);
    if (!p || objects->n == OBJECTS_MAX) {
        say(false, "there is memory for %zu bytes after %zu", bytes, objects->bytes);
        exit(1);
    }
    memset(p, 1, bytes);
    objects->size[objects->n] = (uint32_t)bytes;
    objects->at[objects->n++] = p;
    objects->bytes += bytes;
}

/* Small objects of all sizes. */
static void take_small(struct objects *objects, size_t total) {
    static const size_t sizes[] = {16, 48, 100, 200, 500, 1000, 2000, 4000, 9000, 20000};
    for (size_t until = objects->bytes + total, i = 0; objects->bytes < until; i++) {
        take(objects, sizes[i % COUNT_OF(sizes)]);
    }
}

static void drop(struct objects *objects) {
    for (size_t i = 0; i < objects->n; i++) {
        free(objects->at[i]);
    }
    objects->n = objects->bytes = 0;
}

/* Of the pages of the objects from number FIRST on, those on each node. */
static struct tally where_from(const struct objects *objects, size_t first) {
    static void *pages[2 * OBJECTS_MAX];
    size_t n = 0;
    for (size_t i = first; i < objects->n; i++) {
        for (size_t at = 0; at < objects->size[i]; at += 4096) {
            pages[n++] = objects->at[i] + at;
        }
        pages[n++] = objects->at[i] + objects->size[i] - 1;
    }
    return where_pages(pages, n);
}

static struct tally where(const struct objects *objects) {
    return where_from(objects, 0);
}

static void must_lie_on(unsigned node, struct tally tally, const char *what) {
    say(share(tally, node) >= 0.99, "%s: node %u has %s", what, node, shares(tally));
}

/* --- Cases; each step runs in a thread that stays on one node --- */

static void take_mine(void) {
    take_small(&mine, 6 * MIB);
}

static void take_hers(void) {
    take_small(&hers, 6 * MIB);
}

static void drop_hers(void) {
    drop(&hers);
}

static void drop_mine(void) {
    drop(&mine);
}

/* One's own and another node's objects in turn. */
static void take_mine_drop_hers(void) {
    for (size_t i = 0; i < hers.n; i++) {
        free(hers.at[i]);
        take(&mine, 16 + i % 1000);
    }
    hers.n = hers.bytes = 0;
}

static void local_case(void) {
    unsigned before = NODES;
    for (unsigned node = 0; node < NODES; node++) {
        if (!has_processors(node) || !has_memory(node)) {
            continue;
        }
        on_node(node, take_mine);
        must_lie_on(node, where(&mine), "fresh objects");
        on_node(node, drop_mine);
        if (before < NODES) {
            on_node(before, take_hers);
            must_lie_on(before, where(&hers), "another node's fresh objects");
            on_node(node, drop_hers);
            on_node(node, take_mine);
            must_lie_on(node, where(&mine), "objects of a thread that freed another node's");
            on_node(before, take_hers);
            must_lie_on(before, where(&hers), "objects of a thread whose others were freed elsewhere");
            on_node(node, drop_mine);
            on_node(node, take_mine_drop_hers);
            must_lie_on(node, where(&mine), "objects allocated while another node's are freed");
            on_node(node, drop_mine);
        }
        before = node;
    }
}

static unsigned destination;

/* Allocates until an object lies on the destination, then some MiB more. */
static void move_and_take(void) {
    take_small(&mine, 4 * MIB);
    stay_on(destination);
    size_t moved = 0, first = mine.n;
    while (mine.bytes < 48 * MIB && !moved) {
        size_t last = mine.n;
        take_small(&mine, MIB / 8);
        moved = share(where_from(&mine, last), destination) >= 0.99 ? mine.n : 0;
    }
    printf("# after %zu KiB, %.1f%% of them on the new node\n", mine.bytes / 1024 - 4096,
           100 * share(where_from(&mine, first), destination));
    first = mine.n;
    take_small(&mine, 8 * MIB);
    must_lie_on(destination, where_from(&mine, first), "objects of a thread that moved");
}

static void moves_case(void) {
    destination = 1;
    on_node(0, move_and_take);
    drop(&mine);
}

/* Small enough to stay cached when it is freed. */
static void large_block(void) {
    static void *pages[8 * MIB / 4096];
    char *p = malloc(8 * MIB);
    memset(p, 1, 8 * MIB);
    for (size_t i = 0; i < COUNT_OF(pages); i++) {
        pages[i] = p + i * 4096;
    }
    must_lie_on(this_node(), where_pages(pages, COUNT_OF(pages)), "a large block");
    free(p);
}

static void large_case(void) {
    on_node(0, large_block);
    on_node(1, large_block); /* while that of node 0 is cached */
    on_node(0, large_block);
}

/* Long enough for the library to see what has changed, in calls and in time. */
static void let_it_see(void) {
    for (unsigned i = 0; i < 16; i++) {
        struct timespec pause = {0, 100000000};
        nanosleep(&pause, NULL);
        take_small(&mine, 2 * MIB);
        drop(&mine);
    }
}

static void spread_or_not(bool spread, const char *what) {
    let_it_see();
    take_small(&mine, 8 * MIB);
    struct tally tally = where(&mine);
    if (spread) {
        say(share(tally, 0) > 0.4 && share(tally, 1) > 0.4, "%s: nodes 0 and 1 have %s", what, shares(tally));
    } else {
        must_lie_on(1, tally, what);
    }
    drop(&mine);
}

static void under_policies(void) {
    set_policy(POLICY_BIND, 1u << 1);
    spread_or_not(false, "a thread on node 0 that set MPOL_BIND to node 1");
    malloc_trim(0); /* what is resident is used again, wherever it lies */
    set_policy(POLICY_INTERLEAVE, 3);
    spread_or_not(true, "a thread on node 0 that set MPOL_INTERLEAVE");
    set_policy(POLICY_DEFAULT, 0);
    let_it_see();
    take_small(&mine, 8 * MIB);
    must_lie_on(0, where(&mine), "and then no policy any more");
    drop(&mine);
}

static void policy_case(void) {
    on_node(0, under_policies);
}

static void is_spread(void) {
    spread_or_not(true, "a process that interleaves");
}

static void spread_case(void) {
    on_node(0, is_spread);
}

/* As numactl does it. */
static void exec_case(char **argv) {
    set_policy(!strcmp(argv[1], "interleave") ? POLICY_INTERLEAVE : POLICY_BIND, strcmp(argv[1], "interleave") ? 2 : 3);
    argv[1] = argv[0];
    execv("/proc/self/exe", argv + 1);
    say(false, "exec works");
}

/* All that threads on node FROM allocate lies on node ON. */
static void all_on_case(unsigned from, unsigned on) {
    on_node(from, take_mine);
    char what[80];
    snprintf(what, sizeof what, "objects of a thread on node %u", from);
    must_lie_on(on, where(&mine), what);
    on_node(from, drop_mine);
}

static struct slabmalloc_numa_stats stats_of(int node) {
    struct slabmalloc_numa_stats stats = {0};
    if (!slabmalloc_numa_stats || slabmalloc_numa_stats(node, &stats, sizeof stats)) {
        say(false, "there are counters of node %d", node);
    }
    return stats;
}

static void *foreign_pages;

static void take_from_node_1(void) {
    foreign_pages = slabmalloc_alloc_pages_node(1, 0, 9);
    memset(foreign_pages, 1, 2 * MIB);
}

static void counters_case(void) {
    struct slabmalloc_numa_stats before = stats_of(0), other = stats_of(1), after;
    on_node(0, take_mine);
    after = stats_of(0);
    size_t npages = mine.bytes / 4096;
    say(after.hit - before.hit >= npages && after.local - before.local == after.hit - before.hit,
        "node 0 counts %zu pages as hit and local", npages);
    say(after.miss == 0 && after.foreign == 0 && after.other == before.other, "and none as miss, foreign, other");
    on_node(0, take_from_node_1);
    after = stats_of(1);
    say(after.other - other.other == 512 && after.hit - other.hit == 512 && after.local == other.local,
        "pages of node 1 that a thread on node 0 asked for are hit and other");
    must_lie_on(1, where_pages(&foreign_pages, 1), "they");
    say(stats_of(SLABMALLOC_ANY_NODE).hit == 0, "nothing is bound to no node");
}

static void off_case(void) {
    on_node(0, take_mine);
    on_node(1, take_hers);
    say(!stats_of(0).hit && !stats_of(1).hit && stats_of(SLABMALLOC_ANY_NODE).hit >= (mine.bytes + hers.bytes) / 4096,
        "all is bound to no node");
    must_lie_on(0, where(&mine), "the kernel's own rule");
    must_lie_on(1, where(&hers), "the kernel's own rule");
}

static unsigned full;

static void take_more_than_there_is(void) {
    size_t total = free_bytes(full) + 24 * MIB;
    while (mine.bytes < total) {
        take(&mine, 4000);
    }
}

/* More than node NODE has free: the rest comes from the nodes after it in the list, in that order. */
static void exhausted_case(unsigned from, const unsigned *nodes) {
    full = nodes[0];
    size_t had = free_bytes(full), next = free_bytes(nodes[1]);
    on_node(from, take_more_than_there_is);
    struct tally tally = where(&mine);
    double rest = (double)(tally.pages - tally.on[full]);
    say(rest > 0 && tally.on[full] * 4096 > had / 2, "node %u (%zu MiB free) is used until it is full: %s", full,
        had / MIB, shares(tally));
    say(tally.on[nodes[1]] >= 0.99 * rest, "%zu MiB more come from node %u (%zu MiB free)", ((size_t)rest * 4096) / MIB,
        nodes[1], next / MIB);
    on_node(from, drop_mine);
}

static const unsigned *expected;
static unsigned nexpected;

/* The node of one more pageblock wanted from the first node; NODES: there is none. */
static unsigned one_more(void) {
    void *p = slabmalloc_alloc_pages_node((int)expected[0], 0, 9);
    if (!p) {
        return NODES;
    }
    memset(p, 1, 2 * MIB);
    return first_node(where_pages(&p, 1));
}

/* When the kernel refuses address space, what is free on other nodes serves, the nearest first. */
static void beyond(void) {
    for (unsigned i = 0; i < nexpected; i++) {
        void *kept = slabmalloc_alloc_pages_node((int)expected[i], 0, 9);
        void *freed = slabmalloc_alloc_pages_node((int)expected[i], 0, 9);
        say(kept != NULL, "there is memory of node %u", expected[i]);
        slabmalloc_free_pages(freed, 9);
    }
    refuse_address_space();
    for (unsigned i = 0, on = NODES; i < nexpected; i++) {
        unsigned before = on;
        while ((on = one_more()) == before && on < NODES) {
        }
        say(on == expected[i], "pages wanted from node %u come from node %u, as number %u", expected[0], on, i);
    }
    say(stats_of((int)expected[0]).foreign >= (nexpected - 1) * 512, "the node counts them as foreign");
    say(stats_of((int)expected[1]).miss >= 512, "the next one counts them as miss");
}

static void beyond_case(const unsigned *nodes, unsigned n) {
    expected = nodes;
    nexpected = n;
    on_node(nodes[0], beyond);
}

static void node_1_allocates(unsigned node, const char *what) {
    on_node(1, let_it_see);
    on_node(1, take_mine);
    must_lie_on(node, where(&mine), what);
    on_node(1, drop_mine);
}

/* The guest's script made the group and put this process in it. */
static void cpuset_case(bool starts_narrow) {
    if (!starts_narrow) {
        node_1_allocates(1, "with a cpuset of both nodes, a thread on node 1");
        set_cpuset("0");
    }
    node_1_allocates(0, "with a cpuset of node 0");
    set_cpuset("0-1");
    node_1_allocates(1, "with a cpuset that got node 1");
    set_cpuset("0");
    node_1_allocates(0, "with a cpuset that lost node 1");
}

/* That the guest has a pool on each node, and malloc leaves them alone. */
static void hugetlb_case(void) {
    for (unsigned node = 0; node < NODES; node++) {
        if (!has_memory(node)) {
            continue;
        }
        unsigned long got = set_pool(node, 3);
        unsigned on = NODES;
        void *p = map_from_pool(node);
        if (p) {
            *(volatile char *)p = 1;
            on = first_node(where_pages(&p, 1));
        }
        say(got == 3 && on == node && pool_free(node) == 2, "node %u has a pool of 3 huge pages: %lu, one on node %u",
            node, got, on);
    }
    on_node(0, take_mine);
    bool alone = true;
    for (unsigned node = 0; node < NODES; node++) {
        alone = alone && (!has_memory(node) || pool_free(node) == 2);
        set_pool(node, 0);
    }
    say(alone, "malloc takes nothing from the pools");
}

int main(int argc, char **argv) {
    unsigned nodes[NODES];
    unsigned n = 0;
    setvbuf(stdout, NULL, _IONBF, 0);
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "exec") && argc > 3) {
        exec_case(argv + 1);
    }
    for (int i = 2; i < argc && n < NODES; i++) {
        nodes[n++] = (unsigned)atoi(argv[i]);
    }
    start_threads();
    if (!strcmp(what, "local")) {
        local_case();
    } else if (!strcmp(what, "moves")) {
        moves_case();
    } else if (!strcmp(what, "large")) {
        large_case();
    } else if (!strcmp(what, "policy")) {
        policy_case();
    } else if (!strcmp(what, "spread")) {
        spread_case();
    } else if (!strcmp(what, "all_on") && n == 2) {
        all_on_case(nodes[0], nodes[1]);
    } else if (!strcmp(what, "counters")) {
        counters_case();
    } else if (!strcmp(what, "off")) {
        off_case();
    } else if (!strcmp(what, "exhausted") && n >= 3) {
        exhausted_case(nodes[0], nodes + 1);
    } else if (!strcmp(what, "beyond") && n >= 2) {
        beyond_case(nodes, n);
    } else if (!strcmp(what, "cpuset") && n == 1) {
        cpuset_case(nodes[0]);
    } else if (!strcmp(what, "hugetlb")) {
        hugetlb_case();
    } else {
        say(false, "%s is a case", what);
    }
    return failures != 0;
}
