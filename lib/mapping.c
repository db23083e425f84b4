#include "mapping.h"

#include <errno.h>
#include <string.h>

#include "mapping_cache.h"
#include "options.h"
#include "pagemap.h"
#include "region.h"
#include "sys.h"
#include "zone.h"

/* A block that grows to no more than this is copied into a cached extent that is large enough: that costs a fraction of
 * the page faults of growing, and the extent is resident anyway. Larger ones are never copied. */
#define COPY_MAX_PAGES (((size_t)32 << 20) >> PAGE_SHIFT)

/* A request up to this is put together from cached pageblocks if no cached extent is large enough. It then is several
 * map areas, which realloc can only copy: larger ones stay one. */
#define COMPOSE_MAX_PAGES (((size_t)256 << 20) >> PAGE_SHIFT)

/* Most extents that a request is put together from. */
#define COMPOSE_PIECES 16

/* The kernel moves no page tables (seccomp): nothing is put together from then on. */
static _Atomic bool no_compose;

/* The kernel moves no hugetlb pages (before Linux 5.16, or seccomp): own mappings do without the pool from then on. */
static _Atomic bool no_move;

static void *mapping_mark(struct extent extent) {
    struct page *page = pagemap_page(extent.pfn);
    page_mark(page, PAGE_MAPPING, extent.npages);
    page->extra = (extent.node << 3 | (unsigned)extent.pieces << 2 | (unsigned)extent.backing) & 0xffff;
    pagemap_set_tag(extent.pfn, TAG_MAPPING);
    return pfn_pointer(extent.pfn);
}

static struct extent mapping_extent(const void *p) {
    const struct page *page = pagemap_page(pointer_pfn(p));
    ASSERT(page->state == PAGE_MAPPING);
    return (struct extent){
        .pfn = pointer_pfn(p),
        .npages = page->link,
        .backing = page->extra & 3,
        .pieces = page->extra >> 2 & 1,
        .node = page->extra >> 3,
    };
}

static void mapping_unmark(const void *p) {
    pagemap_set_tag(pointer_pfn(p), TAG_FREED);
}

size_t mapping_npages(const void *p) {
    return mapping_extent(p).npages;
}

/* Says what is behind the pageblocks of EXTENT: the pool's pages behind the first NPOOL pages. */
static void set_pool_shift(struct extent extent, size_t npool) {
    for (size_t at = 0; at < extent.npages; at += BLOCK_PAGES) {
        block_set_pool_shift(pagemap_block(extent.pfn + at), at < npool ? options.pool_shift : 0);
    }
}

/* After EXTENT was mapped further, to NPAGES at the same address. */
static struct extent grown_in_place(struct extent extent, size_t npages) {
    size_t more = npages - extent.npages;
    if (!pagemap_cover(extent.pfn, npages)) {
        sys_unmap(pfn_pointer(extent.pfn + extent.npages), more << PAGE_SHIFT);
        return (struct extent){0};
    }
    region_account((ptrdiff_t)(more << PAGE_SHIFT));
    zone_shed(more);
    extent.npages = npages;
    set_pool_shift(extent, 0);
    return extent;
}

/* Moves EXTENT to the fresh NPAGES at TO. False: refused, EXTENT is as it was and TO is given back.
 *
 * Some kernels unmap TO before they refuse, and then its addresses may be another thread's mapping. So TO gets a mark
 * that nobody else's memory can have: where this call's own variable is. If it is not there, or may not be looked for,
 * the addresses are given up. */
static bool move_to(char *to, size_t npages, struct extent extent) {
    size_t bytes = npages << PAGE_SHIFT;
    uintptr_t mark = (uintptr_t)&mark, found = 0;
    *(uintptr_t *)(void *)to = mark;
    if (sys_move(pfn_pointer(extent.pfn), extent.npages << PAGE_SHIFT, bytes, to)) {
        return true;
    }
    if (sys_copy(&found, to, sizeof found) && found == mark) {
        mapping_cache_unmap((struct extent){.pfn = pointer_pfn(to), .npages = npages, .node = extent.node});
    } else {
        region_account(-(ptrdiff_t)bytes);
    }
    return false;
}

