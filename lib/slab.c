#include "slab.h"

#include "fault.h"
#include "meta.h"
#include "zone.h"

#define SLAB_PAGES_MAX (((size_t)256 << 10) >> PAGE_SHIFT)

/* Slabs of one class grow up to this many bytes, or eight objects. */
#define SLAB_BYTES_USUAL ((size_t)64 << 10)

/* The fewest pages that waste at most 1/8 of the slab. */
static size_t first_npages(size_t bytes) {
    size_t npages = pages_of(bytes);
    while ((npages << PAGE_SHIFT) % bytes > (npages << PAGE_SHIFT) / 8) {
        npages++;
    }
    return npages;
}

size_t slab_npages(unsigned class, unsigned generation) {
    size_t bytes = sizeclass_bytes(class), npages = first_npages(bytes);
    size_t most = min_size(max_size(SLAB_BYTES_USUAL, 8 * bytes), SLAB_OBJECTS_MAX * bytes) >> PAGE_SHIFT;
    most = min_size(most, SLAB_PAGES_MAX);
    for (unsigned i = 0; i < generation && 2 * npages <= most; i++) {
        npages *= 2;
    }
    return npages;
}

/* Bits FIRST..LAST. */
static uint64_t pages_mask(size_t first, size_t last) {
    return ~(uint64_t)0 >> (63 - last) & ~(uint64_t)0 << first;
}

/* The pages on which objects FIRST..LAST lie. */
static uint64_t objects_mask(const struct slab *slab, size_t first, size_t last) {
    return pages_mask(first * slab->bytes >> PAGE_SHIFT, ((last + 1) * slab->bytes - 1) >> PAGE_SHIFT);
}

struct slab *slab_create(struct owner *owner, uint32_t tag, unsigned node, unsigned class, unsigned generation) {
    size_t npages = slab_npages(class, generation), bytes = sizeclass_bytes(class);
    struct slab *slab = meta_alloc(sizeof *slab);
    if (!slab) {
        return NULL;
    }
    uintptr_t pfn = zone_alloc_fit(node, ZONE_NORMAL, GROUP_SLAB, &npages, first_npages(bytes));
    if (!pfn) {
        meta_free(slab, sizeof *slab);
        return NULL;
    }
    slab->base = pfn << PAGE_SHIFT;
    slab->reciprocal = (((uint64_t)1 << 40) + bytes - 1) / bytes;
    slab->owner = owner;
    slab->bytes = (uint32_t)bytes;
    slab->nobjects = (uint16_t)min_size((npages << PAGE_SHIFT) / bytes, SLAB_OBJECTS_MAX);
    slab->npages = (uint8_t)npages;
    slab->class = (uint8_t) class;
    slab->nfree = slab->nobjects;
    slab->bin = SLAB_UNFILED;
    slab->touched = ~buddy_fresh_mask(pfn, npages) & pages_mask(0, npages - 1);
    for (size_t i = 0; i < slab->nobjects; i += 64) {
        size_t n = min_size(64, slab->nobjects - i);
        slab->free[i / 64] = n == 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1;
    }
    for (size_t i = 0; i < npages; i++) {
        struct page *page = pagemap_page(pfn + i);
        page->extra = i & 0xffff;
        page_mark(page, PAGE_SLAB, (uintptr_t)slab);
    }
    pagemap_set_tags(pfn, npages, tag | class);
    return slab;
}

void slab_destroy(struct slab *slab) {
    ASSERT(slab->nfree == slab->nobjects);
    uintptr_t pfn = slab->base >> PAGE_SHIFT;
    size_t npages = slab->npages;
    pagemap_set_tags(pfn, npages, TAG_FOREIGN);
    for (size_t i = 0; i < npages; i++) {
        page_mark(pagemap_page(pfn + i), PAGE_BODY, 0);
    }
    uint64_t touched = slab->touched;
    meta_free(slab, sizeof *slab);
    zone_free_mask(pfn, npages, touched);
}

static void free_word_set(struct slab *slab, size_t word, uint64_t bits) {
    __atomic_store_n(&slab->free[word], bits, __ATOMIC_RELAXED);
}

