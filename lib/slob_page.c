#include "slob_page.h"

#define ALLOCATED 0x8000u

struct head {
    uint16_t size, next;
};
_Static_assert(sizeof(struct head) == SLOB_HEAD, "a header is four bytes");
_Static_assert(SLOB_SIZED_END <= 0x1fff, "units of a page fit into 13 bits");

/* The bits of a struct page, in the places of its order and state. */
struct first_word {
    uint64_t next : 35, longest : 13, list : 4, state : 4, heap : 8;
};
struct second_word {
    uint64_t prev : 35, head : 14, nfree : 14, unused : 1;
};
_Static_assert(ADDRESS_BITS - PAGE_SHIFT <= 35, "a page frame number fits into 35 bits");

union first {
    struct first_word bits;
    uint64_t word;
};
union second {
    struct second_word bits;
    uint64_t word;
};

struct slob_page slob_page_load(const struct page *page) {
    union first first = {.word = page->word};
    union second second = {.word = page->rest};
    return (struct slob_page){
        .next = first.bits.next,
        .prev = second.bits.prev,
        .list = first.bits.list,
        .heap = first.bits.heap,
        .head = second.bits.head,
        .nfree = second.bits.nfree,
        .longest = first.bits.longest,
    };
}

struct slob_hint slob_page_hint(const struct page *page) {
    union first first = {.word = page->word};
    return (struct slob_hint){.next = first.bits.next, .longest = first.bits.longest};
}

void slob_page_store(struct page *page, const struct slob_page *sp) {
    union first first = {.bits = {.next = sp->next & (((uint64_t)1 << 35) - 1),
                                  .longest = sp->longest & 0x1fff,
                                  .list = sp->list & 0xf,
                                  .state = PAGE_SLOB,
                                  .heap = sp->heap & 0xff}};
    union second second = {.bits = {.prev = sp->prev & (((uint64_t)1 << 35) - 1),
                                    .head = sp->head & SLOB_NONE,
                                    .nfree = sp->nfree & SLOB_NONE}};
    __atomic_store_n(&page->word, first.word, __ATOMIC_RELAXED);
    page->rest = second.word;
}

static struct head *head_of(const void *base, unsigned block) {
    return (struct head *)((uintptr_t)base + (size_t)block * SLOB_UNIT + SLOB_HEAD);
}

static unsigned next_free(const void *base, unsigned block) {
    unsigned next = head_of(base, block)->next;
    return next ? next : SLOB_NONE;
}

static void set_free(void *base, unsigned block, unsigned units, unsigned next) {
    *head_of(base, block) = (struct head){(uint16_t)units, next == SLOB_NONE ? 0 : (uint16_t)next};
}

static void set_allocated(void *base, unsigned block, unsigned units) {
    *head_of(base, block) = (struct head){(uint16_t)(units | ALLOCATED), (uint16_t)(block + units)};
}

/* BLOCK follows BEFORE in the list of free blocks. */
static void link_after(struct slob_page *sp, void *base, unsigned before, unsigned block) {
    if (before == SLOB_NONE) {
        sp->head = block;
    } else {
        head_of(base, before)->next = block == SLOB_NONE ? 0 : (uint16_t)block;
    }
}

void slob_page_init(struct slob_page *sp, void *base, unsigned step) {
    sp->head = slob_first(step);
    sp->nfree = sp->longest = SLOB_END - slob_first(step);
    set_free(base, sp->head, sp->nfree, SLOB_NONE);
}

void slob_page_init_sized(struct slob_page *sp, void *base) {
    sp->head = 0;
    sp->nfree = sp->longest = SLOB_SIZED_END;
    set_free(base, 0, SLOB_SIZED_END, SLOB_NONE);
}

static unsigned longest_free(const struct slob_page *sp, const void *base) {
    unsigned longest = 0;
    for (unsigned at = sp->head; at != SLOB_NONE; at = next_free(base, at)) {
        unsigned size = head_of(base, at)->size;
        longest = size > longest ? size : longest;
    }
    return longest;
}

/* Allocates UNITS of the free block AT, SKIP units into it; what is before and behind stays free. Of a sized block the
 * header is payload, in which nothing is yet. */
static void carve(struct slob_page *sp, void *base, unsigned before, unsigned at, unsigned skip, unsigned units) {
    unsigned size = head_of(base, at)->size, next = next_free(base, at), rest = size - skip - units;
    if (rest) {
        unsigned behind = at + skip + units;
        set_free(base, behind, rest, next);
        next = behind;
    }
    if (skip) {
        set_free(base, at, skip, next);
    } else {
        link_after(sp, base, before, next);
    }
    set_allocated(base, at + skip, units);
    sp->nfree -= units;
    if (size == sp->longest) {
        sp->longest = longest_free(sp, base);
    }
}

unsigned slob_page_take(struct slob_page *sp, void *base, unsigned units, unsigned align) {
    unsigned before = SLOB_NONE;
    for (unsigned at = sp->head; at != SLOB_NONE; before = at, at = next_free(base, at)) {
        unsigned skip = -(at + 1) & (align - 1);
        if (head_of(base, at)->size >= skip + units) {
            carve(sp, base, before, at, skip, units);
            return at + skip;
        }
    }
    return SLOB_NONE;
}

