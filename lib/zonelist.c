#include "zonelist.h"

#include "sys.h"

/* Which kinds serve a request of a kind, most preferred first. DMA serves only those that ask for it. */
static const struct {
    unsigned nkinds;
    enum zone_kind kind[2];
} zonelists[ZONE_KINDS] = {
    [ZONE_DMA] = {1, {ZONE_DMA}},
    [ZONE_NORMAL] = {2, {ZONE_NORMAL, ZONE_HIGHMEM}},
    [ZONE_HIGHMEM] = {2, {ZONE_HIGHMEM, ZONE_NORMAL}},
};

/* The walk over a zonelist so far. */
struct walk {
    struct zone_request request;
    struct zone *first; /* asked first; NULL: none yet */
};

/* Who may make no system call is taken for one that runs where it wants its memory. */
static struct walk walk_from(unsigned node, const struct zone_request *request) {
    struct walk walk = {*request, NULL};
    walk.request.node = node;
    walk.request.here = zone_node_count() > 1 && !request->nowait ? sys_node() : node;
    return walk;
}

static uintptr_t ask(struct walk *walk, struct zone *zone) {
    const struct zone_request *request = &walk->request;
    bool first = !walk->first;
    uintptr_t pfn = zone_serve(zone, request, first);
    if (first) {
        walk->first = zone;
    }
    if (unlikely(pfn && !first)) {
        zone_note_miss(walk->first, request->nowait, zone->node == walk->first->node ? 0 : request->npages);
    }
    return pfn;
}

static uintptr_t walk_failed(struct walk *walk) {
    if (walk->first) {
        zone_note_miss(walk->first, walk->request.nowait, 0);
    }
    return 0;
}

/* The I-th set of zones for requests that want NODE. */
static unsigned nearest(unsigned node, unsigned i, bool nowait) {
    if (node >= NODES_MAX) {
        return i ? i - 1 : node;
    }
    return i < NODES_MAX ? numa_near(node, i, !nowait) : NODE_ANY;
}

uintptr_t zonelist_alloc(unsigned node, const struct zone_request *request) {
    struct walk walk = walk_from(node, request);
    unsigned kind = request->kind;
    for (unsigned i = 0; i < (request->this_node ? 1 : NODE_SETS); i++) {
        unsigned at = nearest(node, i, request->nowait);
        for (unsigned k = 0; k < zonelists[kind].nkinds; k++) {
            struct zone *zone = zone_find(at, zonelists[kind].kind[k]);
            uintptr_t pfn = zone ? ask(&walk, zone) : 0;
            if (pfn) {
                return pfn;
            }
        }
    }
    return walk_failed(&walk);
}

uintptr_t zonelist_alloc_from(struct zone *const *list, size_t n, const struct zone_request *request) {
    struct walk walk = walk_from(list[0]->node, request);
    for (size_t i = 0; i < n; i++) {
        if (request->this_node && list[i]->node != list[0]->node) {
            continue;
        }
        uintptr_t pfn = ask(&walk, list[i]);
        if (pfn) {
            return pfn;
        }
    }
    return walk_failed(&walk);
}

uintptr_t zone_alloc(unsigned node, enum zone_kind kind, enum buddy_group group, size_t npages, unsigned align_order) {
    ASSERT(npages && npages <= BLOCK_PAGES && align_order <= MAX_ORDER);
    struct zone_request request = {.kind = kind, .group = group, .npages = npages, .align_order = align_order};
    return zonelist_alloc(node, &request);
}

uintptr_t zone_alloc_fit(unsigned node, enum zone_kind kind, enum buddy_group group, size_t *npages, size_t least) {
    struct zone *zone = zone_find(node, kind);
    if (zone) {
        lock_take(&zone->lock);
        *npages = buddy_fit(&zone->buddy, *npages, least, group);
        lock_drop(&zone->lock);
    }
    return zone_alloc(node, kind, group, *npages, 0);
}
