#include "pagemap.h"

#include "sys.h"

struct pagemap pagemap __attribute__((aligned(4096)));

static struct lock map_lock;

/* First and last root index in use, so that walks need not read the whole root. */
static _Atomic size_t root_low = ROOT_SIZE, root_high;

void pagemap_init(void) {
    sys_advise(&pagemap, sizeof pagemap, SYS_NOHUGEPAGE);
}

void pagemap_set_tags(uintptr_t pfn, size_t npages, uint32_t tag) {
    _Atomic uint32_t *at = &pagemap_leaf(pfn)->tag[pfn & (LEAF_PAGES - 1)];
    for (size_t i = 0; i < npages; i++) {
        atomic_store_explicit(&at[i], tag, memory_order_relaxed);
    }
}

/* Called with the lock. */
static bool pagemap_add_leaf(size_t top) {
    if (atomic_load_explicit(&pagemap.root[top], memory_order_relaxed)) {
        return true;
    }
    struct leaf *leaf = sys_map(NULL, sizeof *leaf);
    if (!leaf) {
        return false;
    }
    sys_advise(leaf, sizeof *leaf, SYS_NOHUGEPAGE);
    /* Release: a thread that gets an address of this span by any means then finds the leaf's zeroes. */
    atomic_store_explicit(&pagemap.root[top], (uintptr_t)leaf - (uintptr_t)&pagemap,
                          memory_order_release);
    root_low = min_size(root_low, top);
    root_high = max_size(root_high, top);
    return true;
}

bool pagemap_cover(uintptr_t pfn, size_t npages) {
    size_t first = pfn >> LEAF_SHIFT, last = (pfn + npages - 1) >> LEAF_SHIFT;
    if (last >= ROOT_SIZE) {
        return false;
    }
    for (size_t top = first; top <= last; top++) {
        if (atomic_load_explicit(&pagemap.root[top], memory_order_acquire)) {
            continue;
        }
        lock_take(&map_lock);
        bool there = pagemap_add_leaf(top);
        lock_drop(&map_lock);
        if (!there) {
            return false;
        }
    }
    return true;
}

void pagemap_each_block(bool (*visit)(uintptr_t pfn, struct block *block, void *arg), void *arg) {
    for (size_t top = root_low; top <= root_high && top < ROOT_SIZE; top++) {
        if (!atomic_load_explicit(&pagemap.root[top], memory_order_acquire)) {
            continue;
        }
        struct leaf *leaf = pagemap_leaf(top << LEAF_SHIFT);
        for (size_t i = 0; i < LEAF_BLOCKS; i++) {
            uintptr_t pfn = (top << LEAF_SHIFT) + i * BLOCK_PAGES;
            if (leaf->block[i].zone && !visit(pfn, &leaf->block[i], arg)) {
                return;
            }
        }
    }
}

struct lock *pagemap_lock(void) {
    return &map_lock;
}
