#include "reclaim.h"

#include "kmem_cache.h"
#include "page.h"
#include "region.h"
#include "remote.h"
#include "run.h"
#include "zone.h"

/* Slabs held at a time, and looked at in one go under the owner's lock. */
#define BATCH 16
#define LOOKS 64

/* See worth_huge_page. */
#define DESERTED_SHARE 8

/* Pages that one look at a new peak gives back: a thread's allocation waits for it. */
#define AT_PEAK_MOST (((size_t)8 << 20) >> PAGE_SHIFT)

struct held {
    struct slab *slab;
    uint64_t holes;
};

/* An intact huge page is given up for holes in one of its slabs that are half of it; or, where most of the slab's
 * objects are free, so that few live bytes profit from the huge page, a small share. */
static bool worth_huge_page(const struct slab *slab, unsigned nholes) {
    bool deserted = slab->nfree >= slab->nobjects - slab->nobjects / 4;
    return 2 * nholes >= slab->npages || (deserted && DESERTED_SHARE * nholes >= slab->npages);
}

/* The slab's holes that are worth giving back. */
static uint64_t holes_worth(const struct slab *slab, bool all) {
    const struct block *block = pagemap_block(slab->base >> PAGE_SHIFT);
    if (block_pool_shift(block)) {
        return 0; /* the hugetlb pool takes no part of a page back */
    }
    uint64_t holes = slab_holes(slab);
    bool huge = block_huge(block);
    return all || !huge || worth_huge_page(slab, (unsigned)__builtin_popcountll(holes)) ? holes : 0;
}

/* Without destructor an object may become raw by the way. Nothing is taken from the slab until its holes are purged. */
static void forget_constructed(struct slab *slab, uint64_t holes) {
    uint64_t objects[SLAB_OBJECTS_MAX / 64];
    slab_take_constructed(slab, holes, objects);
}

/* Looks at up to LOOKS of the *LEFT first slabs of a list, each of which becomes the last; holds those with holes. */
static size_t hold_batch(struct owner *owner, unsigned class, enum slab_bin bin, size_t *left, unsigned min_idle,
                         struct held *batch) {
    size_t n = 0;
    owner_lock(owner);
    for (size_t looks = 0; looks < LOOKS && n < BATCH && *left; looks++, --*left) {
        struct slab *slab = owner_cache(owner, class)->list[bin];
        if (!slab) {
            *left = 0;
            break;
        }
        bool due = slab->idle >= min_idle;
        slab->idle = (uint8_t)(slab->idle + (slab->idle < UINT8_MAX));
        uint64_t holes = due ? holes_worth(slab, !min_idle) : 0;
        if (holes) {
            forget_constructed(slab, holes);
            owner_hold_slab(owner, slab);
            batch[n++] = (struct held){slab, holes};
        } else {
            owner_rotate(owner, class, bin);
        }
    }
    owner_unlock(owner);
    return n;
}

/* Gives back the pages of HELD's holes; returns how many. What the kernel refuses stays in the slab as touched. */
static size_t purge_holes(struct held *held) {
    uintptr_t pfn = held->slab->base >> PAGE_SHIFT;
    size_t total = 0;
    for (uint64_t left = held->holes; left;) {
        size_t first = (size_t)__builtin_ctzll(left);
        uint64_t from = left >> first;
        size_t n = ~from ? (size_t)__builtin_ctzll(~from) : 64 - first;
        uint64_t mask = (n == 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1) << first;
        zone_break_huge(pfn + first);
        if (region_purge(pfn + first, n)) {
            total += n;
        } else {
            held->holes &= ~mask;
        }
        left &= ~mask;
    }
    return total;
}

static void unhold_batch(struct owner *owner, unsigned class, const struct held *batch, size_t n) {
    owner_lock(owner);
    for (size_t i = 0; i < n; i++) {
        batch[i].slab->touched &= ~batch[i].holes;
        owner_unhold_slab(owner, batch[i].slab);
    }
    owner_unlock(owner);
    owner_announce(owner, class);
}

static size_t reclaim_list(struct owner *owner, unsigned class, enum slab_bin bin, size_t left, unsigned min_idle,
                           size_t most) {
    struct held batch[BATCH];
    size_t total = 0;
    while (left && total < most) {
        size_t n = hold_batch(owner, class, bin, &left, min_idle, batch);
        for (size_t i = 0; i < n; i++) {
            total += purge_holes(&batch[i]);
        }
        if (n) {
            unhold_batch(owner, class, batch, n);
        }
    }
    return total;
}

