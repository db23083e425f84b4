/*
 * VFIO containers: each pins the regions and shows them to its devices. It does so as an observer of its own kind, told
 * of a region before all others and of its end after all others: who is told of a region finds it pinned, and it is
 * pinned until the last one has let go. So it never refuses that a region goes.
 *
 * A region of level LONGTERM made while a container is there is pinned by that one, its holder, and has no ring. The
 * holder maps it while it is made, before addresses are measured and observers are told, and it cannot be detached
 * meanwhile: the level was promised until the buffer is freed.
 *
 * The kernel is the judge of which IOVA is free: the program has mappings of its own in the container, and regions that
 * come are in no list yet. Our own regions are stepped over; the next place to try is the one behind the last.
 *
 * Lock: dma_lock, for the containers and for what regions say of them. Not held across a call of the kernel.
 */
#include <errno.h>

#include "dma.h"
#include "sys.h"

/* Places tried for one region: VFIO's own limit of mappings, as the kernel has it by default. */
#define PLACES_MAX 65536

/* Only the thread that made it so changes one that is COMING or LEAVING. */
enum container_state { FREE, COMING, ATTACHED, LEAVING };

struct container {
    int fd;
    enum container_state state;
    bool same;           /* an IOVA is the address, or there is none */
    unsigned held;       /* regions it is the holder of */
    uint64_t next;       /* where the next place is looked for first */
    struct sys_vfio may; /* the IOVAs that the IOMMU and the program let us use */
};

static struct container containers[SLABMALLOC_DMA_CONTAINERS_MAX];

static unsigned index_of(const struct container *container) {
    return (unsigned)(container - containers);
}

/* With the lock. */
static bool is_mapped(const struct container *container, const struct dma_region *region) {
    return region->mapped >> index_of(container) & 1;
}

/* --- Where --- */

static bool is_allowed(const struct container *container, uint64_t iova, size_t bytes) {
    for (unsigned i = 0; i < container->may.nranges; i++) {
        const struct sys_iova_range *range = &container->may.range[i];
        if (range->first <= iova && iova <= range->last && bytes - 1 <= range->last - iova) {
            return true;
        }
    }
    return false;
}

/* The lowest allowed place from FROM on; 0: none. Never 0: too many take that for no address. */
static uint64_t lowest_place(const struct container *container, uint64_t from, size_t bytes, size_t align) {
    for (unsigned i = 0; i < container->may.nranges; i++) {
        const struct sys_iova_range *range = &container->may.range[i];
        uint64_t at = from > range->first ? from : range->first;
        at = at ? at : bytes;
        if (at > UINT64_MAX - align) {
            continue;
        }
        at = (at + align - 1) & ~(uint64_t)(align - 1);
        if (at <= range->last && bytes - 1 <= range->last - at) {
            return at;
        }
    }
    return 0;
}

/* The end of what we have mapped ourselves in [AT, AT + BYTES); 0: nothing. With the lock. */
static uint64_t end_of_ours(const struct container *container, uint64_t at, size_t bytes) {
    for (const struct dma_region *region = dma_regions(); region; region = region->next) {
        uint64_t iova = region->iova[index_of(container)];
        if (is_mapped(container, region) && iova < at + bytes && at < iova + region->bytes) {
            return iova + region->bytes;
        }
    }
    return 0;
}

static uint64_t lowest_free(const struct container *container, uint64_t from, size_t bytes, size_t align) {
    uint64_t at, end = from;
    do {
        at = lowest_place(container, end, bytes, align);
        end = at ? end_of_ours(container, at, bytes) : 0;
    } while (end);
    return at;
}

/* The next place to try; 0: there is none. WRAPS counts how often it was behind the last. */
static uint64_t take_place(struct container *container, size_t bytes, size_t align, unsigned *wraps) {
    lock_take(dma_lock());
    uint64_t at = lowest_free(container, container->next, bytes, align);
    if (!at) {
        at = lowest_free(container, 0, bytes, align);
        ++*wraps;
    }
    container->next = at ? at + bytes : 0;
    lock_drop(dma_lock());
    return at;
}

static int map_somewhere(struct container *container, const struct dma_region *region, uint64_t *iova) {
    size_t align = region->kind.huge ? DMA_HUGE_BYTES : sys_page_bytes(); /* so that the IOMMU can have large pages */
    int refused = -EEXIST;
    for (unsigned i = 0, wraps = 0; i < PLACES_MAX && refused == -EEXIST; i++) {
        *iova = take_place(container, region->bytes, align, &wraps);
        if (!*iova || wraps > 1) {
            break;
        }
        refused = sys_vfio_map(container->fd, region->base, region->bytes, *iova);
    }
    return refused == -EEXIST ? -ENOSPC : refused;
}

static int map_wherever(struct container *container, const struct dma_region *region, uint64_t *iova) {
    *iova = (uintptr_t)region->base;
    int refused = is_allowed(container, *iova, region->bytes)
                      ? sys_vfio_map(container->fd, region->base, region->bytes, *iova)
                      : -ERANGE;
    bool elsewhere = !container->same && (refused == -ERANGE || refused == -EEXIST);
    return elsewhere ? map_somewhere(container, region, iova) : refused;
}

/* --- One region --- */

/* Only one thread at a time tells a container of a region. */
static int map(struct container *container, struct dma_region *region) {
    uint64_t iova;
    int refused = map_wherever(container, region, &iova);
    if (refused) {
        return refused == -ENOMEM ? -EAGAIN : refused == -EINVAL ? -ERANGE : refused;
    }
    lock_take(dma_lock());
    region->iova[index_of(container)] = iova;
    region->mapped |= 1u << index_of(container);
    lock_drop(dma_lock());
    return 0;
}

