#include "region.h"

#include "expose.h"
#include "hugetlb.h"
#include "options.h"
#include "pagemap.h"
#include "sys.h"

__thread bool region_purging;

static _Atomic size_t footprint;

EXPOSE(FOOTPRINT, footprint);

size_t region_footprint(void) {
    return atomic_load_explicit(&footprint, memory_order_relaxed);
}

/* Acquire and release: whoever is given addresses that another thread unmapped sees the page map as that one left it.
 * (The kernel's locks order the two as well, but C knows nothing of them.) */
void region_account(ptrdiff_t bytes) {
    atomic_fetch_add_explicit(&footprint, (size_t)bytes, memory_order_acq_rel);
}

/* The kernel may align by itself; if not, map more and cut both ends. */
static char *map_aligned(size_t bytes, size_t align) {
    char *p = sys_map(NULL, bytes);
    if (!p || !((uintptr_t)p & (align - 1))) {
        return p;
    }
    sys_unmap(p, bytes);
    if (bytes > SIZE_MAX - align) {
        return NULL;
    }
    p = sys_map(NULL, bytes + align); /* the kernel's page may be smaller than ours: no less will do */
    if (!p) {
        return NULL;
    }
    char *start = (char *)round_up((uintptr_t)p, align);
    char *end = p + bytes + align;
    /* A refused cut leaves an unused, untouched stretch mapped: address space, no memory. */
    if (start > p) {
        sys_unmap(p, (size_t)(start - p));
    }
    if (end > start + bytes) {
        sys_unmap(start + bytes, (size_t)(end - start) - bytes);
    }
    return start;
}

void *region_map_aligned(size_t bytes, size_t align) {
    char *p = map_aligned(bytes, align);
    if (p && !pagemap_cover(pointer_pfn(p), bytes >> PAGE_SHIFT)) {
        sys_unmap(p, bytes);
        return NULL;
    }
    if (p) {
        region_account((ptrdiff_t)bytes);
    }
    return p;
}

struct region region_map(size_t wanted, size_t least, bool huge, unsigned bind) {
    for (size_t bytes = wanted;; bytes = max_size(least, bytes / 2 & ~(BLOCK_BYTES - 1))) {
        char *p = region_map_aligned(bytes, BLOCK_BYTES);
        if (p) {
            /* Refused advice (no THP in this kernel, seccomp) leaves ordinary pages, which is all right. */
            bool advised = !sys_advise(p, bytes, huge ? SYS_HUGEPAGE : SYS_NOHUGEPAGE) && huge;
            if (bind) {
                sys_bind(p, bytes, bind - 1);
            }
            return (struct region){pointer_pfn(p), bytes >> PAGE_SHIFT, advised};
        }
        if (bytes == least) {
            return (struct region){0, 0, false};
        }
    }
}

static char *map_pool(size_t bytes, unsigned bind) {
    char *p = hugetlb_map(bytes, options.pool_shift, bind);
    bool fits = p && !((uintptr_t)p & (BLOCK_BYTES - 1)) && pagemap_cover(pointer_pfn(p), bytes >> PAGE_SHIFT);
    if (p && !fits) {
        sys_unmap(p, bytes);
        return NULL;
    }
    return p;
}

struct region region_map_pool(size_t wanted, size_t least, unsigned bind) {
    size_t unit = max_size((size_t)1 << options.pool_shift, BLOCK_BYTES);
    least = round_up(least, unit);
    for (size_t bytes = round_up(wanted, unit);; bytes = max_size(least, bytes / 2 & ~(unit - 1))) {
        char *p = map_pool(bytes, bind);
        if (p) {
            region_account((ptrdiff_t)bytes);
            return (struct region){pointer_pfn(p), bytes >> PAGE_SHIFT, false};
        }
        if (bytes <= least) {
            return (struct region){0, 0, false};
        }
    }
}

void region_unmap_around(uintptr_t pfn, size_t npages, uintptr_t hole, size_t nhole) {
    uintptr_t behind = hole + nhole;
    region_account(-(ptrdiff_t)(npages << PAGE_SHIFT));
    if (hole > pfn) {
        sys_unmap(pfn_pointer(pfn), (hole - pfn) << PAGE_SHIFT);
    }
    if (pfn + npages > behind) {
        sys_unmap(pfn_pointer(behind), (pfn + npages - behind) << PAGE_SHIFT);
    }
}

bool region_lay_pool(void *p, size_t bytes, size_t *laid) {
    size_t unit = max_size((size_t)1 << options.pool_shift, BLOCK_BYTES);
    *laid = 0;
    for (size_t piece = bytes & ~(unit - 1); piece;) {
        char *pages = hugetlb_map(piece, options.pool_shift, 0);
        if (!pages) {
            piece = piece / 2 & ~(unit - 1);
            continue;
        }
        /* Never mapped over P directly: what is refused there would leave a hole for others to map into. */
        if (!sys_move(pages, piece, piece, (char *)p + *laid)) {
            /* The kernel empties the destination before it refuses (hugetlb pages before Linux 5.16): whose its
             * addresses are is unknown. The rest is ours still. */
            sys_unmap(pages, piece);
            region_unmap_around(pointer_pfn(p), bytes >> PAGE_SHIFT, pointer_pfn((char *)p + *laid),
                                piece >> PAGE_SHIFT);
            return false;
        }
        *laid += piece;
        piece = min_size(piece, (bytes - *laid) & ~(unit - 1));
    }
    return true;
}

/* The pageblocks from PFN on that the pool is behind: all of a stretch, or its first ones. */
static size_t pool_blocks(uintptr_t pfn, size_t npages) {
    size_t n = 0;
    while (n * BLOCK_PAGES < npages && block_pool_shift(pagemap_block(pfn + n * BLOCK_PAGES))) {
        n++;
    }
    return n;
}

static void set_pool_blocks(uintptr_t pfn, size_t n, unsigned shift) {
    for (size_t i = 0; i < n; i++) {
        block_set_pool_shift(pagemap_block(pfn + i * BLOCK_PAGES), shift);
    }
}

bool region_unmap(uintptr_t pfn, size_t npages) {
    ptrdiff_t bytes = (ptrdiff_t)(npages << PAGE_SHIFT);
    unsigned shift = block_pool_shift(pagemap_block(pfn));
    size_t npool = shift ? pool_blocks(pfn, npages) : 0;
    set_pool_blocks(pfn, npool, 0);
    region_account(-bytes); /* before the addresses can be another's */
    if (sys_unmap(pfn_pointer(pfn), npages << PAGE_SHIFT)) {
        region_account(bytes);
        set_pool_blocks(pfn, npool, shift);
        return false;
    }
    return true;
}

bool region_purge(uintptr_t pfn, size_t npages) {
    return !block_pool_shift(pagemap_block(pfn)) && !sys_advise(pfn_pointer(pfn), npages << PAGE_SHIFT, SYS_DONTNEED);
}
