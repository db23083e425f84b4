/*
 * The buddy against that of the textbooks (Knowlton 1965; Knuth, volume 1, 2.5): sizes rounded up to powers of two, the
 * smallest block that is large enough, freed blocks first in their list, no other rule. Both live through one random
 * trace; ours must neither touch more pages nor have fewer of them free in whole pageblocks.
 */
#include "buddy.h"
#include "pagemap.h"
#include "util.h"

#define BLOCKS 256
#define NPAGES (BLOCKS * BLOCK_PAGES)
#define FIRST ((uintptr_t)7 << LEAF_SHIFT)
#define NO_PAGE UINT32_MAX
#define NO_ORDER 255

/* --- The textbook's --- */

static struct {
    uint32_t head[NORDERS], next[NPAGES], prev[NPAGES];
    uint8_t order[NPAGES]; /* of the free block that begins here */
    size_t nr_free[NORDERS];
} book;

static void book_push(uint32_t page, unsigned order) {
    book.order[page] = (uint8_t)order;
    book.prev[page] = NO_PAGE;
    book.next[page] = book.head[order];
    if (book.head[order] != NO_PAGE) {
        book.prev[book.head[order]] = page;
    }
    book.head[order] = page;
    book.nr_free[order]++;
}

static void book_remove(uint32_t page) {
    unsigned order = book.order[page];
    if (book.prev[page] == NO_PAGE) {
        book.head[order] = book.next[page];
    } else {
        book.next[book.prev[page]] = book.next[page];
    }
    if (book.next[page] != NO_PAGE) {
        book.prev[book.next[page]] = book.prev[page];
    }
    book.order[page] = NO_ORDER;
    book.nr_free[order]--;
}

static void book_start(void) {
    memset(book.order, NO_ORDER, sizeof book.order);
    memset(book.nr_free, 0, sizeof book.nr_free);
    for (unsigned order = 0; order < NORDERS; order++) {
        book.head[order] = NO_PAGE;
    }
    for (unsigned block = BLOCKS; block--;) {
        book_push((uint32_t)(block * BLOCK_PAGES), MAX_ORDER);
    }
}

static uint32_t book_alloc(size_t npages) {
    unsigned wanted = order_of(npages), order = wanted;
    while (order < NORDERS && book.head[order] == NO_PAGE) {
        order++;
    }
    if (order == NORDERS) {
        return NO_PAGE;
    }
    uint32_t page = book.head[order];
    book_remove(page);
    while (order-- > wanted) {
        book_push(page + (1u << order), order);
    }
    return page;
}

static void book_free(uint32_t page, size_t npages) {
    unsigned order = order_of(npages);
    while (order < MAX_ORDER && book.order[page ^ 1u << order] == order) {
        book_remove(page ^ 1u << order);
        page &= ~(1u << order);
        order++;
    }
    book_push(page, order);
}

/* --- Ours --- */

static struct buddy buddy;

static void ours_start(void) {
    require(pagemap_cover(FIRST, NPAGES));
    memset(&buddy, 0, sizeof buddy);
    for (size_t block = 0; block < BLOCKS; block++) {
        for (size_t i = 0; i < BLOCK_PAGES; i++) {
            *pagemap_page(FIRST + block * BLOCK_PAGES + i) = (struct page){0};
        }
        *pagemap_block(FIRST + block * BLOCK_PAGES) = (struct block){0};
        buddy_add_block(&buddy, FIRST + block * BLOCK_PAGES);
    }
}

static uint32_t ours_alloc(size_t npages) {
    uintptr_t pfn = buddy_alloc(&buddy, npages, is_pow2(npages) ? order_of(npages) : 0, GROUP_RUN);
    return pfn ? (uint32_t)(pfn - FIRST) : NO_PAGE;
}

static void ours_free(uint32_t page, size_t npages) {
    buddy_free(&buddy, FIRST + page, npages, npages);
}

/* --- The trace --- */

#define SLOTS 8192

struct side {
    const char *name;
    uint32_t (*alloc)(size_t npages);
    void (*free)(uint32_t page, size_t npages);
    uint32_t at[SLOTS]; /* NO_PAGE: nothing */
    bool touched[NPAGES];
    size_t ntouched, refused, samples;
    double unusable, whole; /* sums over samples: the index; free pageblocks */
};

