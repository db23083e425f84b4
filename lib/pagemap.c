#include "pagemap.h"

#include "expose.h"
#include "sys.h"

struct pagemap pagemap __attribute__((aligned(CACHE_LINE)));

static struct lock map_lock;

/* First and last root index in use, so that walks need not read the whole root. */
static _Atomic size_t root_low = ROOT_SIZE, root_high;

EXPOSE(PAGEMAP, pagemap);
EXPOSE(PAGEMAP_LOW, root_low);
EXPOSE(PAGEMAP_HIGH, root_high);

void pagemap_init(void) {
    uintptr_t start = round_up((uintptr_t)&pagemap, PAGE_BYTES);
    sys_advise((void *)start, ((uintptr_t)(&pagemap + 1) - start) & ~(PAGE_BYTES - 1), SYS_NOHUGEPAGE);
}

void pagemap_set_tags(uintptr_t pfn, size_t npages, uint32_t tag) {
    _Atomic uint32_t *at = &pagemap_leaf(pfn)->tag[pfn & (LEAF_PAGES - 1)];
    for (size_t i = 0; i < npages; i++) {
        /* Release: who reads the id of a new owner that stole the slab finds the owner by it. */
        atomic_store_explicit(&at[i], tag, memory_order_release);
    }
}

/* Zeroed and, under any THP setting, in base pages. */
static void *map_table(size_t bytes) {
    void *table = sys_map(NULL, bytes);
    if (table) {
        sys_advise(table, bytes, SYS_NOHUGEPAGE);
    }
    return table;
}

/* With the lock. */
static bool add_leaf(size_t top) {
    if (atomic_load_explicit(&pagemap.root[top], memory_order_relaxed)) {
        return true;
    }
    struct leaf *leaf = map_table(sizeof *leaf);
    if (!leaf) {
        return false;
    }
    /* Release: a thread that gets an address of this span by any means then finds the leaf's zeroes. */
    atomic_store_explicit(&pagemap.root[top], (uintptr_t)leaf - (uintptr_t)&pagemap, memory_order_release);
    root_low = min_size(root_low, top);
    root_high = max_size(root_high, top);
    return true;
}

/* With the lock. */
static bool add_chunk(uintptr_t pfn) {
    if (!add_leaf(pfn >> LEAF_SHIFT)) {
        return false;
    }
    struct chunk *chunk = pagemap_chunk(pfn);
    if (!chunk && (chunk = map_table(sizeof *chunk))) {
        atomic_store_explicit(&pagemap_leaf(pfn)->chunk[(pfn & (LEAF_PAGES - 1)) >> CHUNK_SHIFT], chunk,
                              memory_order_release);
    }
    return chunk;
}

bool pagemap_cover(uintptr_t pfn, size_t npages) {
    uintptr_t last = pfn + npages - 1;
    if (last >> LEAF_SHIFT >= ROOT_SIZE) {
        return false;
    }
    for (uintptr_t at = pfn & ~(CHUNK_PAGES - 1); at <= last; at += CHUNK_PAGES) {
        if (pagemap_known(at) && pagemap_chunk(at)) {
            continue;
        }
        lock_take(&map_lock);
        bool there = add_chunk(at);
        lock_drop(&map_lock);
        if (!there) {
            return false;
        }
    }
    return true;
}

/* What shares a page with others' entries stays. */
static void forget(void *table, size_t bytes) {
    if (((uintptr_t)table | bytes) % PAGE_BYTES == 0) {
        sys_advise(table, bytes, SYS_DONTNEED);
    }
}

void pagemap_forget(uintptr_t pfn, size_t nblocks) {
    /* One chunk at a time: the next one's tables lie elsewhere. */
    for (size_t left = nblocks * BLOCK_PAGES, npages; left; left -= npages, pfn += npages) {
        npages = min_size(left, CHUNK_PAGES - (pfn & (CHUNK_PAGES - 1)));
        forget(pagemap_page(pfn), npages * sizeof(struct page));
        forget(&pagemap_leaf(pfn)->tag[pfn & (LEAF_PAGES - 1)], npages * sizeof(uint32_t));
    }
}

typedef bool (*block_visit)(uintptr_t pfn, struct block *block, void *arg);

static bool visit_chunk(uintptr_t pfn, bool (*wanted)(const struct block *block), block_visit visit, void *arg) {
    struct chunk *chunk = pagemap_chunk(pfn);
    for (size_t i = 0; chunk && i < CHUNK_BLOCKS; i++) {
        if (wanted(&chunk->block[i]) && !visit(pfn + i * BLOCK_PAGES, &chunk->block[i], arg)) {
            return false;
        }
    }
    return true;
}

static void each_block(bool (*wanted)(const struct block *block), block_visit visit, void *arg) {
    for (size_t top = root_low; top <= root_high && top < ROOT_SIZE; top++) {
        uintptr_t pfn = (uintptr_t)top << LEAF_SHIFT, end = pfn + LEAF_PAGES;
        for (; pagemap_known(pfn) && pfn < end; pfn += CHUNK_PAGES) {
            if (!visit_chunk(pfn, wanted, visit, arg)) {
                return;
            }
        }
    }
}

static bool has_zone(const struct block *block) {
    return block_zone(block);
}

static bool has_pool(const struct block *block) {
    return block_pool_shift(block);
}

void pagemap_each_block(block_visit visit, void *arg) {
    each_block(has_zone, visit, arg);
}

void pagemap_each_pool_block(block_visit visit, void *arg) {
    each_block(has_pool, visit, arg);
}

struct lock *pagemap_lock(void) {
    return &map_lock;
}
