#include "check.h"

#include "owner.h"
#include "zone.h"

static const char *check_list(const struct owner *owner, unsigned class, unsigned bin, size_t *nslabs) {
    const struct slab *head = owner->cache[class].list[bin], *prev = head ? head->prev : NULL;
    size_t before = *nslabs;
    for (const struct slab *slab = head; slab; prev = slab, slab = slab->next) {
        const char *broken = slab_check(slab);
        if (broken) {
            return broken;
        }
        bool full = !slab->nfree, empty = slab->nfree == slab->nobjects;
        if (slab->bin != bin || (bin != SLAB_HELD && (full != (bin == SLAB_FULL) || empty != (bin == SLAB_EMPTY)))) {
            return "a slab is in the list of another state";
        }
        if (slab->owner != owner || slab->class != class ||
            pagemap_tag((void *)slab->base) != (owner_tag(owner) | class)) {
            return "a slab is listed by another owner or class than its tags say";
        }
        if (slab->prev != prev) {
            return "a slab list's back link is wrong";
        }
        ++*nslabs;
    }
    if (head && (prev != head->prev || prev->next)) {
        return "a slab list's tail is wrong";
    }
    return *nslabs - before == owner->cache[class].count[bin] ? NULL : "a slab list's count is wrong";
}

static const char *check_owner(const struct owner *owner) {
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        size_t nslabs = 0;
        for (unsigned bin = 0; bin < SLAB_BINS; bin++) {
            const char *broken = check_list(owner, class, bin, &nslabs);
            if (broken) {
                return broken;
            }
        }
        if (nslabs != owner->cache[class].nslabs) {
            return "an owner's slab count differs from its lists";
        }
    }
    return NULL;
}

/* Every page of the zone is free, isolated, of a slab or of a run. */
struct page_sum {
    const struct zone *zone;
    size_t free_pages, mapped_pages;
};

static bool sum_block(uintptr_t pfn, struct block *block, void *arg) {
    struct page_sum *sum = arg;
    if (block_zone(block) != sum->zone->index + 1u) {
        return true;
    }
    sum->mapped_pages += BLOCK_PAGES;
    for (size_t i = 0; i < BLOCK_PAGES; i++) {
        struct page page = page_peek(pagemap_page(pfn + i));
        if (page.state == PAGE_FREE) {
            sum->free_pages += (size_t)1 << page.order;
        }
    }
    return true;
}

static const char *check_zone(struct zone *zone) {
    const char *broken = buddy_check(&zone->buddy);
    if (broken) {
        return broken;
    }
    struct page_sum sum = {.zone = zone};
    pagemap_each_block(sum_block, &sum);
    if (sum.mapped_pages != zone->mapped_pages) {
        return "a zone's mapped pages differ from its pageblocks";
    }
    return sum.free_pages == zone->buddy.free_pages ? NULL : "a zone's free pages differ from the page map";
}

const char *check_all(void) {
    const char *broken = NULL;
    for (uint32_t id = 1; id <= owner_count() && !broken; id++) {
        struct owner *owner = owner_by_id(id);
        owner_lock(owner);
        broken = check_owner(owner);
        owner_unlock(owner);
    }
    for (struct zone *zone = zone_next(NULL); zone && !broken; zone = zone_next(zone)) {
        lock_take(&zone->lock);
        broken = check_zone(zone);
        lock_drop(&zone->lock);
    }
    return broken;
}
