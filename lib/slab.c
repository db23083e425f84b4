#include "slab.h"

#include <string.h>

#include "fault.h"
#include "meta.h"
#include "zone.h"

#define SLAB_PAGES_MAX (((size_t)256 << 10) >> PAGE_SHIFT)

/* Slabs of one class grow up to this many bytes, or eight objects. */
#define SLAB_BYTES_USUAL ((size_t)64 << 10)

/* A slab is a whole block of the buddy if that wastes no more than this part of it. */
#define WHOLE_BLOCK_WASTE 32

/* The fewest pages that waste at most 1/8 of the slab. */
static size_t first_npages(size_t bytes) {
    size_t npages = pages_of(bytes);
    while ((npages << PAGE_SHIFT) % bytes > (npages << PAGE_SHIFT) / 8) {
        npages++;
    }
    return npages;
}

static size_t class_first_npages(unsigned class) {
    return kmem_is_class(class) ? kmem_class_of(class)->first_npages : first_npages(sizeclass_bytes(class));
}

/* About NPAGES: the whole buddy block they are cut from if that wastes next to nothing, since what is left of a block
 * serves small slabs only; else the size that wastes least. */
static size_t frugal_npages(size_t npages, size_t bytes) {
    size_t block = min_size((size_t)1 << order_of(npages), SLAB_PAGES_MAX), best = npages, least = PAGE_BYTES;
    for (size_t n = block; n > npages / 2; n--) {
        size_t span = n << PAGE_SHIFT, waste = (span % bytes << PAGE_SHIFT) / span; /* of a page */
        bool fits = span / bytes && span / bytes <= SLAB_OBJECTS_MAX;
        if (fits && n == block && waste <= PAGE_BYTES / WHOLE_BLOCK_WASTE) {
            return n;
        }
        if (fits && waste < least) {
            least = waste;
            best = n;
        }
    }
    return best;
}

size_t slab_npages(unsigned class, unsigned generation) {
    size_t bytes = class_bytes(class), npages = class_first_npages(class);
    size_t most = min_size(max_size(SLAB_BYTES_USUAL, 8 * bytes), SLAB_OBJECTS_MAX * bytes) >> PAGE_SHIFT;
    most = min_size(most, SLAB_PAGES_MAX);
    for (unsigned i = 0; i < generation && 2 * npages <= most; i++) {
        npages *= 2;
    }
    return generation ? frugal_npages(npages, bytes) : npages;
}

/* Bits FIRST..LAST. */
static uint64_t pages_mask(size_t first, size_t last) {
    return ~(uint64_t)0 >> (63 - last) & ~(uint64_t)0 << first;
}

/* The pages on which objects FIRST..LAST lie. (What comes after the last one, a red zone before no further object, is
 * perhaps not in the slab.) */
static uint64_t objects_mask(const struct slab *slab, size_t first, size_t last) {
    size_t skew = slab_skew(slab), end = (skew + (last + 1) * slab->bytes - 1) >> PAGE_SHIFT;
    return pages_mask((skew + first * slab->bytes) >> PAGE_SHIFT, min_size(end, slab->npages - 1u));
}

/* Bytes of a descriptor. */
static size_t slab_meta_bytes(unsigned class) {
    const struct kmem_class *kmem = kmem_is_class(class) ? kmem_class_of(class) : NULL;
    bool more = kmem && (kmem->args.ctor || kmem_is_checked(kmem));
    return more ? sizeof(struct slab_more) : sizeof(struct slab);
}

/* Red zones lie beside the pages that objects' indices tell: such a slab has no holes and is dirty from the start. */
static bool has_red_zones(unsigned class) {
    return kmem_is_class(class) && kmem_class_of(class)->flags & SLABMALLOC_CACHE_RED_ZONE;
}

/* Where objects begin in a new slab of NPAGES. */
static size_t class_skew(unsigned class, size_t npages) {
    if (!kmem_is_class(class)) {
        return 0;
    }
    struct kmem_class *kmem = kmem_class_of(class);
    size_t span = npages << PAGE_SHIFT, nobjects = min_size(span / kmem->slot_bytes, SLAB_OBJECTS_MAX);
    size_t room = min_size(span - nobjects * kmem->slot_bytes, PAGE_BYTES - 1 - kmem->lead);
    size_t step = max_size(kmem->align, CACHE_LINE);
    uint32_t colour = atomic_fetch_add_explicit(&kmem->colour, 1, memory_order_relaxed);
    return kmem->lead + colour % (room / step + 1) * step;
}