/* EXTENT with NPAGES > its own, in place or with its page tables moved; npages 0: refused, nothing changed. */
static struct extent extent_grow(struct extent extent, size_t npages) {
    if (extent.backing == BACKING_POOL) {
        return (struct extent){0};
    }
    size_t old_bytes = extent.npages << PAGE_SHIFT, bytes = npages << PAGE_SHIFT;
    int refused = sys_grow(pfn_pointer(extent.pfn), old_bytes, bytes);
    if (!refused) {
        return grown_in_place(extent, npages);
    }
    /* Page tables move whole, and huge pages stay huge, only between aligned addresses. */
    char *to = refused == -ENOMEM ? region_map_aligned(bytes, BLOCK_BYTES) : NULL;
    if (!to) {
        return (struct extent){0};
    }
    if (!move_to(to, npages, extent)) {
        return (struct extent){0};
    }
    region_account(-(ptrdiff_t)old_bytes);
    zone_shed(npages - extent.npages);
    extent.pfn = pointer_pfn(to);
    extent.npages = npages;
    set_pool_shift(extent, 0);
    return extent;
}

static bool pool_serves(void) {
    return options.pool_shift && !atomic_load_explicit(&no_move, memory_order_relaxed);
}

/* Pages of the hugetlb pool behind the first part of an extent: as many whole ones as there are. The rest is as any
 * other memory, so a block just above 2 MiB does not cost 4. Returns the pages they are; SIZE_MAX: the extent is gone.
 */
static size_t lay_pool(struct extent extent) {
    size_t laid = 0;
    if (pool_serves() && !region_lay_pool(pfn_pointer(extent.pfn), extent.npages << PAGE_SHIFT, &laid)) {
        atomic_store_explicit(&no_move, true, memory_order_relaxed);
        return SIZE_MAX;
    }
    set_pool_shift(extent, laid >> PAGE_SHIFT);
    return laid >> PAGE_SHIFT;
}

static size_t pool_align(size_t bytes, size_t align) {
    size_t page = pool_serves() ? (size_t)1 << options.pool_shift : 0;
    return bytes >= page ? max_size(align, page) : align;
}

/* What BYTES at P get that are not the pool's. */
static enum backing back_with_pages(char *p, size_t bytes, bool huge) {
    sys_advise(p, bytes, huge ? SYS_HUGEPAGE : SYS_NOHUGEPAGE);
    numa_place_mapping(p, bytes);
    return huge ? BACKING_THP : BACKING_SMALL;
}

static struct extent extent_fresh(size_t npages, size_t align, bool huge, unsigned node) {
    size_t bytes = npages << PAGE_SHIFT;
    struct extent extent;
    size_t npool;
    char *p;
    do { /* a second time at most: without the pool nothing is lost */
        p = region_map_aligned(bytes, pool_align(bytes, align));
        if (!p) {
            return (struct extent){0};
        }
        zone_shed(npages);
        extent = (struct extent){.pfn = pointer_pfn(p), .npages = npages, .node = node};
        npool = lay_pool(extent);
    } while (npool == SIZE_MAX);
    size_t laid = npool << PAGE_SHIFT;
    enum backing rest = npool < npages ? back_with_pages(p + laid, bytes - laid, huge) : BACKING_POOL;
    extent.backing = npool ? BACKING_POOL : rest;
    return extent;
}

/* --- Requests put together from cached pageblocks --- */

struct pieces {
    struct extent of[COMPOSE_PIECES];
    size_t n, npages;
};

/* Takes cached pageblocks like LIKE for a request of NPAGES, rounded up to the next pageblock if that is little more.
 */