static struct side sides[2] = {{.name = "slabmalloc", .alloc = ours_alloc, .free = ours_free},
                               {.name = "textbook", .alloc = book_alloc, .free = book_free}};
static size_t slot_pages[SLOTS]; /* 0: empty */

static void side_take(struct side *side, size_t slot, size_t npages) {
    uint32_t page = side->alloc(npages);
    side->at[slot] = page;
    side->refused += page == NO_PAGE;
    for (size_t i = 0; page != NO_PAGE && i < npages; i++) {
        side->ntouched += !side->touched[page + i];
        side->touched[page + i] = true;
    }
}

static void side_give(struct side *side, size_t slot, size_t npages) {
    if (side->at[slot] != NO_PAGE) {
        side->free(side->at[slot], npages);
    }
}

static size_t free_pageblocks(const struct side *side) {
    return side == &sides[0] ? buddy.area[MAX_ORDER].nr_free : book.nr_free[MAX_ORDER];
}

/* The share of the free pages of SIDE that no request of order 9 can have (Gorman's unusable free space index). */
static double unusable_now(const struct side *side) {
    size_t free_pages = 0, whole = free_pageblocks(side) * BLOCK_PAGES;
    for (unsigned order = 0; order < NORDERS; order++) {
        free_pages += (side == &sides[0] ? buddy.area[order].nr_free : book.nr_free[order]) << order;
    }
    return free_pages ? (double)(free_pages - whole) / (double)free_pages : 0;
}

/* Small ones are the most frequent. */
static size_t random_pages(struct rng *rng, bool exact) {
    unsigned order = (unsigned)min_size(rng_below(rng, NORDERS), rng_below(rng, NORDERS));
    size_t most = (size_t)1 << order;
    return exact ? most - rng_below(rng, most / 2 + 1) : most;
}

/* Live memory swings between an eighth and a half of what there is. */
static void trace(unsigned long steps, bool exact) {
    struct rng rng = {exact ? 2 : 1};
    size_t live = 0;
    bool growing = true;
    for (unsigned long step = 0; step < steps;) {
        size_t slot = rng_below(&rng, SLOTS), npages = slot_pages[slot];
        growing = growing ? live < NPAGES / 2 : live < NPAGES / 8;
        if (npages) {
            if (growing && rng_below(&rng, 4)) {
                continue;
            }
            slot_pages[slot] = 0;
            live -= npages;
        } else {
            if (!growing && rng_below(&rng, 4)) {
                continue;
            }
            slot_pages[slot] = random_pages(&rng, exact);
            live += slot_pages[slot];
        }
        step++;
        for (struct side *side = sides; side < sides + 2; side++) {
            if (npages) {
                side_give(side, slot, npages);
            } else {
                side_take(side, slot, slot_pages[slot]);
            }
            if (step % 1000 == 0) {
                side->whole += (double)free_pageblocks(side);
                side->unusable += unusable_now(side);
                side->samples++;
            }
        }
    }
}

static void compare(unsigned long steps, bool exact) {
    ours_start();
    book_start();
    trace(steps, exact);
    require(!buddy_check(&buddy));
    for (struct side *side = sides; side < sides + 2; side++) {
        double n = (double)side->samples;
        printf(
            "%s, %lu operations, %s: %zu pages touched; on average %.1f pageblocks free, %.3f of free memory unusable "
            "at order 9 (at the end %.3f); refused %zu\n",
            side->name, steps, exact ? "any length" : "orders 0 to 9", side->ntouched, side->whole / n,
            side->unusable / n, unusable_now(side), side->refused);
    }
    fflush(stdout);
    require(sides[0].ntouched <= sides[1].ntouched && sides[0].refused <= sides[1].refused);
    require(sides[0].whole >= sides[1].whole);
}

/* 10 million operations at full length (SLABMALLOC_CHECK=long). */
#define STEPS rounds(2000000)

Test(textbook, orders_touch_no_more_pages_and_leave_no_more_unusable) {
    compare(STEPS, false);
    require(sides[0].unusable <= sides[1].unusable);
}

/* Of any length: ours has more free memory, since it rounds nothing up, and more free pageblocks, but these are a
 * smaller share of it. */
Test(textbook, any_lengths_touch_no_more_pages_and_leave_no_fewer_pageblocks_free) {
    compare(STEPS, true);
}
