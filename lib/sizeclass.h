/*
 * sizeclass.h: 72 size classes up to 32 KiB.
 *
 * Classes 0..15 are the multiples of 16 up to 256; above, eight classes to each doubling. So a request of n
 * bytes wastes at most 15 bytes or 1/9 of the object. Every class is a multiple of 16, and objects start at
 * multiples of the class size from a page boundary: an object is aligned to the largest power of two that
 * divides its class (at most a page).
 */
#ifndef SLABMALLOC_SIZECLASS_H
#define SLABMALLOC_SIZECLASS_H

#include "base.h"

#define SLAB_MAX ((size_t)32 << 10)
#define CLASS_COUNT 72
#define CLASS_GRANULE 16

extern const uint8_t sizeclass_table[SLAB_MAX / CLASS_GRANULE + 1];
extern const uint16_t sizeclass_granules[CLASS_COUNT];   /* object sizes, in CLASS_GRANULE */
extern const uint32_t sizeclass_reciprocal[CLASS_COUNT]; /* ceil(2^32 / object size) */

/* The class of a request of BYTES <= SLAB_MAX. */
static inline unsigned sizeclass_of(size_t bytes) {
    return sizeclass_table[(bytes + CLASS_GRANULE - 1) / CLASS_GRANULE];
}

static inline size_t sizeclass_bytes(unsigned class) {
    return (size_t)sizeclass_granules[class] * CLASS_GRANULE;
}

/* OFFSET, less than 256 KiB, is a multiple of the object size. (Exact: its product with the reciprocal's error stays
 * below 2^32.) */
static inline bool sizeclass_divides(unsigned class, uint32_t offset) {
    uint32_t index = (uint32_t)((uint64_t)offset * sizeclass_reciprocal[class] >> 32);
    return index * sizeclass_granules[class] * CLASS_GRANULE == offset;
}

/* The smallest class for BYTES whose objects are aligned to ALIGN (a power of two up to a page), or
 * CLASS_COUNT when only a page run can serve it. */
static inline unsigned sizeclass_aligned(size_t bytes, size_t align) {
    for (unsigned class = sizeclass_of(max_size(bytes, 1)); class < CLASS_COUNT; class ++) {
        if (!(sizeclass_bytes(class) & (align - 1))) {
            return class;
        }
    }
    return CLASS_COUNT;
}

#endif