static struct pieces gather(size_t npages, const struct extent *like) {
    struct pieces pieces = {.n = 0};
    size_t wanted = mapping_cache_round(npages) & ~(size_t)(BLOCK_PAGES - 1);
    while (pieces.n < COMPOSE_PIECES && pieces.npages < wanted) {
        struct extent piece = mapping_cache_take_blocks(wanted - pieces.npages, like);
        if (!piece.npages) {
            break;
        }
        pieces.of[pieces.n++] = piece;
        pieces.npages += piece.npages;
    }
    return pieces;
}

/* Moves PIECE's pages to TO, which is mapped and untouched; fewer than all: refused, and whose the addresses of the
 * next STEP pages at TO are is unknown. */
static size_t move_piece(struct extent piece, uintptr_t to, size_t *step) {
    size_t done = 0;
    *step = piece.pieces ? BLOCK_PAGES : piece.npages;
    while (done < piece.npages) {
        size_t bytes = *step << PAGE_SHIFT;
        region_account(-(ptrdiff_t)bytes); /* before the addresses can be another's */
        if (!sys_move(pfn_pointer(piece.pfn + done), bytes, bytes, pfn_pointer(to + done))) {
            region_account((ptrdiff_t)bytes);
            return done;
        }
        done += *step;
    }
    return done;
}

/* Moves PIECES to the start of EXTENT. False: refused, all of them and EXTENT are gone. */
static bool lay_pieces(struct extent extent, struct pieces *pieces) {
    uintptr_t to = extent.pfn;
    for (struct extent *piece = pieces->of; piece < pieces->of + pieces->n; piece++) {
        size_t step, done = move_piece(*piece, to, &step);
        if (done < piece->npages) {
            atomic_store_explicit(&no_compose, true, memory_order_relaxed);
            region_unmap_around(extent.pfn, extent.npages, to + done, step);
            piece->pfn += done;
            piece->npages -= done;
            for (; piece < pieces->of + pieces->n; piece++) {
                mapping_cache_unmap(*piece);
            }
            return false;
        }
        to += done;
    }
    return true;
}

/* NPAGES or a little more, of which the first part is cached pageblocks; npages 0: there are none, or no memory. */
static struct extent extent_compose(size_t npages, size_t align, bool huge, unsigned node) {
    struct extent extent = {.node = node, .backing = huge ? BACKING_THP : BACKING_SMALL, .pieces = true};
    if (npages > COMPOSE_MAX_PAGES || pool_serves() || atomic_load_explicit(&no_compose, memory_order_relaxed)) {
        return (struct extent){0};
    }
    struct pieces pieces = gather(npages, &extent);
    if (!pieces.n) {
        return (struct extent){0};
    }
    extent.npages = max_size(npages, pieces.npages);
    char *p = region_map_aligned(extent.npages << PAGE_SHIFT, align);
    if (!p) {
        for (size_t i = 0; i < pieces.n; i++) {
            mapping_cache_unmap(pieces.of[i]);
        }
        return (struct extent){0};
    }
    extent.pfn = pointer_pfn(p);
    set_pool_shift(extent, 0);
    if (extent.npages > pieces.npages) {
        zone_shed(extent.npages - pieces.npages);
        size_t laid = pieces.npages << PAGE_SHIFT;
        back_with_pages(p + laid, (extent.npages << PAGE_SHIFT) - laid, huge);
    }
    return lay_pieces(extent, &pieces) ? extent : (struct extent){0};
}

/* --- malloc, free, realloc --- */

void *mapping_alloc(size_t bytes, size_t align, bool zero) {
    size_t npages = pages_of(bytes);
    unsigned node = numa_home();
    align = max_size(align, BLOCK_BYTES);
    struct extent extent = mapping_cache_take(npages, align, node);
    size_t dirty = extent.npages;
    /* Memory asked for as zero is often touched here and there only: leave it to ordinary pages. */
    bool huge = !zero && !dirty && zone_wants_huge_mapping(bytes);
    npages = huge ? mapping_cache_round(npages) : npages;
    if (!dirty && !zero) {
        extent = extent_compose(npages, align, huge, node);
    }
    if (!extent.npages) {
        extent = extent_fresh(npages, align, huge, node);
    }
    if (!extent.npages) {
        return NULL;
    }
    mapping_cache_count(extent.backing, (ptrdiff_t)extent.npages, 1);
    void *p = mapping_mark(extent);
    return zero && dirty ? memset(p, 0, bytes) : p;
}

