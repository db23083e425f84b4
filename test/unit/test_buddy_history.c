/* Long random histories of a buddy: after every step it must agree with the model, and be sound by its own checker. */
#include "buddy_model.h"

TestSuite(buddy_history, .init = buddy_model_setup);

static void forget_everything(void) {
    memset(&buddy, 0, sizeof buddy);
    memset(&model, 0, sizeof model);
    for (size_t i = 0; i < NPAGES; i++) {
        memset(pagemap_page(FIRST + i), 0, sizeof(struct page));
        memset(pagemap_block(FIRST + i), 0, sizeof(struct block));
    }
}

/* Free pages in a row from PAGE on, in its pageblock. */
static size_t run_from(size_t page) {
    size_t end = page;
    while (end < (page / BLOCK_PAGES + 1) * BLOCK_PAGES && model.free[end]) {
        end++;
    }
    return end - page;
}

static size_t longest_in(size_t block) {
    size_t longest = 0;
    for (size_t i = 0; i < BLOCK_PAGES; i++) {
        longest = max_size(longest, run_from(block * BLOCK_PAGES + i));
    }
    return longest;
}

/* The least bin among those of GROUP's partly free pageblocks with NPAGES free in a row; PAGEBLOCK_BINS: none. */
static size_t best_bin(size_t npages, enum buddy_group group) {
    size_t best = PAGEBLOCK_BINS;
    for (size_t block = 0; block < BLOCKS; block++) {
        size_t longest = longest_in(block);
        if (longest >= npages && longest < BLOCK_PAGES && model.group[block] == group) {
            best = min_size(best, longest / PAGEBLOCK_BIN_PAGES);
        }
    }
    return best;
}

/* PAGE begins the shortest range of its pageblock that holds NPAGES. */
static bool is_tightest(size_t page, size_t npages) {
    size_t first = page - page % BLOCK_PAGES;
    for (size_t i = first; i < first + BLOCK_PAGES; i++) {
        bool begins = model.free[i] && (i == first || !model.free[i - 1]);
        if (begins && run_from(i) >= npages && run_from(i) < run_from(page)) {
            return false;
        }
    }
    return model.free[page] && (page == first || !model.free[page - 1]) && run_from(page) >= npages;
}

static bool all_fresh(size_t page, size_t npages) {
    for (size_t i = page; i < page + npages; i++) {
        if (!model.fresh[i]) {
            return false;
        }
    }
    return true;
}

/* What may be taken: of the first of these ranks that has one large enough, the smallest. */
enum rank { OWN_DIRTY, OWN_FRESH, RANGE, WHOLE_FRESH, OTHER_DIRTY, OTHER_FRESH, NONE };

static enum rank rank_of(size_t page, unsigned least, enum buddy_group group) {
    unsigned order = model.order[page];
    if (order == NOT_A_HEAD || order < least) {
        return NONE;
    }
    if (order == MAX_ORDER) {
        return model.ndirty[page] ? OWN_DIRTY : WHOLE_FRESH;
    }
    bool own = model.group[page / BLOCK_PAGES] == group;
    return own ? model.ndirty[page] ? OWN_DIRTY : OWN_FRESH : model.ndirty[page] ? OTHER_DIRTY : OTHER_FRESH;
}

static void random_alloc(struct rng *rng, unsigned long step) {
    size_t npages = rng_below(rng, 3) ? rng_between(rng, 1, 20) : rng_between(rng, 1, BLOCK_PAGES);
    unsigned align_order = rng_below(rng, 4) ? 0 : (unsigned)rng_below(rng, NORDERS);
    enum buddy_group group = rng_below(rng, GROUPS);
    unsigned least = order_of(npages) > align_order ? order_of(npages) : align_order;
    size_t bin = align_order ? PAGEBLOCK_BINS : best_bin(npages, group);

    static uint8_t rank[NPAGES], order[NPAGES];
    static struct model before;
    enum rank best = bin < PAGEBLOCK_BINS ? RANGE : NONE;
    unsigned smallest = NORDERS;
    bool resident_whole = false;
    for (size_t i = 0; i < NPAGES; i++) {
        rank[i] = (uint8_t)rank_of(i, least, group);
        order[i] = model.order[i];
        resident_whole |= order[i] == MAX_ORDER && model.ndirty[i];
        if (rank[i] < best) {
            best = rank[i];
            smallest = order[i];
        } else if (rank[i] == best && order[i] < smallest) {
            smallest = order[i];
        }
    }
    before = model;
    uintptr_t pfn = take_for(group, npages, align_order);
    require((pfn != 0) == (best != NONE), "step %lu: %zu pages", step, npages);
    if (!pfn) {
        return;
    }
    size_t page = pfn - FIRST;
    struct model after = model;
    model = before; /* the rules speak of what there was to choose from */
    bool packed = group == GROUP_RUN && !align_order && bin < PAGEBLOCK_BINS;
    if (packed && order[page] == MAX_ORDER) {
        require(model.ndirty[page] && resident_whole, "step %lu: a range would have done", step);
    } else if (packed || best == RANGE) {
        require(is_tightest(page, npages), "step %lu: %zu pages at %zu", step, npages, page);
        require(longest_in(page / BLOCK_PAGES) / PAGEBLOCK_BIN_PAGES == bin, "step %lu: a fuller pageblock has it",
                step);
        require(!packed || !resident_whole || !all_fresh(page, npages), "step %lu: memory was resident", step);
    } else {
        require(rank[page] == best, "step %lu: rank %u instead of %u", step, rank[page], best);
        require(best >= OTHER_DIRTY || order[page] == smallest, "step %lu: order %u instead of %u", step, order[page],
                smallest);
    }
    model = after;
}

