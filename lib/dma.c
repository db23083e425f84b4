#include "dma.h"

#include <errno.h>

#include "numa.h"
#include "sys.h"

/* Small buffers on ordinary pages share regions of this size, if RLIMIT_MEMLOCK lets them. */
#define SHARED_REGION_BYTES ((size_t)256 << 10)

/* What no allocation of user space lies below. */
#define LOWEST_MAX_ADDR ((uint64_t)16 << 20)

/* Regions made in the hope that one lies below max_addr. All are held until the end, or the kernel would give the same
 * pages again. */
#define ATTEMPTS_MAX 8

static struct {
    struct lock lock;
    struct dma_region *regions;
} dma;

struct lock *dma_lock(void) {
    return &dma.lock;
}

struct dma_region *dma_regions(void) {
    return dma.regions;
}

static void *page_address(const struct dma_region *region, size_t page) {
    return region->base + page * sys_page_bytes();
}

static size_t page_index(const struct dma_region *region, const void *p) {
    return (size_t)((const char *)p - region->base) / sys_page_bytes();
}

/* Last: older regions are filled first, so that newer ones can leave. */
static void list_add(struct dma_region *region) {
    lock_take(&dma.lock);
    struct dma_region **at = &dma.regions;
    while (*at) {
        at = &(*at)->next;
    }
    region->next = NULL;
    *at = region;
    lock_drop(&dma.lock);
}

/* With the lock. */
static void list_remove(const struct dma_region *region) {
    struct dma_region **at = &dma.regions;
    while (*at != region) {
        at = &(*at)->next;
    }
    *at = region->next;
}

/* The end of a region that is in no list (NULL: nothing). */
static void discard(struct dma_region *region) {
    if (region && !dma_region_unmake(region)) {
        region->state = DMA_DEAD;
        list_add(region);
    }
}

struct dma_region *dma_region_of(const void *p, size_t bytes) {
    for (struct dma_region *region = dma.regions; region; region = region->next) {
        uintptr_t offset = (uintptr_t)p - (uintptr_t)region->base;
        if (offset < region->bytes && bytes <= region->bytes - offset) {
            return region;
        }
    }
    return NULL;
}

struct slabmalloc_dma_info dma_describe(const struct dma_region *region) {
    bool lock_gone = region->inherited && region->kind.level == SLABMALLOC_DMA_RESIDENT;
    enum slabmalloc_dma_level level = region->mapped ? SLABMALLOC_DMA_LONGTERM : region->kind.level;
    return (struct slabmalloc_dma_info){
        .base = region->base,
        .bytes = region->bytes,
        .page_bytes = region->kind.huge ? DMA_HUGE_BYTES : sys_page_bytes(),
        .level = lock_gone ? 0 : level,
        .may_move = level == SLABMALLOC_DMA_RESIDENT,
        .flags = (region->kind.shared ? SLABMALLOC_DMA_SHARED : 0) | (region->kind.huge ? SLABMALLOC_DMA_HUGE : 0),
        .node = sys_node_of(region->base),
    };
}

/* --- What is asked for --- */

struct wish {
    struct dma_kind kind;
    size_t bytes, align, boundary;
    uint64_t max_addr; /* UINT64_MAX: any */
    bool alone;        /* in a region no larger than it needs */
};

static bool bad_power(size_t n) {
    return n && !is_pow2(n);
}

static bool is_node(int node) {
    uint64_t nodes = sys_nodes();
    return node == SLABMALLOC_DMA_ANY_NODE || (node >= 0 && node < NODES_MAX && (nodes ? nodes : 1) >> node & 1);
}

static int wish_of(size_t bytes, const struct slabmalloc_dma_spec *spec, struct wish *wish) {
    size_t page_bytes = sys_page_bytes();
    enum slabmalloc_dma_level level = spec->level ? spec->level : SLABMALLOC_DMA_RESIDENT;
    if (!bytes || bad_power(spec->align) || bad_power(spec->boundary) || (spec->boundary && spec->boundary < bytes) ||
        level > SLABMALLOC_DMA_LONGTERM || spec->flags & ~(SLABMALLOC_DMA_SHARED | SLABMALLOC_DMA_HUGE) ||
        !is_node(spec->node)) {
        return -EINVAL;
    }
    if (spec->max_addr && spec->max_addr < LOWEST_MAX_ADDR) {
        return -ERANGE;
    }
    if (bytes > PTRDIFF_MAX - DMA_HUGE_BYTES || spec->align > PTRDIFF_MAX / 2) {
        return -ENOMEM;
    }
    bool huge = level == SLABMALLOC_DMA_HUGETLB || spec->flags & SLABMALLOC_DMA_HUGE;
    *wish = (struct wish){
        .kind = {.level = huge && level < SLABMALLOC_DMA_HUGETLB ? SLABMALLOC_DMA_HUGETLB : level,
                 .huge = huge,
                 .shared = spec->flags & SLABMALLOC_DMA_SHARED,
                 .node = spec->node},
        .bytes = round_up(bytes, page_bytes),
        .align = max_size(spec->align, page_bytes),
        /* Whole pages cross no boundary that is smaller than theirs, but where their buffer does. */
        .boundary = spec->boundary ? max_size(spec->boundary, page_bytes) : 0,
        .max_addr = spec->max_addr ? spec->max_addr : UINT64_MAX,
    };
    return 0;
}