/* Ends soon after MOST pages were given back. */
static size_t reclaim_class_until(struct owner *owner, unsigned class, unsigned min_idle, size_t most) {
    owner_lock(owner);
    uint32_t busy = owner_cache(owner, class)->count[SLAB_BUSY];
    uint32_t sparse = owner_cache(owner, class)->count[SLAB_SPARSE];
    owner_unlock(owner);
    size_t total = reclaim_list(owner, class, SLAB_SPARSE, sparse, min_idle, most);
    return total + (total < most ? reclaim_list(owner, class, SLAB_BUSY, busy, min_idle, most - total) : 0);
}

size_t reclaim_class(struct owner *owner, unsigned class, unsigned min_idle) {
    return reclaim_class_until(owner, class, min_idle, SIZE_MAX);
}

/* The class of OWNER's after CLASS, with the lock: its thread may be adding some. */
static unsigned next_class(struct owner *owner, unsigned class) {
    if (class + 1 < CLASS_COUNT) {
        return class + 1;
    }
    owner_lock(owner);
    class = owner_next_class(owner, class);
    owner_unlock(owner);
    return class;
}

static size_t reclaim_owner(struct owner *owner, unsigned min_idle, size_t most) {
    size_t total = 0;
    for (unsigned class = 0; class < TAG_CLASSES && total < most; class = next_class(owner, class)) {
        total += reclaim_class_until(owner, class, min_idle, most - total);
    }
    return total;
}

static void drop_idle_empties(struct owner *owner, unsigned min_idle) {
    owner_lock(owner);
    for (unsigned class = 0; class < TAG_CLASSES; class = owner_next_class(owner, class)) {
        struct slab *slab = owner_cache(owner, class)->list[SLAB_EMPTY];
        if (slab && slab->idle++ >= min_idle) {
            owner_drop_slab(owner, slab);
        }
    }
    owner_unlock(owner);
}

static void drop_idle_runs(struct owner *owner, bool all) {
    owner_lock(owner);
    bool idle = owner->run_cache_pages && (owner->run_cache_idle || all);
    owner->run_cache_idle = true;
    owner_unlock(owner);
    if (idle) {
        run_cache_flush(owner);
    }
}

size_t reclaim_slabs(bool all) {
    unsigned min_idle = all ? 0 : 1;
    size_t total = 0;
    bool outer = region_purging;
    region_purging = true;
    for (uint32_t id = 1; id <= owner_count(); id++) {
        struct owner *owner = owner_by_id(id);
        drop_idle_runs(owner, all);
        page_cache_reclaim(owner, all);
        drop_idle_empties(owner, min_idle);
        total += reclaim_owner(owner, min_idle, SIZE_MAX);
    }
    kmem_release_parked(all);
    region_purging = outer;
    return total;
}

void reclaim_at_peak(void) {
    size_t grown = zone_peak_step();
    if (likely(!grown) || reclaim_sparse_pages() < grown) {
        return;
    }
    size_t total = 0, most = min_size(grown, AT_PEAK_MOST);
    bool outer = region_purging;
    region_purging = true;
    for (uint32_t id = 1; id <= owner_count() && total < most; id++) {
        struct owner *owner = owner_by_id(id);
        drop_idle_empties(owner, 1);
        total += reclaim_owner(owner, 1, most - total);
    }
    region_purging = outer;
}

size_t reclaim_sparse_pages(void) {
    size_t total = 0;
    for (uint32_t id = owner_count(); id; id--) {
        total += counter_read(&owner_by_id(id)->sparse_pages);
    }
    return total;
}

static void file_held_slabs(struct owner *owner) {
    owner_lock(owner);
    for (unsigned class = 0; class < TAG_CLASSES; class = owner_next_class(owner, class)) {
        while (owner_cache(owner, class)->list[SLAB_HELD]) {
            owner_unhold_slab(owner, owner_cache(owner, class)->list[SLAB_HELD]);
        }
    }
    owner_unlock(owner);
}

void reclaim_fork_child(void) {
    for (uint32_t id = owner_count(); id; id--) {
        file_held_slabs(owner_by_id(id));
        remote_return_inbox(owner_by_id(id));
    }
}
