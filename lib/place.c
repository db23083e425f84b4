#include "place.h"

#include "buddy.h"
#include "zone.h"

static struct place place_at(uintptr_t head, enum page_state state, size_t npages) {
    return (struct place){.state = state, .tag = pagemap_tag(pfn_pointer(head)), .head = head, .npages = npages};
}

/* All pages of a slab say the same. */
static struct place slab_around(uintptr_t pfn, uint64_t word) {
    uintptr_t first = pfn, end = pfn + 1, block = pfn & ~(BLOCK_PAGES - 1);
    while (first > block && page_peek(pagemap_page(first - 1)).word == word) {
        first--;
    }
    while (end < block + BLOCK_PAGES && page_peek(pagemap_page(end)).word == word) {
        end++;
    }
    return place_at(first, PAGE_SLAB, end - first);
}

/* The thing that PAGE, at HEAD, begins. */
static struct place thing_at(uintptr_t head, struct page page) {
    switch (page.state) {
    case PAGE_FREE:
    case PAGE_ISOLATED:
        return place_at(head, page.state, (size_t)1 << page.order);
    case PAGE_SLOB:
        return place_at(head, PAGE_SLOB, 1);
    case PAGE_BLOCK_ON:
        page = page_peek(pagemap_page(page.link));
        return page.state == PAGE_BLOCK ? place_at(head, PAGE_BLOCK, page.link) : place_at(head, PAGE_BODY, 1);
    default:
        return place_at(head, page.state, page.link);
    }
}

/* In a pageblock of a zone, with its lock. */
static struct place find_in_zone(uintptr_t pfn) {
    struct page page = page_peek(pagemap_page(pfn));
    if (page.state == PAGE_SLAB) {
        return slab_around(pfn, page.word);
    }
    uintptr_t at = pfn;
    while ((page.state == PAGE_BODY || page.state == PAGE_NONE) && at & (BLOCK_PAGES - 1)) {
        page = page_peek(pagemap_page(--at));
    }
    if (page.state == PAGE_BLOCK_ON) {
        at = page.link;
        page = page_peek(pagemap_page(at));
    }
    bool begins = page.state != PAGE_BODY && page.state != PAGE_NONE && page.state != PAGE_SLAB;
    struct place place = begins ? thing_at(at, page) : place_at(pfn, PAGE_BODY, 1);
    return pfn - place.head < place.npages ? place : place_at(pfn, PAGE_BODY, 1);
}

/* A mapping's first page is a pageblock's. Those behind it are no zone's. */
static struct place find_mapping(uintptr_t pfn) {
    for (uintptr_t at = pfn & ~(BLOCK_PAGES - 1); pagemap_has_page(at) && !block_zone(pagemap_block(at));
         at -= BLOCK_PAGES) {
        if (pagemap_tag(pfn_pointer(at)) == TAG_MAPPING) {
            struct place place = place_at(at, PAGE_MAPPING, page_peek(pagemap_page(at)).link);
            place.huge = pagemap_page(at)->extra & 3;
            return pfn - at < place.npages ? place : (struct place){0};
        }
    }
    return (struct place){0};
}

struct place place_of(const void *p) {
    uintptr_t pfn = pointer_pfn(p);
    struct zone *zone = zone_of_any(pfn);
    if (!zone) {
        return find_mapping(pfn);
    }
    struct place place = {0};
    lock_take(&zone->lock);
    if (zone_of_any(pfn) == zone) {
        place = find_in_zone(pfn);
        place.fresh = buddy_is_fresh(pfn);
        place.huge = block_huge(pagemap_block(pfn));
        place.zone = zone;
    }
    lock_drop(&zone->lock);
    return place;
}
