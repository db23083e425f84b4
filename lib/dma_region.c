#include <errno.h>

#include "dma.h"
#include "meta.h"
#include "sys.h"

/* Tries to get an aligned address by asking for one that was free a moment ago. */
#define HINTS_MAX 4

static size_t npages_of(const struct dma_region *region) {
    return region->bytes / sys_page_bytes();
}

static size_t bitmap_bytes(const struct dma_region *region) {
    return (npages_of(region) + 63) / 64 * sizeof(uint64_t);
}

/* --- Memory --- */

static int map_at(const struct dma_kind *kind, void *hint, size_t bytes, void **address) {
    if (kind->huge) {
        int refused = sys_map_huge(hint, bytes, DMA_HUGE_SHIFT, kind->shared, address);
        return refused == -ENOMEM || !refused ? refused : -ENOTSUP;
    }
    *address = kind->shared ? sys_map_shared(hint, bytes) : sys_map(hint, bytes);
    return *address ? 0 : -ENOMEM;
}

static void *aligned_hint(size_t bytes, size_t align) {
    if (bytes > SIZE_MAX - align) {
        return NULL;
    }
    char *p = sys_map(NULL, bytes + align);
    if (!p) {
        return NULL;
    }
    sys_unmap(p, bytes + align);
    return (void *)round_up((uintptr_t)p, align);
}

/* The kernel aligns to the backing's page; for more it must be told where. */
static int map_aligned(const struct dma_kind *kind, size_t bytes, size_t align, void **address) {
    void *hint = NULL;
    for (unsigned i = 0; i < HINTS_MAX; i++) {
        int refused = map_at(kind, hint, bytes, address);
        if (refused || !((uintptr_t)*address & (align - 1))) {
            return refused;
        }
        sys_unmap(*address, bytes);
        hint = aligned_hint(bytes, align);
    }
    return -ENOMEM;
}

/* Programs close all descriptors they know nothing of, and open their own by the low numbers. */
static int pin_by_ring(struct dma_region *region) {
    int ring = -1;
    int refused = sys_ring_pin(region->base, region->bytes, &ring);
    if (refused) {
        return refused == -ENOMEM ? -EAGAIN : -ENOTSUP;
    }
    int high = sys_dup(ring);
    if (high >= 0) {
        sys_close(ring);
        ring = high;
    }
    if (sys_file_of(ring, &region->ring_file)) {
        return -ENOTSUP; /* closed by another thread already */
    }
    region->ring = ring;
    return 0;
}

/* Once: where there is a container all regions are mapped in it, which pins them. */
static int pin_longterm(struct dma_region *region) {
    int refused = dma_vfio_hold(region);
    return refused == -ENOENT ? pin_by_ring(region) : refused;
}

/* The ring is there, and was not closed by the program, whose file may have its number. */
static bool has_ring(const struct dma_region *region) {
    return region->ring >= 0 && sys_is_file(region->ring, &region->ring_file);
}

/* Pages, then the pin: a page may move until it is pinned. */
static int pin(struct dma_region *region) {
    const struct dma_kind *kind = &region->kind;
    if (!kind->shared && sys_advise(region->base, region->bytes, SYS_DONTFORK)) {
        return -ENOTSUP;
    }
    if (kind->node >= 0) {
        sys_bind(region->base, region->bytes, (unsigned)kind->node);
    }
    if (kind->level == SLABMALLOC_DMA_RESIDENT && sys_lock(region->base, region->bytes)) {
        return -EAGAIN;
    }
    int refused = sys_advise(region->base, region->bytes, SYS_POPULATE);
    if (refused) {
        return refused == -EINVAL ? -ENOTSUP : -ENOMEM;
    }
    return kind->level == SLABMALLOC_DMA_LONGTERM ? pin_longterm(region) : 0;
}

static int fill(struct dma_region *region, size_t align) {
    void *address = NULL;
    int refused = map_aligned(&region->kind, region->bytes, align, &address);
    if (refused) {
        return refused;
    }
    region->base = address;
    return pin(region);
}

