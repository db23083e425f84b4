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
    size_t ntouched = pages_of((size_t)slab->carved * slab->bytes);
    meta_free(slab, sizeof *slab);
    zone_free(pfn, npages, ntouched);
}

static void free_word_set(struct slab *slab, size_t word, uint64_t bits) {
    __atomic_store_n(&slab->free[word], bits, __ATOMIC_RELAXED);
}

size_t slab_take(struct slab *slab, void **out, size_t n) {
    size_t left = min_size(n, slab->nfree), taken = left, last = 0;
    void **at = out + n;
    for (size_t word = 0; left; word++) {
        uint64_t bits = slab->free[word];
        while (bits && left) {
            last = word * 64 + (size_t)__builtin_ctzll(bits);
            *--at = (void *)(slab->base + last * slab->bytes);
            bits &= bits - 1;
            left--;
        }
        free_word_set(slab, word, bits);
    }
    slab->nfree -= (uint16_t)taken;
    if (taken && last >= slab->carved) {
        slab->carved = (uint16_t)(last + 1);
    }
    return taken;
}

void slab_give(struct slab *slab, void *p) {
    long index = slab_index(slab, p);
    if (unlikely(index < 0)) {
        fault_pointer("free of a pointer inside an object", p);
    }
    size_t word = (size_t)index / 64;
    uint64_t bit = (uint64_t)1 << (index % 64);
    if (unlikely(slab->free[word] & bit)) {
        fault_pointer("double free", p);
    }
    free_word_set(slab, word, slab->free[word] | bit);
    slab->nfree++;
}

void slab_retag(struct slab *slab, struct owner *owner, uint32_t tag) {
    __atomic_store_n(&slab->owner, owner, __ATOMIC_RELAXED);
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
        slab->nobjects != min_size(((size_t)slab->npages << PAGE_SHIFT) / bytes, SLAB_OBJECTS_MAX) ||
        slab->carved > slab->nobjects) {
        return "a slab's size does not follow from its class and pages";
    }
    for (size_t i = 0; i < SLAB_OBJECTS_MAX; i++) {
        nfree += slab_is_free(slab, i);
        if (slab_is_free(slab, i) && i >= slab->nobjects) {
            return "a slab has a free object beyond its end";
        }
        if (!slab_is_free(slab, i) && i >= slab->carved && i < slab->nobjects) {
            return "an object beyond the carve watermark is out";
        }
    }
    return nfree == slab->nfree ? check_pages(slab) : "a slab's free count differs from its bitmap";
}