/* Gives back some of the pages that are out, anywhere: whole allocations, heads, tails, middles, neighbours together.
 */
static void random_free(struct rng *rng) {
    size_t page = rng_below(rng, NPAGES);
    for (size_t tried = 0; tried < NPAGES && model.free[page]; tried++) {
        page = (page + 1) % NPAGES;
    }
    size_t end = page;
    while (end < NPAGES && !model.free[end] && (end == page || end % BLOCK_PAGES)) {
        end++;
    }
    if (end > page) {
        size_t npages = rng_below(rng, 2) ? end - page : rng_between(rng, 1, end - page);
        give(FIRST + page, npages, rng_below(rng, 2) ? rng_between(rng, 0, npages) : 0);
    }
}

static void random_claim(struct rng *rng, unsigned long step) {
    /* At a block's beginning, as behind an allocation; or on pages that are out. */
    size_t page = rng_below(rng, NPAGES), npages = rng_between(rng, 1, rng_below(rng, 2) ? 8 : BLOCK_PAGES);
    while (model.free[page] && model.order[page] == NOT_A_HEAD) {
        page--;
    }
    bool all_free = page % BLOCK_PAGES + npages <= BLOCK_PAGES;
    for (size_t i = page; all_free && i < page + npages; i++) {
        all_free = model.free[i];
    }
    require(claim(FIRST + page, npages) == all_free, "step %lu: %zu pages at %zu", step, npages, page);
}

static void random_purge(struct rng *rng, unsigned long step) {
    unsigned min_order = (unsigned)rng_below(rng, NORDERS), order = NORDERS, highest = NORDERS;
    for (size_t i = 0; i < NPAGES; i++) {
        unsigned here = model.order[i];
        if (here != NOT_A_HEAD && here >= min_order && model.ndirty[i] && (highest == NORDERS || here > highest)) {
            highest = here;
        }
    }
    uintptr_t pfn = buddy_take_dirty(&buddy, min_order, &order);
    require((pfn != 0) == (highest != NORDERS), "step %lu", step);
    if (!pfn) {
        return;
    }
    size_t npages = (size_t)1 << order;
    require(order == highest && model.order[pfn - FIRST] == order && model.ndirty[pfn - FIRST], "step %lu", step);
    model_take(pfn, npages);
    must_agree(step);
    if (rng_below(rng, 3)) {
        mark_fresh(pfn, npages);
    }
    if (rng_below(rng, 3)) {
        give(pfn, npages, 0); /* else it stays out, and some random_free returns it */
    }
}

/* A free pageblock leaves and comes back as a new one. */
static void random_remove(unsigned long step) {
    uintptr_t pfn = buddy_remove_block(&buddy);
    require((pfn != 0) == (model.nblocks[MAX_ORDER] != 0), "step %lu", step);
    if (pfn) {
        require(model.order[pfn - FIRST] == MAX_ORDER, "step %lu", step);
        model_take(pfn, BLOCK_PAGES);
        must_agree(step);
        give_block((unsigned)((pfn - FIRST) / BLOCK_PAGES));
    }
}

static void random_fit(struct rng *rng, unsigned long step) {
    size_t least = rng_between(rng, 1, 7), npages = least << rng_below(rng, 7);
    enum buddy_group group = rng_below(rng, GROUPS);
    unsigned highest = 0;
    bool any = false;
    for (size_t i = 0; i < NPAGES; i++) {
        unsigned order = model.order[i];
        if (order != NOT_A_HEAD && model.ndirty[i] && (order == MAX_ORDER || model.group[i / BLOCK_PAGES] == group)) {
            highest = any && highest > order ? highest : order;
            any = true;
        }
    }
    size_t expected = npages;
    while (expected > least && !(any && expected <= (size_t)1 << highest)) {
        expected /= 2;
    }
    expected = any && expected <= (size_t)1 << highest ? expected : npages;
    size_t fit = buddy_fit(&buddy, npages, least, group);
    require(fit == expected, "step %lu: %zu of %zu instead of %zu", step, fit, npages, expected);
}

static void random_history(uint64_t seed, unsigned long steps) {
    struct rng rng = {seed};
    for (unsigned block = 0; block < BLOCKS; block++) {
        give_block(block);
    }
    must_agree(0);
    for (unsigned long step = 1; step <= steps; step++) {
        /* The share of allocations swings, so that the buddy is nearly full at times and nearly empty at others. */
        unsigned allocs = step / 64 % 2 ? 60 : 30;
        unsigned dice = (unsigned)rng_below(&rng, 100);
        if (dice < allocs) {
            random_alloc(&rng, step);
        } else if (dice < 88) {
            random_free(&rng);
        } else if (dice < 95) {
            random_claim(&rng, step);
        } else if (dice < 98) {
            random_purge(&rng, step);
        } else {
            random_remove(step);
        }
        must_agree(step);
        random_fit(&rng, step);
    }
    for (size_t i = 0; i < NPAGES; i++) {
        if (!model.free[i]) {
            give(FIRST + i, 1, 0);
        }
    }
    must_agree(steps);
    require(buddy.area[MAX_ORDER].nr_free == BLOCKS);
}

Test(buddy_history, agrees_with_the_model_through_a_long_history) {
    random_history(2024, rounds(30000));
}

Test(buddy_history, agrees_with_the_model_through_many_short_histories) {
    struct rng seeds = {7};
    for (unsigned long i = rounds(40); i; i--) {
        forget_everything();
        random_history(rng_next(&seeds), 300);
    }
}