static void free_metadata(struct dma_region *region) {
    if (region->used) {
        meta_free(region->used, bitmap_bytes(region));
    }
    if (region->last) {
        meta_free(region->last, bitmap_bytes(region));
    }
    meta_free(region, sizeof *region);
}

void dma_region_forget(struct dma_region *region, bool lockable) {
    if (has_ring(region)) {
        sys_close(region->ring);
    }
    if (lockable) {
        free_metadata(region);
    }
}

bool dma_region_unmake(struct dma_region *region) {
    dma_vfio_let_go(region); /* while the memory is there */
    if (region->base && sys_unmap(region->base, region->bytes)) {
        return false;
    }
    if (!region->inherited && has_ring(region)) {
        sys_ring_unpin(region->ring);
    }
    dma_region_forget(region, true);
    return true;
}

int dma_region_make(const struct dma_kind *kind, size_t bytes, size_t align, struct dma_region **made) {
    struct dma_region *region = meta_alloc(sizeof *region);
    *made = region;
    if (!region) {
        return -ENOMEM;
    }
    *region = (struct dma_region){.bytes = bytes, .kind = *kind, .ring = -1, .holder = -1, .max_phys = UINT64_MAX};
    bool fits = bitmap_bytes(region) <= META_MAX;
    region->used = fits ? meta_alloc(bitmap_bytes(region)) : NULL;
    region->last = fits ? meta_alloc(bitmap_bytes(region)) : NULL;
    int refused = region->used && region->last ? fill(region, align) : -ENOMEM;
    *made = refused && dma_region_unmake(region) ? NULL : region;
    return refused;
}

/* --- Buffers --- */

static bool bit(const uint64_t *bits, size_t i) {
    return bits[i / 64] >> i % 64 & 1;
}

static void bit_set(uint64_t *bits, size_t i, bool on) {
    uint64_t mask = (uint64_t)1 << i % 64;
    bits[i / 64] = on ? bits[i / 64] | mask : bits[i / 64] & ~mask;
}

/* The first used page in [FROM, TO), or TO. */
static size_t next_used(const struct dma_region *region, size_t from, size_t to) {
    while (from < to && !bit(region->used, from)) {
        from = from % 64 || region->used[from / 64] ? from + 1 : from + 64;
    }
    return min_size(from, to);
}

/* The first address from AT on where BYTES are aligned and cross no boundary. BOUNDARY >= BYTES. */
static uintptr_t next_place(uintptr_t at, size_t bytes, size_t align, size_t boundary) {
    at = round_up(at, align);
    bool crosses = boundary && (at ^ (at + bytes - 1)) & ~(boundary - 1);
    return crosses ? round_up(round_up(at, boundary), align) : at;
}

size_t dma_region_find(const struct dma_region *region, size_t npages, size_t align, size_t boundary) {
    size_t page_bytes = sys_page_bytes(), all = npages_of(region), at = 0;
    uintptr_t base = (uintptr_t)region->base;
    for (;;) {
        uintptr_t place = next_place(base + at * page_bytes, npages * page_bytes, align, boundary);
        at = (place - base) / page_bytes;
        if (place < base || at > all || npages > all - at) {
            return SIZE_MAX;
        }
        size_t used = next_used(region, at, at + npages);
        if (used == at + npages) {
            return at;
        }
        at = used + 1;
    }
}

void dma_region_take(struct dma_region *region, size_t page, size_t npages) {
    for (size_t i = 0; i < npages; i++) {
        bit_set(region->used, page + i, true);
    }
    bit_set(region->last, page + npages - 1, true);
    region->nused += npages;
}

size_t dma_region_around(const struct dma_region *region, size_t *page) {
    size_t first = *page, end = *page;
    if (!bit(region->used, first)) {
        return 0;
    }
    while (first && bit(region->used, first - 1) && !bit(region->last, first - 1)) {
        first--;
    }
    while (!bit(region->last, end)) {
        end++;
    }
    *page = first;
    return end + 1 - first;
}

void dma_region_give(struct dma_region *region, size_t page, size_t npages) {
    for (size_t i = 0; i < npages; i++) {
        bit_set(region->used, page + i, false);
    }
    bit_set(region->last, page + npages - 1, false);
    region->nused -= npages;
}