size_t slab_take(struct slab *slab, void **out, size_t n) {
    size_t left = min_size(n, slab->nfree), taken = left, word = 0, index = 0;
    if (!taken) {
        return 0;
    }
    while (!slab->free[word]) {
        word++;
    }
    size_t first = word * 64 + (size_t)__builtin_ctzll(slab->free[word]);
    void **at = out + n;
    for (; left; word++) {
        uint64_t bits = slab->free[word];
        for (; bits && left; left--, bits &= bits - 1) {
            index = word * 64 + (size_t)__builtin_ctzll(bits);
            *--at = (void *)(slab->base + index * slab->bytes);
        }
        free_word_set(slab, word, bits);
    }
    slab->nfree -= (uint16_t)taken;
    /* What lies between the first and the last is out, before or since. */
    slab->touched |= objects_mask(slab, first, index);
    slab->idle = 0;
    return taken;
}

/* Objects FIRST..LAST are all in the slab. */
static bool all_free(const struct slab *slab, size_t first, size_t last) {
    for (size_t word = first / 64; word <= last / 64; word++) {
        uint64_t wanted = ~(uint64_t)0;
        if (word == first / 64) {
            wanted &= ~(uint64_t)0 << first % 64;
        }
        if (word == last / 64) {
            wanted &= ~(uint64_t)0 >> (63 - last % 64);
        }
        if (wanted & ~slab->free[word]) {
            return false;
        }
    }
    return true;
}

uint64_t slab_holes(const struct slab *slab) {
    uint64_t holes = 0;
    for (uint64_t left = slab->touched; left; left &= left - 1) {
        size_t page = (size_t)__builtin_ctzll(left), at = page << PAGE_SHIFT;
        size_t first = at * slab->reciprocal >> 40, last = (at + PAGE_BYTES - 1) * slab->reciprocal >> 40;
        if (first >= slab->nobjects || all_free(slab, first, min_size(last, slab->nobjects - 1u))) {
            holes |= (uint64_t)1 << page;
        }
    }
    return holes;
}

size_t slab_give(struct slab *slab, void *const *objects, size_t n) {
    uint64_t reciprocal = slab->reciprocal, span = (uint64_t)slab->npages << PAGE_SHIFT;
    size_t at = SIZE_MAX, i = 0;
    uint64_t bits = 0;
    for (; i < n; i++) {
        uint64_t offset = (uintptr_t)objects[i] - slab->base;
        if (offset >= span) {
            break;
        }
        uint64_t index = offset * reciprocal >> 40, bit = (uint64_t)1 << index % 64;
        if (unlikely(index >= slab->nobjects || index * slab->bytes != offset)) {
            fault_pointer("free of a pointer inside an object", objects[i]);
        }
        if (index / 64 != at) {
            if (i) {
                free_word_set(slab, at, bits);
            }
            at = index / 64;
            bits = slab->free[at];
        }
        if (unlikely(bits & bit)) {
            fault_pointer("double free", objects[i]);
        }
        bits |= bit;
    }
    if (i) {
        free_word_set(slab, at, bits);
    }
    slab->nfree += (uint16_t)i;
    return i;
}

void slab_retag(struct slab *slab, struct owner *owner, uint32_t tag) {
    __atomic_store_n(&slab->owner, owner, __ATOMIC_RELEASE); /* for slab_owner */
    pagemap_set_tags(slab->base >> PAGE_SHIFT, slab->npages, tag | slab->class);
}

static const char *check_pages(const struct slab *slab) {
    uintptr_t pfn = slab->base >> PAGE_SHIFT;
    for (size_t i = 0; i < slab->npages; i++) {
        const struct page *page = pagemap_page(pfn + i);
        if (page->state != PAGE_SLAB || page->link != (uintptr_t)slab || page->extra != i) {
            return "a page of a slab does not point to it";
        }
    }
    return NULL;
}

const char *slab_check(const struct slab *slab) {
    size_t nfree = 0, bytes = sizeclass_bytes(slab->class);
    if (slab->bytes != bytes ||
        slab->nobjects != min_size(((size_t)slab->npages << PAGE_SHIFT) / bytes, SLAB_OBJECTS_MAX)) {
        return "a slab's size does not follow from its class and pages";
    }
    for (size_t i = 0; i < SLAB_OBJECTS_MAX; i++) {
        bool is_free = slab_is_free(slab, i);
        nfree += is_free;
        if (is_free && i >= slab->nobjects) {
            return "a slab has a free object beyond its end";
        }
        if (!is_free && i < slab->nobjects && objects_mask(slab, i, i) & ~slab->touched) {
            return "an object that is out lies on a page that was not touched";
        }
    }
    return nfree == slab->nfree ? check_pages(slab) : "a slab's free count differs from its bitmap";
}
