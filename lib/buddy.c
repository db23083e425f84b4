#include "buddy.h"

#include "pagemap.h"

/* Blocks that a request for an aligned one looks at. */
#define LOOKS 8

/* N (1..64) bits from BIT on, all of one word. */
static uint64_t bits_from(size_t bit, size_t n) {
    ASSERT(n && bit + n <= 64);
    return ~(uint64_t)0 >> (64 - n) << bit;
}

/* Most words have none; without an instruction for it counting is a call. */
static size_t count_mixed(uint64_t bits) {
    return bits ? (size_t)__builtin_popcountll(bits) : 0;
}

static size_t fresh_count_in(const struct block *block, uintptr_t pfn, size_t npages) {
    const uint64_t *words = block->fresh;
    size_t first = pfn & (BLOCK_PAGES - 1), count = 0;
    while (npages) {
        size_t bit = first % 64, n = min_size(64 - bit, npages);
        uint64_t mask = bits_from(bit, n);
        uint64_t fresh = __atomic_load_n(&words[first / 64], __ATOMIC_RELAXED) & mask;
        count += fresh == mask ? n : count_mixed(fresh);
        first += n;
        npages -= n;
    }
    return count;
}

static size_t fresh_count(uintptr_t pfn, size_t npages) {
    return fresh_count_in(pagemap_block(pfn), pfn, npages);
}

/* Pages that a purge would be about: see buddy.h on the hugetlb pool. */
static size_t dirty_count(uintptr_t pfn, size_t npages) {
    return block_pool_shift(pagemap_block(pfn)) ? 0 : npages - fresh_count(pfn, npages);
}

static void fresh_set(uintptr_t pfn, size_t npages, bool fresh) {
    uint64_t *words = pagemap_block(pfn)->fresh;
    size_t first = pfn & (BLOCK_PAGES - 1);
    while (npages) {
        size_t bit = first % 64, n = min_size(64 - bit, npages);
        uint64_t mask = bits_from(bit, n);
        uint64_t word = words[first / 64];
        /* Atomic for fresh_count alone, which may look at its own pages' bits without the lock. */
        __atomic_store_n(&words[first / 64], fresh ? word | mask : word & ~mask, __ATOMIC_RELAXED);
        first += n;
        npages -= n;
    }
}

/* The bits of up to 64 pages, as the low bits of a word. */
static uint64_t *mask_words(uintptr_t pfn, size_t npages, uint64_t mask[2]) {
    size_t bit = pfn % 64;
    uint64_t all = npages == 64 ? ~(uint64_t)0 : ((uint64_t)1 << npages) - 1;
    mask[0] = all << bit;
    mask[1] = bit ? all >> (64 - bit) : 0;
    return &pagemap_block(pfn)->fresh[(pfn & (BLOCK_PAGES - 1)) / 64];
}

uint64_t buddy_fresh_mask(uintptr_t pfn, size_t npages) {
    uint64_t mask[2];
    const uint64_t *words = mask_words(pfn, npages, mask);
    size_t bit = pfn % 64;
    uint64_t low = __atomic_load_n(&words[0], __ATOMIC_RELAXED) & mask[0];
    uint64_t high = mask[1] ? __atomic_load_n(&words[1], __ATOMIC_RELAXED) & mask[1] : 0;
    return low >> bit | (high ? high << (64 - bit) : 0);
}

void buddy_set_fresh_mask(uintptr_t pfn, size_t npages, uint64_t fresh) {
    uint64_t mask[2];
    uint64_t *words = mask_words(pfn, npages, mask);
    size_t bit = pfn % 64;
    __atomic_store_n(&words[0], (words[0] & ~mask[0]) | (fresh << bit & mask[0]), __ATOMIC_RELAXED);
    if (mask[1]) {
        __atomic_store_n(&words[1], (words[1] & ~mask[1]) | (fresh >> (64 - bit) & mask[1]), __ATOMIC_RELAXED);
    }
}

void buddy_mark_fresh(uintptr_t pfn, size_t npages) {
    fresh_set(pfn, npages, true);
}

bool buddy_is_fresh(uintptr_t pfn) {
    return fresh_count(pfn, 1);
}

static struct page *page_in(struct chunk *chunk, uintptr_t pfn) {
    return &chunk->page[pfn & (CHUNK_PAGES - 1)];
}

static struct block *block_in(struct chunk *chunk, uintptr_t pfn) {
    return &chunk->block[(pfn & (CHUNK_PAGES - 1)) >> MAX_ORDER];
}

static unsigned group_in(const struct block *block, unsigned order) {
    return order == MAX_ORDER ? 0 : block->group;
}