int dma_check(size_t bytes, const struct slabmalloc_dma_spec *spec) {
    struct wish wish;
    return wish_of(bytes, spec, &wish);
}

/* --- A buffer in a region that is there --- */

static bool same_kind(const struct dma_kind *a, const struct dma_kind *b) {
    return a->level == b->level && a->huge == b->huge && a->shared == b->shared && a->node == b->node;
}

static bool take_from(struct dma_region *region, const struct wish *wish, void **p) {
    size_t npages = wish->bytes / sys_page_bytes();
    size_t page = dma_region_find(region, npages, wish->align, wish->boundary);
    if (page == SIZE_MAX) {
        return false;
    }
    dma_region_take(region, page, npages);
    *p = page_address(region, page);
    return true;
}

static bool take_from_any(const struct wish *wish, void **p, struct dma_region **from) {
    bool done = false;
    lock_take(&dma.lock);
    for (struct dma_region *region = dma.regions; region && !done; region = region->next) {
        bool open = region->state == DMA_LIVE && !region->inherited && same_kind(&region->kind, &wish->kind) &&
                    (wish->max_addr == UINT64_MAX || region->max_phys <= wish->max_addr);
        done = open && take_from(region, wish, p);
        *from = region;
    }
    lock_drop(&dma.lock);
    return done;
}

/* --- A buffer in a new region --- */

/* A region that begins where the buffer can; larger than the buffer if that may serve others too. */
static int make_region(const struct wish *wish, struct dma_region **made) {
    size_t align = wish->align;
    if (wish->boundary) {
        align = max_size(align, (size_t)1 << (64 - __builtin_clzll(wish->bytes - 1)));
    }
    if (wish->kind.huge) {
        return dma_region_make(&wish->kind, round_up(wish->bytes, DMA_HUGE_BYTES), align, made);
    }
    return dma_region_make(&wish->kind, wish->alone ? wish->bytes : SHARED_REGION_BYTES, align, made);
}

static int make_measured(const struct wish *wish, struct dma_region **made) {
    *made = NULL;
    int refused = make_region(wish, made);
    if (refused || wish->max_addr == UINT64_MAX) {
        return refused;
    }
    uint64_t highest;
    refused = dma_highest((*made)->base, (*made)->bytes, &highest);
    if (refused) {
        return refused;
    }
    /* What may move may move up. */
    (*made)->max_phys = (*made)->kind.level == SLABMALLOC_DMA_RESIDENT ? UINT64_MAX : highest;
    return highest <= wish->max_addr ? 0 : -ERANGE;
}

/* Of several attempts the one that met max_addr, if any. */
static int make_below(const struct wish *wish, struct dma_region **made) {
    struct dma_region *too_high = NULL, *region = NULL;
    int refused = -ERANGE;
    for (unsigned i = 0; i < ATTEMPTS_MAX && refused == -ERANGE; i++) {
        refused = make_measured(wish, &region);
        if (refused == -ERANGE) {
            region->next = too_high;
            too_high = region;
        }
    }
    bool ranged = too_high && refused == -ENOMEM; /* with the pages that were too high all held, there are no others */
    while (too_high) {
        struct dma_region *next = too_high->next;
        discard(too_high);
        too_high = next;
    }
    if (refused && refused != -ERANGE) {
        discard(region);
    }
    *made = region;
    return ranged ? -ERANGE : refused;
}

static int alloc_fresh(const struct wish *wish, void **p, struct dma_region **from) {
    struct dma_region *region;
    int refused = make_below(wish, &region);
    if (refused) {
        return refused;
    }
    take_from(region, wish, p); /* nobody knows it yet: the buffer keeps it from leaving */
    list_add(region);
    refused = dma_tell_added(region);
    if (refused) {
        lock_take(&dma.lock);
        list_remove(region);
        lock_drop(&dma.lock);
        discard(region);
        return refused;
    }
    *from = region;
    return 0;
}

/* RLIMIT_MEMLOCK may be met by the lock, by the pin or by a container, which may also be short of IOVAs. */
static int alloc_fresh_fitting(struct wish *wish, void **p, struct dma_region **from) {
    wish->alone = wish->kind.huge || wish->bytes > SHARED_REGION_BYTES / 2;
    int refused = alloc_fresh(wish, p, from);
    if ((refused == -EAGAIN || refused == -ENOSPC) && !wish->alone) {
        wish->alone = true;
        refused = alloc_fresh(wish, p, from);
    }
    return refused;
}