struct slab *slab_create(struct owner *owner, uint32_t tag, unsigned node, unsigned class, unsigned generation) {
    size_t npages = slab_npages(class, generation), bytes = class_bytes(class);
    struct slab *slab = meta_alloc(slab_meta_bytes(class));
    if (!slab) {
        return NULL;
    }
    uintptr_t pfn = zone_alloc_fit(node, ZONE_NORMAL, GROUP_SLAB, &npages, class_first_npages(class));
    if (!pfn) {
        meta_free(slab, slab_meta_bytes(class));
        return NULL;
    }
    slab->base = (pfn << PAGE_SHIFT) + class_skew(class, npages);
    slab->reciprocal = (((uint64_t)1 << 40) + bytes - 1) / bytes;
    slab->owner = owner;
    slab->bytes = (uint32_t)bytes;
    slab->nobjects = (uint16_t)min_size((npages << PAGE_SHIFT) / bytes, SLAB_OBJECTS_MAX);
    slab->npages = (uint8_t)npages;
    slab->class = (uint16_t) class;
    slab->nfree = slab->nobjects;
    slab->bin = SLAB_UNFILED;
    slab->touched = (has_red_zones(class) ? ~(uint64_t)0 : ~buddy_fresh_mask(pfn, npages)) & pages_mask(0, npages - 1);
    for (size_t i = 0; i < slab->nobjects; i += 64) {
        size_t n = min_size(64, slab->nobjects - i);
        slab->free[i / 64] = n == 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1;
    }
    for (size_t i = 0; i < npages; i++) {
        struct page *page = pagemap_page(pfn + i);
        page->extra = i & 0xffff;
        page_mark(page, PAGE_SLAB, (uintptr_t)slab);
    }
    if (kmem_is_class(class)) {
        atomic_fetch_add_explicit(&kmem_class_of(class)->nslabs, 1, memory_order_relaxed);
    }
    pagemap_set_tags(pfn, npages, tag | class);
    return slab;
}

uint64_t *slab_constructed(const struct slab *slab) {
    bool more = slab_meta_bytes(slab->class) == sizeof(struct slab_more);
    return more ? ((struct slab_more *)slab)->constructed : NULL;
}

static bool has_destructor(const struct slab *slab) {
    return kmem_is_class(slab->class) && kmem_class_of(slab->class)->args.dtor;
}

/* Some of the objects FIRST..LAST are constructed. */
static bool any_constructed(const struct slab *slab, size_t first, size_t last) {
    const uint64_t *bits = slab_constructed(slab);
    bool any = false;
    for (size_t i = first; bits && i <= last && !any; i++) {
        any = bits[i / 64] >> (i % 64) & 1;
    }
    return any;
}

uint64_t slab_construct(struct slab *slab, void *const *objects, size_t n) {
    uint64_t *bits = slab_constructed(slab), raw = 0;
    for (size_t i = 0; bits && i < n; i++) {
        size_t index = (size_t)slab_index(slab, objects[i]);
        uint64_t bit = (uint64_t)1 << index % 64;
        raw |= (uint64_t) !(bits[index / 64] & bit) << i;
        bits[index / 64] |= bit;
    }
    return raw;
}

void slab_unconstruct(struct slab *slab, const void *object) {
    size_t index = (size_t)slab_index(slab, object);
    slab_constructed(slab)[index / 64] &= ~((uint64_t)1 << index % 64);
}

void slab_destroy(struct slab *slab) {
    bool built = kmem_is_class(slab->class) && kmem_class_of(slab->class)->args.ctor;
    if (built && any_constructed(slab, 0, slab->nobjects - 1u)) {
        kmem_park(slab);
    } else {
        slab_free(slab);
    }
}

static void free_track(const struct slab *slab) {
    struct kmem_track *track = slab_constructed(slab) ? ((const struct slab_more *)slab)->track : NULL;
    if (track) {
        meta_free(track, slab->nobjects * sizeof *track);
    }
}

void slab_free(struct slab *slab) {
    ASSERT(slab->nfree == slab->nobjects);
    uintptr_t pfn = slab_pfn(slab);
    unsigned class = slab->class;
    size_t npages = slab->npages;
    pagemap_set_tags(pfn, npages, TAG_FOREIGN);
    for (size_t i = 0; i < npages; i++) {
        page_mark(pagemap_page(pfn + i), PAGE_BODY, 0);
    }
    uint64_t touched = slab->touched;
    free_track(slab);
    meta_free(slab, slab_meta_bytes(class));
    if (kmem_is_class(class)) {
        /* Release: whoever finds none left may make another cache of the class. */
        atomic_fetch_sub_explicit(&kmem_class_of(class)->nslabs, 1, memory_order_release);
    }
    zone_free_mask(pfn, npages, touched);
}

static void free_word_set(struct slab *slab, size_t word, uint64_t bits) {
    __atomic_store_n(&slab->free[word], bits, __ATOMIC_RELAXED);
}

