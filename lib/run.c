#include "run.h"

#include <string.h>

#include "buddy.h"
#include "owner.h"
#include "pagemap.h"
#include "zone.h"

/* A cached run may be this much (1/RUN_CACHE_SLACK) longer than asked for; the surplus is trimmed off. */
#define RUN_CACHE_SLACK 8

static void run_mark(uintptr_t pfn, size_t npages) {
    page_mark(pagemap_page(pfn), PAGE_RUN, npages);
    pagemap_set_tag(pfn, TAG_RUN);
}

/* With the owner's lock: a cached run of NPAGES or a little more; its length is in its struct page. 0: none. */
static uintptr_t cache_find(struct owner *owner, size_t npages) {
    for (unsigned i = 0; i < RUN_CACHE_SLOTS; i++) {
        uintptr_t pfn = owner->run_cache[i];
        size_t have = pfn ? pagemap_page(pfn)->link : 0;
        if (have >= npages && have <= npages + npages / RUN_CACHE_SLACK) {
            owner->run_cache[i] = 0;
            owner->run_cache_pages -= have;
            owner->run_cache_idle = false;
            return pfn;
        }
    }
    return 0;
}

static uintptr_t cache_take(struct owner *owner, size_t npages) {
    if (npages << PAGE_SHIFT > RUN_CACHE_ONE) {
        return 0;
    }
    owner_lock(owner);
    uintptr_t pfn = cache_find(owner, npages);
    owner_unlock(owner);
    size_t have = pfn ? pagemap_page(pfn)->link : 0;
    if (have > npages) {
        run_mark(pfn, npages); /* before its tail is seen to be free */
        zone_free(pfn + npages, have - npages, have - npages);
    }
    return pfn;
}

static void run_release(uintptr_t pfn, size_t npages) {
    pagemap_set_tag(pfn, TAG_FREED);
    page_mark(pagemap_page(pfn), PAGE_BODY, 0);
    zone_free(pfn, npages, npages);
}

static bool cache_put(struct owner *owner, uintptr_t pfn, size_t npages) {
    if (npages << PAGE_SHIFT > RUN_CACHE_ONE) {
        return false;
    }
    bool done = false;
    owner_lock(owner);
    for (unsigned i = 0; i < RUN_CACHE_SLOTS && !done; i++) {
        if (!owner->run_cache[i] && (owner->run_cache_pages + npages) << PAGE_SHIFT <= RUN_CACHE_BYTES) {
            owner->run_cache[i] = pfn;
            owner->run_cache_pages += npages;
            pagemap_set_tag(pfn, TAG_RUN_CACHED);
            done = true;
        }
    }
    owner_unlock(owner);
    return done;
}

void run_cache_flush(struct owner *owner) {
    uintptr_t runs[RUN_CACHE_SLOTS];
    owner_lock(owner);
    memcpy(runs, owner->run_cache, sizeof runs);
    memset(owner->run_cache, 0, sizeof runs);
    owner->run_cache_pages = 0;
    owner_unlock(owner);
    for (unsigned i = 0; i < RUN_CACHE_SLOTS; i++) {
        if (runs[i]) {
            run_release(runs[i], pagemap_page(runs[i])->link);
        }
    }
}

static void zero_dirty_pages(uintptr_t pfn, size_t npages) {
    for (size_t i = 0; i < npages; i++) {
        if (!buddy_is_fresh(pfn + i)) {
            memset(pfn_pointer(pfn + i), 0, PAGE_BYTES);
        }
    }
}

void *run_alloc(struct owner *owner, size_t npages, unsigned align_order, bool zero) {
    uintptr_t pfn = owner && !align_order ? cache_take(owner, npages) : 0;
    if (pfn) {
        run_mark(pfn, npages);
        return zero ? memset(pfn_pointer(pfn), 0, npages << PAGE_SHIFT) : pfn_pointer(pfn);
    }
    pfn = zone_alloc(owner ? owner->node : numa_home(), ZONE_NORMAL, GROUP_RUN, npages, align_order);
    if (!pfn) {
        return NULL;
    }
    if (zero) {
        zero_dirty_pages(pfn, npages);
    }
    run_mark(pfn, npages);
    return pfn_pointer(pfn);
}

size_t run_npages(const void *p) {
    return pagemap_page(pointer_pfn(p))->link;
}

void run_free(struct owner *owner, void *p) {
    uintptr_t pfn = pointer_pfn(p);
    size_t npages = run_npages(p);
    if (owner && cache_put(owner, pfn, npages)) {
        return;
    }
    run_release(pfn, npages);
}

const char *run_cache_check(const struct owner *owner) {
    size_t npages = 0;
    for (unsigned i = 0; i < RUN_CACHE_SLOTS; i++) {
        uintptr_t pfn = owner->run_cache[i];
        if (!pfn) {
            continue;
        }
        if (pagemap_tag(pfn_pointer(pfn)) != TAG_RUN_CACHED || pagemap_page(pfn)->state != PAGE_RUN) {
            return "what is in a run cache is not marked so";
        }
        npages += pagemap_page(pfn)->link;
    }
    return npages == owner->run_cache_pages ? NULL : "a run cache's pages differ from its sum";
}

bool run_resize(void *p, size_t npages) {
    uintptr_t pfn = pointer_pfn(p);
    size_t old = run_npages(p);
    if (npages < old) {
        run_mark(pfn, npages);
        zone_free(pfn + npages, old - npages, old - npages);
    } else if (npages > old) {
        if (!zone_extend(pfn + old, npages - old)) {
            return false;
        }
        run_mark(pfn, npages);
    }
    return true;
}