static int alloc_kind(struct wish *wish, void **p, struct slabmalloc_dma_info *info) {
    struct dma_region *region;
    int refused = take_from_any(wish, p, &region) ? 0 : alloc_fresh_fitting(wish, p, &region);
    return refused ? refused : dma_info(*p, info);
}

int dma_alloc(size_t bytes, const struct slabmalloc_dma_spec *spec, void **p, struct slabmalloc_dma_info *info) {
    static const struct slabmalloc_dma_spec usual = SLABMALLOC_DMA_SPEC;
    struct wish wish;
    int refused = wish_of(bytes, spec ? spec : &usual, &wish);
    if (refused) {
        return refused;
    }
    enum slabmalloc_dma_level level = wish.kind.level;
    if (level == SLABMALLOC_DMA_LONGTERM && !wish.kind.huge) {
        wish.kind.huge = true;
        if (!alloc_kind(&wish, p, info)) {
            return 0;
        }
        wish.kind.huge = false;
    }
    refused = alloc_kind(&wish, p, info);
    if (refused == -EAGAIN && level == SLABMALLOC_DMA_RESIDENT) {
        wish.kind.huge = true; /* not counted against RLIMIT_MEMLOCK */
        wish.kind.level = SLABMALLOC_DMA_HUGETLB;
        refused = alloc_kind(&wish, p, info) ? -EAGAIN : 0;
    }
    return refused;
}

/* --- The end of a buffer --- */

/* Of REGION, which is LEAVING, the last buffer is gone: NPAGES at PAGE. */
static int leave(struct dma_region *region, size_t page, size_t npages) {
    int refused = dma_tell_removed(region);
    lock_take(&dma.lock);
    if (refused) {
        region->state = DMA_LIVE;
    } else {
        list_remove(region);
    }
    if (refused) {
        dma_region_take(region, page, npages);
    }
    lock_drop(&dma.lock);
    if (!refused) {
        discard(region);
    }
    return refused ? -EBUSY : 0;
}

int dma_free(void *p) {
    int refused = -EINVAL;
    size_t page = 0, npages = 0;
    bool last = false;
    lock_take(&dma.lock);
    struct dma_region *region = dma_region_of(p, 1);
    if (region && region->state == DMA_LIVE) {
        page = page_index(region, p);
        npages = dma_region_around(region, &page);
        npages = p == page_address(region, page) ? npages : 0;
        last = npages == region->nused;
        refused = npages ? last && region->pins ? -EBUSY : 0 : -EINVAL;
    }
    if (!refused) {
        dma_region_give(region, page, npages);
        region->state = last ? DMA_LEAVING : DMA_LIVE;
    }
    lock_drop(&dma.lock);
    return refused || !last ? refused : leave(region, page, npages);
}

int dma_info(const void *p, struct slabmalloc_dma_info *info) {
    size_t page = 0, npages = 0, page_bytes = sys_page_bytes();
    struct dma_region copy = {0};
    lock_take(&dma.lock);
    struct dma_region *region = dma_region_of(p, 1);
    if (region) {
        copy = *region;
        page = page_index(region, p);
        npages = dma_region_around(region, &page);
    }
    lock_drop(&dma.lock);
    if (!npages) {
        return -EINVAL;
    }
    *info = dma_describe(&copy);
    info->base = page_address(&copy, page);
    info->bytes = npages * page_bytes;
    return 0;
}

/* Takes all DEAD regions out; they are linked. */
static struct dma_region *take_dead(void) {
    struct dma_region *dead = NULL;
    lock_take(&dma.lock);
    for (struct dma_region *region = dma.regions, *next; region; region = next) {
        next = region->next;
        if (region->state == DMA_DEAD) {
            list_remove(region);
            region->next = dead;
            dead = region;
        }
    }
    lock_drop(&dma.lock);
    return dead;
}

void dma_trim(void) {
    for (struct dma_region *region = take_dead(), *next; region; region = next) {
        next = region->next;
        discard(region);
    }
}

void dma_fork_child(bool inside) {
    if (lock_held(&dma.lock)) {
        return; /* its holder goes on in the child, with the lists as they are */
    }
    for (struct dma_region *region = dma.regions, *next; region; region = next) {
        next = region->next;
        region->pins = 0;
        region->told = region->mapped = 0;
        region->holder = -1;
        region->inherited = true;
        if (!region->kind.shared || region->state != DMA_LIVE) {
            list_remove(region);
            dma_region_forget(region, !inside);
        }
    }
    dma_observers_fork_child();
    dma_vfio_fork_child();
}