size_t slab_take(struct slab *slab, void **out, size_t n) {
    size_t taken = min_size(n, slab->nfree), word = 0, index = 0;
    if (!taken) {
        return 0;
    }
    while (!slab->free[word]) {
        word++;
    }
    size_t first = word * 64 + (size_t)__builtin_ctzll(slab->free[word]);
    void **at = out + n, **end = at - taken;
    const uint32_t bytes = slab->bytes;
    for (; at != end; word++) {
        const uintptr_t row = slab->base + word * 64 * bytes;
        uint64_t bits = slab->free[word];
        uint32_t bit = 0; /* 32 bits: no instruction to extend it */
        for (; bits && at != end; bits &= bits - 1) {
            bit = (uint32_t)__builtin_ctzll(bits);
            *--at = (void *)(row + (uint32_t)(bit * bytes));
        }
        index = word * 64 + bit;
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

/* The objects that lie on PAGE, if any. */
static bool objects_on(const struct slab *slab, size_t page, size_t *first, size_t *last) {
    size_t skew = slab_skew(slab), at = page << PAGE_SHIFT;
    *first = (at > skew ? at - skew : 0) * slab->reciprocal >> 40;
    *last = min_size((at + PAGE_BYTES - 1 - skew) * slab->reciprocal >> 40, slab->nobjects - 1u);
    return *first < slab->nobjects;
}

static uint64_t holes_of(const struct slab *slab, bool keep_constructed) {
    uint64_t holes = 0;
    for (uint64_t left = has_red_zones(slab->class) ? 0 : slab->touched; left; left &= left - 1) {
        size_t page = (size_t)__builtin_ctzll(left), first, last;
        if (!objects_on(slab, page, &first, &last) ||
            (all_free(slab, first, last) && !(keep_constructed && any_constructed(slab, first, last)))) {
            holes |= (uint64_t)1 << page;
        }
    }
    return holes;
}

uint64_t slab_holes(const struct slab *slab) {
    return holes_of(slab, has_destructor(slab));
}

uint64_t slab_free_pages(const struct slab *slab) {
    return holes_of(slab, false);
}

size_t slab_take_constructed(struct slab *slab, uint64_t pages, uint64_t out[SLAB_OBJECTS_MAX / 64]) {
    uint64_t *bits = slab_constructed(slab);
    size_t n = 0;
    memset(out, 0, SLAB_OBJECTS_MAX / 8);
    for (size_t i = 0; bits && i < slab->nobjects; i++) {
        uint64_t bit = bits[i / 64] & (uint64_t)1 << i % 64;
        if (bit && objects_mask(slab, i, i) & pages) {
            out[i / 64] |= bit;
            bits[i / 64] &= ~bit;
            n++;
        }
    }
    return n;
}

/* Why OBJECT, which the caller took for one of SLAB's that is out, is none. */
static _Noreturn void refuse(const struct slab *slab, const void *object) {
    fault_pointer(slab_index(slab, object) < 0 ? "free of a pointer inside an object" : "double free", object);
}

size_t slab_give(struct slab *slab, void *const *objects, size_t n) {
    const uint64_t base = slab->base, reciprocal = slab->reciprocal, bytes = slab->bytes;
    const uint64_t end = slab->nobjects * bytes;
    uint64_t offset = (uintptr_t)objects[0] - base;
    size_t i = 0;
    if (unlikely(offset >= end)) {
        refuse(slab, objects[0]);
    }
    do {
        const uint64_t index = offset * reciprocal >> 40, bit = (uint64_t)1 << index % 64;
        const uint64_t bits = slab->free[index / 64];
        if (unlikely(index * bytes != offset) || unlikely(bits & bit)) {
            refuse(slab, objects[i]);
        }
        free_word_set(slab, index / 64, bits | bit);
        if (++i == n) {
            break;
        }
        offset = (uintptr_t)objects[i] - base;
    } while (offset < end);
    slab->nfree += (uint16_t)i;
    return i;
}

void slab_retag(struct slab *slab, struct owner *owner, uint32_t tag) {
    __atomic_store_n(&slab->owner, owner, __ATOMIC_RELEASE); /* for slab_owner */
    pagemap_set_tags(slab_pfn(slab), slab->npages, tag | slab->class);
}

static const char *check_pages(const struct slab *slab) {
    uintptr_t pfn = slab_pfn(slab);
    for (size_t i = 0; i < slab->npages; i++) {
        const struct page *page = pagemap_page(pfn + i);
        if (page->state != PAGE_SLAB || page->link != (uintptr_t)slab || page->extra != i) {
            return "a page of a slab does not point to it";
        }
    }
    return NULL;
}

const char *slab_check(const struct slab *slab) {
    size_t nfree = 0, bytes = class_bytes(slab->class);
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
