#include "zonelist.h"

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
    const struct zone_request *request;
    struct zone *first; /* asked first; NULL: none yet */
};

static uintptr_t ask(struct walk *walk, struct zone *zone) {
    bool first = !walk->first;
    uintptr_t pfn = zone_serve(zone, walk->request, first);
    if (first) {
        walk->first = zone;
    }
    if (unlikely(pfn && !first)) {
        zone_note_miss(walk->first, walk->request->nowait);
    }
    return pfn;
}

static uintptr_t walk_failed(struct walk *walk) {
    if (walk->first) {
        zone_note_miss(walk->first, walk->request->nowait);
    }
    return 0;
}

uintptr_t zonelist_alloc(unsigned node, const struct zone_request *request) {
    struct walk walk = {request, NULL};
    unsigned kind = request->kind;
    for (unsigned i = 0; i < (request->this_node ? 1 : NODES_MAX); i++) {
        unsigned at = (node + i) % NODES_MAX;
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
    struct walk walk = {request, NULL};
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