/* EXTENT, which nobody uses any more, waits in the cache. */
static void extent_release(struct extent extent) {
    mapping_cache_count(extent.backing, -(ptrdiff_t)extent.npages, -1);
    extent.freed_at = sys_now_ms();
    struct extent out = mapping_cache_put(extent);
    if (out.npages) {
        mapping_cache_unmap(out);
    }
    mapping_cache_decay(0);
}

void mapping_free(void *p) {
    struct extent extent = mapping_extent(p);
    mapping_unmark(p);
    extent_release(extent);
}

/* The least number of pages from NPAGES on after which EXTENT can be cut: not inside a page of the pool. */
static size_t cut_after(struct extent extent, size_t npages) {
    unsigned shift = block_pool_shift(pagemap_block(extent.pfn + npages));
    return shift ? min_size(extent.npages, round_up(npages, max_size((size_t)1 << shift >> PAGE_SHIFT, BLOCK_PAGES)))
                 : npages;
}

/* The pages beyond NPAGES go back to the kernel at once: whoever shrinks a large block wants the memory. */
static void *mapping_shrink(void *p, struct extent extent, size_t npages) {
    npages = cut_after(extent, npages);
    if (npages == extent.npages) {
        return p;
    }
    mapping_cache_unmap(
        (struct extent){.pfn = extent.pfn + npages, .npages = extent.npages - npages, .backing = extent.backing});
    mapping_cache_count(extent.backing, (ptrdiff_t)npages - (ptrdiff_t)extent.npages, 0);
    extent.npages = npages;
    mapping_mark(extent);
    return p;
}

/* EXTENT, live at P, with NPAGES and its contents, from what the cache has; NULL: it has nothing that serves. */
static void *grow_from_cache(void *p, struct extent extent, size_t npages) {
    if (mapping_cache_take_next(extent, npages)) {
        mapping_cache_count(extent.backing, (ptrdiff_t)(npages - extent.npages), 0);
        extent.npages = npages;
        extent.pieces = true;
        return mapping_mark(extent);
    }
    struct extent to =
        npages <= COPY_MAX_PAGES ? mapping_cache_take(npages, BLOCK_BYTES, numa_home()) : (struct extent){0};
    if (!to.npages) {
        return NULL;
    }
    mapping_cache_count(to.backing, (ptrdiff_t)to.npages, 1);
    void *copy = memcpy(mapping_mark(to), p, extent.npages << PAGE_SHIFT);
    mapping_unmark(p);
    extent_release(extent);
    return copy;
}

void *mapping_resize(void *p, size_t bytes) {
    struct extent extent = mapping_extent(p);
    size_t npages = pages_of(bytes);
    if (npages <= extent.npages) {
        return npages < extent.npages ? mapping_shrink(p, extent, npages) : p;
    }
    void *grown_there = grow_from_cache(p, extent, npages);
    if (grown_there) {
        return grown_there;
    }
    mapping_unmark(p); /* before the address can become somebody else's */
    struct extent grown = extent_grow(extent, npages);
    if (!grown.npages) {
        mapping_mark(extent);
        return NULL;
    }
    mapping_cache_count(extent.backing, (ptrdiff_t)(npages - extent.npages), 0);
    return mapping_mark(grown);
}

size_t mapping_decay(uint64_t now_ms) {
    bool due = options.decay_ms >= 0 && mapping_cached_bytes();
    return due ? mapping_cache_decay(now_ms - min_size(now_ms, (size_t)options.decay_ms)) : 0;
}

size_t mapping_trim(void) {
    return mapping_cache_decay(UINT64_MAX);
}