/* The level falls before the pin ends. */
static void unmap(struct container *container, struct dma_region *region) {
    lock_take(dma_lock());
    bool mapped = is_mapped(container, region);
    region->mapped &= ~(1u << index_of(container));
    lock_drop(dma_lock());
    if (mapped) {
        sys_vfio_unmap(container->fd, region->iova[index_of(container)], region->bytes);
    }
}

int dma_vfio_added(unsigned index, struct dma_region *region) {
    lock_take(dma_lock());
    bool mapped = is_mapped(&containers[index], region);
    lock_drop(dma_lock());
    return mapped ? 0 : map(&containers[index], region);
}

void dma_vfio_removed(unsigned index, struct dma_region *region) {
    unmap(&containers[index], region);
}

/* --- A region comes or goes --- */

/* Of those that are attached the first is the holder. */
static struct container *take_holder(void) {
    struct container *holder = NULL;
    lock_take(dma_lock());
    for (unsigned i = 0; i < SLABMALLOC_DMA_CONTAINERS_MAX && !holder; i++) {
        holder = containers[i].state == ATTACHED ? &containers[i] : NULL;
    }
    if (holder) {
        holder->held++;
    }
    lock_drop(dma_lock());
    return holder;
}

int dma_vfio_hold(struct dma_region *region) {
    struct container *holder = take_holder();
    if (!holder) {
        return -ENOENT;
    }
    region->holder = (int)index_of(holder);
    return map(holder, region);
}

void dma_vfio_let_go(struct dma_region *region) {
    if (region->holder < 0) {
        return;
    }
    struct container *holder = &containers[region->holder];
    unmap(holder, region);
    lock_take(dma_lock());
    holder->held--;
    lock_drop(dma_lock());
    region->holder = -1;
}

/* --- A container comes or goes --- */

/* With the lock. FREE: one that is free. */
static struct container *find(int fd, bool want_free) {
    for (struct container *at = containers; at < containers + SLABMALLOC_DMA_CONTAINERS_MAX; at++) {
        if (want_free ? at->state == FREE : at->state != FREE && at->fd == fd) {
            return at;
        }
    }
    return NULL;
}

static int reserve(int fd, struct container **reserved) {
    lock_take(dma_lock());
    bool there = find(fd, false);
    struct container *container = there ? NULL : find(fd, true);
    if (container) {
        *container = (struct container){.fd = fd, .state = COMING};
    }
    lock_drop(dma_lock());
    *reserved = container;
    return there ? -EBUSY : container ? 0 : -ENOSPC;
}

/* Keeps of the ranges what lies between FIRST and LAST. */
static void clip(struct sys_vfio *may, uint64_t first, uint64_t last) {
    unsigned n = 0;
    for (unsigned i = 0; i < may->nranges; i++) {
        struct sys_iova_range range = may->range[i];
        range.first = range.first > first ? range.first : first;
        range.last = range.last < last ? range.last : last;
        if (range.first <= range.last) {
            may->range[n++] = range;
        }
    }
    may->nranges = n;
}

/* The IOMMU is asked, and all regions there are become the container's. */
static int bring(struct container *container, const struct slabmalloc_dma_vfio *how) {
    int refused = sys_vfio_info(container->fd, &container->may);
    if (refused) {
        return refused;
    }
    container->same = how->flags & SLABMALLOC_DMA_IOVA_VA;
    clip(&container->may, how->first, how->last ? how->last : UINT64_MAX);
    if (!container->may.nranges) {
        return -ERANGE;
    }
    return dma_observe_container(index_of(container));
}

static void set_state(struct container *container, enum container_state state) {
    lock_take(dma_lock());
    container->state = state;
    lock_drop(dma_lock());
}

int dma_vfio_attach(int fd, const struct slabmalloc_dma_vfio *how) {
    static const struct slabmalloc_dma_vfio usual = {0};
    how = how ? how : &usual;
    if (how->flags & ~SLABMALLOC_DMA_IOVA_VA || (how->last && how->first > how->last)) {
        return -EINVAL;
    }
    struct container *container;
    int refused = reserve(fd, &container);
    if (!container) {
        return refused;
    }
    refused = bring(container, how);
    set_state(container, refused ? FREE : ATTACHED);
    return refused;
}

int dma_vfio_detach(int fd) {
    lock_take(dma_lock());
    struct container *container = find(fd, false);
    int refused = !container || container->state != ATTACHED ? -EINVAL : container->held ? -EBUSY : 0;
    if (!refused) {
        container->state = LEAVING; /* nobody's holder from here on */
    }
    lock_drop(dma_lock());
    if (!refused) {
        dma_unobserve_container(index_of(container));
        set_state(container, FREE);
    }
    return refused;
}

int dma_vfio_iova(int fd, const void *p, uint64_t *iova) {
    lock_take(dma_lock());
    struct container *container = find(fd, false);
    struct dma_region *region = dma_region_of(p, 1);
    bool mapped = container && region && is_mapped(container, region);
    if (mapped) {
        *iova = region->iova[index_of(container)] + ((uintptr_t)p - (uintptr_t)region->base);
    }
    lock_drop(dma_lock());
    return mapped ? 0 : -EINVAL;
}

void dma_vfio_fork_child(void) {
    for (unsigned i = 0; i < SLABMALLOC_DMA_CONTAINERS_MAX; i++) {
        containers[i] = (struct container){.state = FREE};
    }
}
