#include "contig.h"

#include "pagemap.h"

/* PFN begins a pageblock of ZONE of which the first NPAGES pages are free. */
static bool begins_free(const struct zone *zone, uintptr_t pfn, size_t npages) {
    return zone_of_any(pfn) == zone && pageblock_is_free(pfn, npages);
}

/* The pageblock before PFN is free as a whole: what begins at PFN begins there too. */
static bool follows_free(const struct zone *zone, uintptr_t pfn) {
    return begins_free(zone, pfn - BLOCK_PAGES, BLOCK_PAGES);
}

static bool all_free(const struct zone *zone, uintptr_t pfn, size_t npages) {
    for (size_t at = 0; at < npages; at += BLOCK_PAGES) {
        if (!begins_free(zone, pfn + at, min_size(npages - at, BLOCK_PAGES))) {
            return false;
        }
    }
    return true;
}

static uintptr_t find(const struct zone *zone, size_t npages) {
    for (unsigned kind = 0; kind < KINDS; kind++) {
        uintptr_t pfn = zone->buddy.area[MAX_ORDER].list[0][kind].head;
        for (; pfn; pfn = pagemap_page(pfn)->link) {
            if (!follows_free(zone, pfn) && all_free(zone, pfn, npages)) {
                return pfn;
            }
        }
    }
    return 0;
}

uintptr_t contig_take(struct zone *zone, size_t npages, enum buddy_group group) {
    uintptr_t pfn = find(zone, npages);
    for (size_t at = 0; pfn && at < npages; at += BLOCK_PAGES) {
        buddy_take(&zone->buddy, pfn + at, min_size(npages - at, BLOCK_PAGES), group);
    }
    return pfn;
}
