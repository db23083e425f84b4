#include "check.h"

#include "magazine.h"
#include "mapping.h"
#include "options.h"
#include "owner.h"
#include "page.h"
#include "remote.h"
#include "run.h"
#include "slob.h"
#include "zone.h"

/* --- Owners --- */

static bool has_tags(const struct slab *slab, uint32_t tag) {
    for (size_t i = 0; i < slab->npages; i++) {
        if (pagemap_tag((void *)(slab->base + (i << PAGE_SHIFT))) != tag) {
            return false;
        }
    }
    return true;
}

static const char *check_list(const struct owner *owner, unsigned class, unsigned bin, size_t *nslabs) {
    const struct slab *head = owner_cache(owner, class)->list[bin], *prev = head ? head->prev : NULL;
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
        if (slab_owner(slab) != owner || slab->class != class || !has_tags(slab, owner_tag(owner) | class)) {
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
    return *nslabs - before == owner_cache(owner, class)->count[bin] ? NULL : "a slab list's count is wrong";
}

static const char *check_class(const struct owner *owner, unsigned class) {
    size_t nslabs = 0;
    for (unsigned bin = 0; bin < SLAB_BINS; bin++) {
        const char *broken = check_list(owner, class, bin, &nslabs);
        if (broken) {
            return broken;
        }
    }
    return nslabs == owner_cache(owner, class)->nslabs ? NULL : "an owner's slab count differs from its lists";
}

static const char *check_owner(const struct owner *owner) {
    const char *broken = owner->emptied ? "slabs taken out of the lists were not given back" : NULL;
    for (unsigned class = 0; class < TAG_CLASSES && !broken; class = owner_next_class(owner, class)) {
        broken = check_class(owner, class);
    }
    broken = broken ? broken : run_cache_check(owner);
    return broken ? broken : page_cache_check(owner);
}

static const char *check_owners(void) {
    const char *broken = NULL;
    for (uint32_t id = 1; id <= owner_count() && !broken; id++) {
        struct owner *owner = owner_by_id(id);
        owner_lock(owner);
        broken = check_owner(owner);
        owner_unlock(owner);
    }
    return broken;
}

/* What only its own thread may look at. */
static const char *check_own(const struct owner *self) {
    const char *broken = magazine_check(self);
    return broken ? broken : remote_check(self);
}

/* --- Zones --- */

/* Every page of a zone is one thing: of a free block, isolated, of a slab, or of a run. Those that are none of these
 * are between two: with a thread that just got them, or is about to give them back. */
struct page_sum {
    const struct zone *zone;
    size_t mapped, free, isolated;
    const char *broken;
};

/* The pages behind the first one of something belong to nothing else. */
static bool is_body(uintptr_t pfn, size_t npages) {
    for (size_t i = 1; i < npages; i++) {
        struct page page = page_peek(pagemap_page(pfn + i));
        if (page.state != PAGE_BODY && page.state != PAGE_NONE) {
            return false;
        }
    }
    return true;
}

/* No page of a free block can be taken for a live object's. */
static bool is_dead(uintptr_t pfn, size_t npages) {
    for (size_t i = 0; i < npages; i++) {
        uint32_t tag = pagemap_tag(pfn_pointer(pfn + i));
        if (tag != TAG_FOREIGN && tag != TAG_FREED) {
            return false;
        }
    }
    return true;
}

/* Counts what begins at PFN; returns its pages. */
static size_t sum_one(struct page_sum *sum, uintptr_t pfn, size_t left) {
    struct page page = page_peek(pagemap_page(pfn));
    size_t npages = 1;
    switch (page.state) {
    case PAGE_FREE:
        npages = (size_t)1 << page.order;
        sum->free += npages;
        if (!is_dead(pfn, npages)) {
            sum->broken = "a free page has the tag of a live one";
        }
        break;
    case PAGE_ISOLATED:
        npages = (size_t)1 << page.order;
        sum->isolated += npages;
        break;
    case PAGE_RUN:
        npages = page.link;
        break;
    case PAGE_BLOCK: /* may go on in the next pageblock */
        npages = min_size(page.link, left);
        break;
    case PAGE_MAPPING:
        sum->broken = "a page of a zone says it is an own mapping's";
        break;
    default:
        break;
    }
    if (!npages || npages > left || !is_body(pfn, npages)) {
        sum->broken = "two things share a page";
        return left;
    }
    return npages;
}

static bool sum_block(uintptr_t pfn, struct block *block, void *arg) {
    struct page_sum *sum = arg;
    if (block_zone(block) != sum->zone->index + 1u) {
        return true;
    }
    sum->mapped += BLOCK_PAGES;
    for (size_t i = 0; i < BLOCK_PAGES && !sum->broken;) {
        i += sum_one(sum, pfn + i, BLOCK_PAGES - i);
    }
    return !sum->broken;
}

static const char *check_zone(const struct zone *zone) {
    const char *broken = buddy_check(&zone->buddy);
    if (broken) {
        return broken;
    }
    struct page_sum sum = {.zone = zone};
    pagemap_each_block(sum_block, &sum);
    if (sum.broken) {
        return sum.broken;
    }
    if (sum.mapped != zone->mapped_pages) {
        return "a zone's mapped pages differ from its pageblocks";
    }
    if (sum.isolated != zone->isolated_pages) {
        return "a zone's isolated pages differ from the page map";
    }
    return sum.free == zone->buddy.free_pages ? NULL : "a zone's free pages differ from the page map";
}

static const char *check_zones(void) {
    const char *broken = NULL;
    for (struct zone *zone = zone_next(NULL); zone && !broken; zone = zone_next(zone)) {
        lock_take(&zone->lock);
        broken = check_zone(zone);
        lock_drop(&zone->lock);
    }
    return broken;
}

const char *check_all(void) {
    owner_settle();
    const struct owner *self = owner_have();
    const char *broken = check_owners();
    broken = broken || !self ? broken : check_own(self);
    broken = broken ? broken : owner_check_idle();
    broken = broken ? broken : check_zones();
    broken = broken || !options.slob ? broken : slob_check(slob_of_process());
    return broken ? broken : mapping_check();
}