static unsigned group_of(uintptr_t pfn, unsigned order) {
    return group_in(pagemap_block(pfn), order);
}

/* What a free block of ORDER counts as for the hugetlb pool. */
static size_t pool_count(const struct block *block, unsigned order) {
    return order == MAX_ORDER && block_pool_shift(block) ? BLOCK_PAGES : 0;
}

/* The free block at PFN, of which NDIRTY pages are resident, becomes the first or last of LIST. */
static void list_insert(struct free_list *list, uintptr_t pfn, struct page *page, unsigned order, size_t ndirty,
                        bool at_tail) {
    uintptr_t next = at_tail ? 0 : list->head, prev = at_tail ? list->tail : 0;
    page_set_free(page, order, next, prev, ndirty);
    list->count++;
    if (!list->head) {
        list->head = list->tail = pfn;
    } else if (at_tail) {
        pagemap_page(prev)->link = pfn;
        list->tail = pfn;
    } else {
        pagemap_page(next)->prev = pfn;
        list->head = pfn;
    }
}

static void list_remove(struct free_list *list, struct page page) {
    list->count--;
    if (page.prev) {
        pagemap_page(page.prev)->link = page.link;
    } else {
        list->head = page.link;
    }
    if (page.link) {
        pagemap_page(page.link)->prev = page.prev;
    } else {
        list->tail = page.prev;
    }
}

static void area_insert(struct buddy *buddy, uintptr_t pfn, unsigned order, bool at_tail) {
    struct free_area *area = &buddy->area[order];
    struct chunk *chunk = pagemap_chunk(pfn);
    size_t npages = (size_t)1 << order;
    const struct block *block = block_in(chunk, pfn);
    size_t ndirty = block_pool_shift(block) ? 0 : npages - fresh_count_in(block, pfn, npages);
    unsigned group = group_in(block, order), kind = ndirty ? KIND_DIRTY : KIND_FRESH;
    list_insert(&area->list[group][kind], pfn, page_in(chunk, pfn), order, ndirty, at_tail);
    buddy->orders[group][kind] |= 1u << order;
    counter_add(&area->nr_free, 1);
    counter_add(&buddy->free_pages, npages);
    counter_add(&buddy->dirty_pages, ndirty);
    counter_add(&buddy->pool_pages, pool_count(block, order));
}

static void area_remove(struct buddy *buddy, uintptr_t pfn) {
    struct chunk *chunk = pagemap_chunk(pfn);
    const struct page page = *page_in(chunk, pfn);
    const struct block *block = block_in(chunk, pfn);
    unsigned order = page.order, group = group_in(block, order), kind = page.extra ? KIND_DIRTY : KIND_FRESH;
    struct free_area *area = &buddy->area[order];
    struct free_list *list = &area->list[group][kind];
    ASSERT(page.state == PAGE_FREE);
    list_remove(list, page);
    if (!list->head) {
        buddy->orders[group][kind] &= ~(1u << order);
    }
    counter_sub(&area->nr_free, 1);
    counter_sub(&buddy->free_pages, (size_t)1 << order);
    counter_sub(&buddy->dirty_pages, page.extra);
    counter_sub(&buddy->pool_pages, pool_count(block, order));
    page_in(chunk, pfn)->state = PAGE_BODY; /* its order is what whoever purges it goes by */
}

/* The pages' bits in their pageblock follow what the free lists say. */
static struct pageblock_index *index_of(struct buddy *buddy, uintptr_t pfn) {
    return &buddy->index[pagemap_block(pfn)->group];
}

static bool is_free_block(uintptr_t pfn, unsigned order) {
    struct page page = page_peek(pagemap_page(pfn));
    return page.state == PAGE_FREE && page.order == order;
}

static void free_block(struct buddy *buddy, uintptr_t pfn, unsigned order) {
    ASSERT(order <= MAX_ORDER && pagemap_page(pfn)->state != PAGE_FREE);
    while (order < MAX_ORDER && is_free_block(pfn ^ ((uintptr_t)1 << order), order)) {
        area_remove(buddy, pfn ^ ((uintptr_t)1 << order));
        pfn &= ~((uintptr_t)1 << order);
        order++;
        buddy->merges++;
    }
    /* A block whose next-order buddy is free too will soon merge if it is left alone: use it last. */
    bool at_tail =
        order + 1 < MAX_ORDER && is_free_block((pfn & ~((uintptr_t)1 << order)) ^ ((uintptr_t)2 << order), order + 1);
    area_insert(buddy, pfn, order, at_tail);
}

