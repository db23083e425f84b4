#include "slob_boot.h"

#include "expose.h"
#include "sys.h"

struct slob_boot slob_boot WRITTEN_AT_START;

EXPOSE(SLOB_BOOT, slob_boot);

void slob_boot_init(void) {
    size_t bytes =
        BOOT_PAGES * PAGE_BYTES + round_up((BOOT_PAGES - BOOT_PAGES_FIRST) * sizeof(struct page), PAGE_BYTES);
    void *base = sys_map(NULL, bytes);
    if (base) {
        sys_advise(base, bytes, SYS_NOHUGEPAGE);
        slob_boot.pfn = pointer_pfn(base);
    }
}

static bool bit(const uint64_t *words, size_t i) {
    return words[i / 64] >> (i % 64) & 1;
}

static void set_bits(uint64_t *words, size_t first, size_t n, bool on) {
    for (size_t i = first; i < first + n; i++) {
        uint64_t mask = (uint64_t)1 << (i % 64);
        words[i / 64] = on ? words[i / 64] | mask : words[i / 64] & ~mask;
    }
}

/* The number of pages from FIRST on, WANTED at most, whose bits are clear. */
static size_t clear_run(const uint64_t *words, size_t first, size_t wanted) {
    size_t n = 0;
    while (n < wanted && first + n < BOOT_PAGES && !bit(words, first + n)) {
        n++;
    }
    return n;
}

/* Free pages that may be resident. */
static void count_dirty(void) {
    size_t n = 0;
    for (size_t word = 0; word < BOOT_PAGES / 64; word++) {
        n += (size_t)__builtin_popcountll(slob_boot.dirty[word] & ~slob_boot.used[word]);
    }
    __atomic_store_n(&slob_boot.ndirty, n, __ATOMIC_RELAXED);
}

/* The first page from FIRST on whose bit is clear; BOOT_PAGES: none. */
static size_t first_clear(const uint64_t *words, size_t first) {
    for (size_t word = first / 64; word < BOOT_PAGES / 64; word++, first = word * 64) {
        uint64_t clear = ~words[word] >> (first % 64) << (first % 64);
        if (clear) {
            return word * 64 + (size_t)__builtin_ctzll(clear);
        }
    }
    return BOOT_PAGES;
}

static uintptr_t take_at(size_t first, size_t npages) {
    set_bits(slob_boot.used, first, npages, true);
    set_bits(slob_boot.dirty, first, npages, true);
    count_dirty();
    return slob_boot.pfn + first;
}

uintptr_t slob_boot_take(size_t npages, bool *fresh) {
    if (!slob_boot.pfn) {
        return 0;
    }
    for (size_t first = first_clear(slob_boot.used, 0); first + npages <= BOOT_PAGES;) {
        size_t clear = clear_run(slob_boot.used, first, npages);
        if (clear == npages) {
            *fresh = clear_run(slob_boot.dirty, first, npages) == npages;
            return take_at(first, npages);
        }
        first = first_clear(slob_boot.used, first + clear);
    }
    return 0;
}

bool slob_boot_claim(uintptr_t pfn, size_t npages) {
    size_t first = pfn - slob_boot.pfn;
    if (!slob_boot_has(pfn) || clear_run(slob_boot.used, first, npages) < npages) {
        return false;
    }
    take_at(first, npages);
    return true;
}

void slob_boot_give(uintptr_t pfn, size_t npages, bool purged) {
    size_t first = pfn - slob_boot.pfn;
    set_bits(slob_boot.used, first, npages, false);
    if (purged) {
        set_bits(slob_boot.dirty, first, npages, false);
    }
    count_dirty();
}

uintptr_t slob_boot_take_dirty(size_t *npages) {
    size_t first = 0;
    while (first < BOOT_PAGES && (bit(slob_boot.used, first) || !bit(slob_boot.dirty, first))) {
        first++;
    }
    size_t n = 0;
    while (first + n < BOOT_PAGES && !bit(slob_boot.used, first + n) && bit(slob_boot.dirty, first + n)) {
        n++;
    }
    *npages = n;
    return slob_boot.pfn && n ? take_at(first, n) : 0;
}