/* The last free block before BLOCK; SLOB_NONE: none. */
static unsigned free_before(const struct slob_page *sp, const void *base, unsigned block) {
    unsigned before = SLOB_NONE;
    for (unsigned at = sp->head; at < block; at = next_free(base, at)) {
        before = at;
    }
    return before;
}

enum slob_verdict slob_page_judge(const struct slob_page *sp, const void *base, unsigned block) {
    if (block >= SLOB_END) {
        return SLOB_NO_BLOCK;
    }
    unsigned before = free_before(sp, base, block);
    unsigned after = before == SLOB_NONE ? sp->head : next_free(base, before);
    if (after == block || (before != SLOB_NONE && before + head_of(base, before)->size > block)) {
        return SLOB_FREE_ALREADY;
    }
    struct head head = *head_of(base, block);
    unsigned units = head.size & ~ALLOCATED, end = block + units, most = after == SLOB_NONE ? SLOB_END : after;
    return head.size & ALLOCATED && units && head.next == end && end <= most ? SLOB_GOOD : SLOB_NO_BLOCK;
}

enum slob_verdict slob_page_judge_sized(const struct slob_page *sp, const void *base, unsigned block, size_t units) {
    if (block >= SLOB_SIZED_END || units > SLOB_SIZED_END - block) {
        return SLOB_NO_BLOCK;
    }
    unsigned before = free_before(sp, base, block);
    unsigned after = before == SLOB_NONE ? sp->head : next_free(base, before);
    if (after == block || (before != SLOB_NONE && before + head_of(base, before)->size > block)) {
        return SLOB_FREE_ALREADY;
    }
    return after == SLOB_NONE || block + units <= after ? SLOB_GOOD : SLOB_NO_BLOCK;
}

unsigned slob_block_units(const void *base, unsigned block) {
    return head_of(base, block)->size & ~ALLOCATED;
}

void slob_page_give(struct slob_page *sp, void *base, unsigned block) {
    slob_page_give_sized(sp, base, block, slob_block_units(base, block));
}

void slob_page_give_sized(struct slob_page *sp, void *base, unsigned block, unsigned units) {
    unsigned before = free_before(sp, base, block);
    unsigned after = before == SLOB_NONE ? sp->head : next_free(base, before);
    sp->nfree += units;
    if (after == block + units) {
        units += head_of(base, after)->size;
        after = next_free(base, after);
    }
    if (before != SLOB_NONE && before + head_of(base, before)->size == block) {
        units += head_of(base, before)->size;
        block = before;
    } else {
        link_after(sp, base, before, block);
    }
    set_free(base, block, units, after);
    sp->longest = units > sp->longest ? units : sp->longest;
}

static void shrink(struct slob_page *sp, void *base, unsigned block, unsigned units) {
    unsigned rest = slob_block_units(base, block) - units;
    set_allocated(base, block, units);
    set_allocated(base, block + units, rest);
    slob_page_give(sp, base, block + units);
}

bool slob_page_resize(struct slob_page *sp, void *base, unsigned block, unsigned units) {
    unsigned size = slob_block_units(base, block), end = block + size;
    if (units <= size) {
        if (units < size) {
            shrink(sp, base, block, units);
        }
        return true;
    }
    unsigned before = free_before(sp, base, block);
    unsigned after = before == SLOB_NONE ? sp->head : next_free(base, before);
    if (after != end || size + head_of(base, end)->size < units) {
        return false;
    }
    carve(sp, base, before, end, 0, units - size);
    set_allocated(base, block, units);
    return true;
}

const char *slob_page_check(const struct slob_page *sp, const void *base, unsigned step, size_t *nblocks) {
    unsigned nfree = 0, longest = 0, free_next = sp->head;
    bool free_last = false;
    for (unsigned at = slob_first(step); at != SLOB_END;) {
        struct head head = *head_of(base, at);
        unsigned units = head.size & ~ALLOCATED;
        bool is_free = at == free_next;
        if (!units || units % step || at + units > SLOB_END) {
            return "a SLOB block does not end in its page";
        }
        if (is_free == (bool)(head.size & ALLOCATED) || (!is_free && head.next != at + units)) {
            return "a SLOB block's header is not what the list of free blocks says";
        }
        if (is_free && free_last) {
            return "two free SLOB blocks touch";
        }
        if (is_free) {
            nfree += units;
            longest = units > longest ? units : longest;
            free_next = next_free(base, at);
        }
        *nblocks += !is_free;
        free_last = is_free;
        at += units;
    }
    if (free_next != SLOB_NONE) {
        return "a list of free SLOB blocks leads out of its page";
    }
    return nfree == sp->nfree && longest == sp->longest ? NULL : "a SLOB page's free units differ from its sum";
}

const char *slob_page_check_sized(const struct slob_page *sp, const void *base) {
    unsigned nfree = 0, longest = 0, end = 0;
    for (unsigned at = sp->head; at != SLOB_NONE; at = next_free(base, at)) {
        unsigned units = head_of(base, at)->size;
        if (!units || at + units > SLOB_SIZED_END || at < end) {
            return "a free SLOB block does not end in its page";
        }
        if (at == end && end) {
            return "two free SLOB blocks touch";
        }
        nfree += units;
        longest = units > longest ? units : longest;
        end = at + units;
    }
    return nfree == sp->nfree && longest == sp->longest ? NULL : "a SLOB page's free units differ from its sum";
}