void buddy_free(struct buddy *buddy, uintptr_t pfn, size_t npages, size_t ntouched) {
    fresh_set(pfn, ntouched, false);
    pageblock_give(index_of(buddy, pfn), pfn, npages);
    while (npages) {
        unsigned order = 63 - (unsigned)__builtin_clzll(npages);
        if (pfn & (BLOCK_PAGES - 1)) {
            order = (unsigned)min_size(order, (unsigned)__builtin_ctzll(pfn));
        }
        free_block(buddy, pfn, order);
        pfn += (uintptr_t)1 << order;
        npages -= (size_t)1 << order;
    }
}

/* Splits the block of ORDER at PFN in two; a half without a page of [FROM, TO) goes into the lists. */
static void halve(struct buddy *buddy, uintptr_t pfn, unsigned order, uintptr_t from, uintptr_t to) {
    uintptr_t half = (uintptr_t)1 << (order - 1), middle = pfn + half;
    buddy->splits++;
    if (middle <= from) {
        area_insert(buddy, pfn, order - 1, false);
    } else if (to <= middle) {
        area_insert(buddy, middle, order - 1, false);
    }
}

/* A block that is in no list any more: keeps what [FROM, TO) has of it and gives the rest back, largest pieces first.
 * Of each order at most two blocks need splitting: those that a border of the range goes through. */
static void split(struct buddy *buddy, uintptr_t pfn, unsigned order, uintptr_t from, uintptr_t to) {
    uintptr_t end = pfn + ((uintptr_t)1 << order);
    from = max_size(from, pfn);
    to = min_size(to, end);
    ASSERT(from < to);
    for (; order; order--) {
        uintptr_t inside = ((uintptr_t)1 << order) - 1, first = from & ~inside, last = to & ~inside;
        if (from & inside) {
            halve(buddy, first, order, from, to);
        }
        if (to & inside && !(from & inside && first == last)) {
            halve(buddy, last, order, from, to);
        }
    }
}

/* The free block that PFN, a free page, lies in. */
static uintptr_t block_around(uintptr_t pfn) {
    if (likely(page_peek(pagemap_page(pfn)).state == PAGE_FREE)) {
        return pfn;
    }
    unsigned order = 0;
    while (!is_free_block(pfn & ~(((uintptr_t)1 << order) - 1), order)) {
        order++;
    }
    return pfn & ~(((uintptr_t)1 << order) - 1);
}

/* Takes [FROM, TO), free pages of one pageblock, out of the lists. */
static void take_range(struct buddy *buddy, uintptr_t from, uintptr_t to) {
    for (uintptr_t at = from; at < to;) {
        uintptr_t pfn = block_around(at);
        unsigned order = pagemap_page(pfn)->order;
        area_remove(buddy, pfn);
        split(buddy, pfn, order, from, to);
        at = pfn + ((uintptr_t)1 << order);
    }
    pageblock_take(index_of(buddy, from), from, to - from);
}

/* Of a list's first blocks the one whose pageblock has the shortest free ranges: where little is free already, little
 * is lost, and others become whole again. */
static uintptr_t tightest_of(const struct free_list *list) {
    uintptr_t best = list->head;
    size_t shortest = BLOCK_PAGES;
    unsigned looks = 0;
    for (uintptr_t pfn = list->head; pfn && looks < LOOKS; pfn = pagemap_page(pfn)->link, looks++) {
        size_t longest = pagemap_block(pfn)->longest;
        if (longest < shortest) {
            shortest = longest;
            best = pfn;
        }
    }
    return best;
}

/* The block to take for GROUP, by preference: its own pageblocks' dirty blocks, a dirty free pageblock, its own fresh
 * blocks, ranges of several of its own blocks, a fresh pageblock; then the largest block of another group, dirty before
 * fresh. */
static uintptr_t choose_block(const struct buddy *buddy, size_t npages, unsigned align_order, enum buddy_group group) {
    uint32_t wanted = ~0u << max_size(order_of(npages), align_order), parts = wanted & ~(1u << MAX_ORDER);
    for (unsigned kind = 0; kind < KINDS; kind++) {
        uint32_t own = buddy->orders[group][kind] & parts, whole = buddy->orders[0][kind] & wanted & ~parts;
        if (own) {
            const struct free_list *list = &buddy->area[__builtin_ctz(own)].list[group][kind];
            return align_order ? tightest_of(list) : list->head;
        }
        uintptr_t range = kind == KIND_FRESH && !align_order ? pageblock_find(&buddy->index[group], npages) : 0;
        if (range || whole) {
            return range ? range : buddy->area[MAX_ORDER].list[0][kind].head;
        }
    }
    for (unsigned kind = 0; kind < KINDS; kind++) {
        for (unsigned other = 0; other < GROUPS; other++) {
            uint32_t orders = buddy->orders[other][kind] & parts;
            if (orders) {
                return buddy->area[31 - __builtin_clz(orders)].list[other][kind].head;
            }
        }
    }
    return 0;
}

