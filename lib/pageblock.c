#include "pageblock.h"

/* Pageblocks of a bin that are looked at for one whose longest range is long enough; those of the next bin all are. */
#define LOOKS 8

static uint64_t word_mask(size_t bit, size_t n) {
    return (n == 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1) << bit;
}

static void bits_set(uint64_t *words, size_t first, size_t n, bool value) {
    while (n) {
        size_t bit = first % 64, part = min_size(64 - bit, n);
        uint64_t mask = word_mask(bit, part);
        words[first / 64] = value ? words[first / 64] | mask : words[first / 64] & ~mask;
        first += part;
        n -= part;
    }
}

/* How many bits in a row from FIRST up are VALUE. */
static size_t run_up(const uint64_t *words, size_t first, bool value) {
    size_t at = first;
    while (at < BLOCK_PAGES) {
        uint64_t other = (value ? ~words[at / 64] : words[at / 64]) >> at % 64;
        if (other) {
            return at + (size_t)__builtin_ctzll(other) - first;
        }
        at += 64 - at % 64;
    }
    return BLOCK_PAGES - first;
}

/* How many set bits in a row end right before FIRST. */
static size_t run_down(const uint64_t *words, size_t first) {
    size_t at = first;
    while (at) {
        size_t bit = (at - 1) % 64;
        uint64_t clear = ~words[(at - 1) / 64] << (63 - bit);
        if (clear) {
            return first - at + (size_t)__builtin_clzll(clear);
        }
        at -= bit + 1;
    }
    return first;
}

/* The longer of LONGEST and the longest run of set bits in WORD, which is not all set. */
static size_t longest_inside(uint64_t word, size_t longest) {
    while (word) {
        word >>= __builtin_ctzll(word);
        size_t run = (size_t)__builtin_ctzll(~word);
        longest = max_size(longest, run);
        word >>= run;
    }
    return longest;
}

static size_t longest_run(const uint64_t *words) {
    size_t longest = 0, run = 0; /* RUN: set bits that end where the word begins */
    for (size_t i = 0; i < BLOCK_PAGES / 64; i++) {
        uint64_t word = words[i];
        if (word == ~(uint64_t)0) {
            run += 64;
            continue;
        }
        size_t up = (size_t)__builtin_ctzll(~word), down = (size_t)__builtin_clzll(~word);
        longest = max_size(longest, run + up);
        /* Most words have one change or none, and nothing between the runs at their ends. */
        if (62 - min_size(62, up + down) > longest) {
            longest = longest_inside(word, longest);
        }
        run = down;
    }
    return max_size(longest, run);
}

static void unlink_block(struct pageblock_index *index, const struct block *block) {
    unsigned bin = block->longest / PAGEBLOCK_BIN_PAGES;
    if (block->prev) {
        pagemap_block(block->prev)->next = block->next;
    } else {
        index->bin[bin] = block->next;
        if (!block->next) {
            index->bins &= ~((uint64_t)1 << bin);
        }
    }
    if (block->next) {
        pagemap_block(block->next)->prev = block->prev;
    }
}

static void link_block(struct pageblock_index *index, struct block *block, uintptr_t first) {
    unsigned bin = block->longest / PAGEBLOCK_BIN_PAGES;
    block->prev = 0;
    block->next = index->bin[bin];
    if (block->next) {
        pagemap_block(block->next)->prev = first;
    }
    index->bin[bin] = first;
    index->bins |= (uint64_t)1 << bin;
}

static bool is_partial(size_t longest) {
    return longest && longest < BLOCK_PAGES;
}

static void set_longest(struct pageblock_index *index, uintptr_t first, size_t longest) {
    struct block *block = pagemap_block(first);
    size_t before = block->longest;
    bool linked = is_partial(before), wanted = is_partial(longest);
    bool same = linked && wanted && before / PAGEBLOCK_BIN_PAGES == longest / PAGEBLOCK_BIN_PAGES;
    if (linked && !same) {
        unlink_block(index, block);
    }
    block->longest = (uint16_t)longest;
    if (wanted && !same) {
        link_block(index, block, first);
    }
}

void pageblock_give(struct pageblock_index *index, uintptr_t pfn, size_t npages) {
    struct block *block = pagemap_block(pfn);
    size_t at = pfn & (BLOCK_PAGES - 1);
    bits_set(block->free, at, npages, true);
    size_t run = run_down(block->free, at) + run_up(block->free, at, true);
    if (run > block->longest) {
        set_longest(index, pfn - at, run);
    }
}

void pageblock_take(struct pageblock_index *index, uintptr_t pfn, size_t npages) {
    struct block *block = pagemap_block(pfn);
    size_t at = pfn & (BLOCK_PAGES - 1);
    size_t run = run_down(block->free, at) + run_up(block->free, at, true);
    bits_set(block->free, at, npages, false);
    if (run == block->longest) {
        set_longest(index, pfn - at, longest_run(block->free));
    }
}

bool pageblock_is_free(uintptr_t pfn, size_t npages) {
    size_t at = pfn & (BLOCK_PAGES - 1);
    return at + npages <= BLOCK_PAGES && run_up(pagemap_block(pfn)->free, at, true) >= npages;
}

/* The smallest range of at least NPAGES in the pageblock, the lowest of several; it has one. */
static uintptr_t best_range(uintptr_t first, size_t npages) {
    const uint64_t *words = pagemap_block(first)->free;
    size_t best = 0, best_run = BLOCK_PAGES + 1;
    for (size_t at = 0; at < BLOCK_PAGES;) {
        at += run_up(words, at, false);
        size_t run = at < BLOCK_PAGES ? run_up(words, at, true) : 0;
        if (run >= npages && run < best_run) {
            best = at;
            best_run = run;
        }
        at += run;
    }
    return first + best;
}

uintptr_t pageblock_find(const struct pageblock_index *index, size_t npages) {
    if (npages >= BLOCK_PAGES) {
        return 0;
    }
    size_t bin = npages / PAGEBLOCK_BIN_PAGES;
    uintptr_t first = index->bin[bin];
    for (unsigned looks = 0; first && looks < LOOKS; looks++) {
        if (pagemap_block(first)->longest >= npages) {
            return best_range(first, npages);
        }
        first = pagemap_block(first)->next;
    }
    uint64_t larger = index->bins & ~word_mask(0, bin + 1);
    return larger ? best_range(index->bin[__builtin_ctzll(larger)], npages) : 0;
}

static const char *check_block(uintptr_t first, unsigned bin, unsigned group) {
    const struct block *block = pagemap_block(first);
    if (block->longest != longest_run(block->free)) {
        return "a pageblock's longest free range is wrong";
    }
    if (!is_partial(block->longest) || block->longest / PAGEBLOCK_BIN_PAGES != bin || block->group != group) {
        return "a pageblock is in the bin of another length or group";
    }
    return NULL;
}

const char *pageblock_check(const struct pageblock_index *index, unsigned group) {
    for (unsigned bin = 0; bin < PAGEBLOCK_BINS; bin++) {
        if ((index->bins >> bin & 1) != (index->bin[bin] != 0)) {
            return "the summary of bins of pageblocks is wrong";
        }
        uintptr_t prev = 0;
        for (uintptr_t first = index->bin[bin]; first; prev = first, first = pagemap_block(first)->next) {
            const char *broken = check_block(first, bin, group);
            if (broken) {
                return broken;
            }
            if (pagemap_block(first)->prev != prev) {
                return "a bin of pageblocks has a wrong back link";
            }
        }
    }
    return NULL;
}