/* Page runs: the tightest range; but an unused one loses against a free pageblock that is resident. */
static uintptr_t choose_range(const struct buddy *buddy, size_t npages) {
    uintptr_t pfn = pageblock_find(&buddy->index[GROUP_RUN], npages);
    uintptr_t whole = buddy->area[MAX_ORDER].list[0][KIND_DIRTY].head;
    return pfn && whole && fresh_count(pfn, npages) == npages ? whole : pfn;
}

static uintptr_t choose(const struct buddy *buddy, size_t npages, unsigned align_order, enum buddy_group group) {
    uintptr_t pfn = group == GROUP_RUN && !align_order ? choose_range(buddy, npages) : 0;
    return pfn ? pfn : choose_block(buddy, npages, align_order, group);
}

size_t buddy_fit(const struct buddy *buddy, size_t npages, size_t least, enum buddy_group group) {
    uint32_t dirty = buddy->orders[group][KIND_DIRTY] | (buddy->orders[0][KIND_DIRTY] & (1u << MAX_ORDER));
    for (size_t n = npages; n >= least; n /= 2) {
        if (dirty >> order_of(n)) {
            return n;
        }
    }
    return npages;
}

/* A free pageblock becomes GROUP's. */
static void open_block(struct buddy *buddy, uintptr_t pfn, enum buddy_group group) {
    struct block *block = pagemap_block(pfn);
    block->group = (uint8_t)group;
    if (block_huge(block) && !pagemap_page(pfn)->extra) {
        /* The first touch of any page makes the whole huge page resident: prefer its rest from now on. */
        area_remove(buddy, pfn);
        fresh_set(pfn, BLOCK_PAGES, false);
        area_insert(buddy, pfn, MAX_ORDER, false);
        buddy->fresh_taken += BLOCK_PAGES;
    }
}

void buddy_take(struct buddy *buddy, uintptr_t pfn, size_t npages, enum buddy_group group) {
    if (is_free_block(pfn, MAX_ORDER)) {
        open_block(buddy, pfn, group);
    }
    buddy->fresh_taken += fresh_count(pfn, npages);
    take_range(buddy, pfn, pfn + npages);
}

uintptr_t buddy_alloc(struct buddy *buddy, size_t npages, unsigned align_order, enum buddy_group group) {
    uintptr_t pfn = choose(buddy, npages, align_order, group);
    if (pfn) {
        buddy_take(buddy, pfn, npages, group);
    }
    return pfn;
}

bool buddy_claim(struct buddy *buddy, uintptr_t pfn, size_t npages) {
    if (!pageblock_is_free(pfn, npages)) {
        return false;
    }
    take_range(buddy, pfn, pfn + npages);
    return true;
}

/* A whole block leaves the lists. */
static void take_block(struct buddy *buddy, uintptr_t pfn, unsigned order) {
    area_remove(buddy, pfn);
    pageblock_take(index_of(buddy, pfn), pfn, (size_t)1 << order);
}

uintptr_t buddy_take_dirty(struct buddy *buddy, unsigned min_order, unsigned *order) {
    uint32_t all = 0;
    for (unsigned group = 0; group < GROUPS; group++) {
        all |= buddy->orders[group][KIND_DIRTY] & (~0u << min_order);
    }
    if (!all) {
        return 0;
    }
    *order = 31 - (unsigned)__builtin_clz(all);
    unsigned group = 0;
    while (!buddy->area[*order].list[group][KIND_DIRTY].head) {
        group++;
    }
    uintptr_t pfn = buddy->area[*order].list[group][KIND_DIRTY].tail;
    take_block(buddy, pfn, *order);
    return pfn;
}

uintptr_t buddy_remove_block(struct buddy *buddy) {
    const struct free_list *list = buddy->area[MAX_ORDER].list[0];
    uintptr_t pfn = list[KIND_FRESH].head;
    while (pfn && block_pool_shift(pagemap_block(pfn))) {
        pfn = pagemap_page(pfn)->link;
    }
    pfn = pfn ? pfn : list[KIND_DIRTY].head;
    if (pfn) {
        take_block(buddy, pfn, MAX_ORDER);
    }
    return pfn;
}

/* The pool's page that PFN lies in is free as a whole. */
static bool is_free_in_pool(uintptr_t pfn, size_t nblocks) {
    for (size_t i = 0; i < nblocks; i++) {
        if (!is_free_block(pfn + i * BLOCK_PAGES, MAX_ORDER)) {
            return false;
        }
    }
    return true;
}

uintptr_t buddy_remove_pool(struct buddy *buddy, size_t *nblocks) {
    uintptr_t pfn = buddy->pool_pages ? buddy->area[MAX_ORDER].list[0][KIND_FRESH].head : 0;
    for (; pfn; pfn = pagemap_page(pfn)->link) {
        unsigned shift = block_pool_shift(pagemap_block(pfn));
        *nblocks = shift > BLOCK_SHIFT ? (size_t)1 << (shift - BLOCK_SHIFT) : 1;
        /* One look per page of the pool: at its first block. */
        if (shift && !(pfn & (*nblocks * BLOCK_PAGES - 1)) && is_free_in_pool(pfn, *nblocks)) {
            break;
        }
    }
    for (size_t i = 0; pfn && i < *nblocks; i++) {
        take_block(buddy, pfn + i * BLOCK_PAGES, MAX_ORDER);
    }
    return pfn;
}

bool buddy_remove_this(struct buddy *buddy, uintptr_t pfn) {
    bool is_free = is_free_block(pfn, MAX_ORDER);
    if (is_free) {
        take_block(buddy, pfn, MAX_ORDER);
    }
    return is_free;
}

void buddy_add_block(struct buddy *buddy, uintptr_t pfn) {
    buddy_mark_fresh(pfn, BLOCK_PAGES);
    pageblock_give(index_of(buddy, pfn), pfn, BLOCK_PAGES);
    area_insert(buddy, pfn, MAX_ORDER, true);
}

static const char *check_list(const struct buddy *buddy, unsigned order, unsigned group, unsigned kind, size_t *count,
                              size_t *ndirty, size_t *npool) {
    const struct free_list *list = &buddy->area[order].list[group][kind];
    uintptr_t prev = 0;
    size_t before = *count;
    for (uintptr_t pfn = list->head; pfn; prev = pfn, pfn = pagemap_page(pfn)->link) {
        const struct page *page = pagemap_page(pfn);
        uintptr_t mate = pfn ^ ((uintptr_t)1 << order);
        size_t npages = (size_t)1 << order;
        if (page->state != PAGE_FREE || page->order != order) {
            return "a block in a free list is not marked free with its order";
        }
        if (pfn & (npages - 1)) {
            return "a free block is not aligned to its order";
        }
        if (page->prev != prev) {
            return "a free list's back link is wrong";
        }
        if (page->extra != dirty_count(pfn, npages) || (kind == KIND_DIRTY) != (page->extra != 0)) {
            return "a free block is in the wrong list for its fresh pages";
        }
        if (group_of(pfn, order) != group) {
            return "a free block is in the list of another group than its pageblock's";
        }
        if (order < MAX_ORDER && is_free_block(mate, order)) {
            return "two free buddies coexist";
        }
        if (!pageblock_is_free(pfn, npages)) {
            return "a page of a free block is not free in its pageblock's bitmap";
        }
        for (size_t i = 1; i < npages; i++) {
            if (pagemap_page(pfn + i)->state == PAGE_FREE) {
                return "a page inside a free block is itself marked free";
            }
        }
        ++*count;
        *ndirty += page->extra;
        *npool += pool_count(pagemap_block(pfn), order);
    }
    if ((buddy->orders[group][kind] >> order & 1) != (list->head != 0)) {
        return "the summary of non-empty orders is wrong";
    }
    if (*count - before != list->count) {
        return "a free list's count is wrong";
    }
    return list->tail == prev ? NULL : "a free list's tail is wrong";
}

const char *buddy_check(const struct buddy *buddy) {
    size_t free_pages = 0, ndirty = 0, npool = 0;
    for (unsigned order = 0; order < NORDERS; order++) {
        size_t count = 0;
        for (unsigned i = 0; i < GROUPS * KINDS; i++) {
            const char *broken = check_list(buddy, order, i / KINDS, i % KINDS, &count, &ndirty, &npool);
            if (broken) {
                return broken;
            }
        }
        if (count != buddy->area[order].nr_free) {
            return "nr_free differs from the lists";
        }
        free_pages += count << order;
    }
    if (free_pages != buddy->free_pages || ndirty != buddy->dirty_pages || npool != buddy->pool_pages) {
        return "free, dirty or pool page totals differ from the lists";
    }
    for (unsigned group = 0; group < GROUPS; group++) {
        const char *broken = pageblock_check(&buddy->index[group], group);
        if (broken) {
            return broken;
        }
    }
    return NULL;
}
