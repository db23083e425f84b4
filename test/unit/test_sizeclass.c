/* sizeclass.h promises: 72 classes, small waste, natural alignment. */
#include "sizeclass.h"

#include "util.h"

TestSuite(sizeclass);

Test(sizeclass, objects_hold_the_request_and_no_smaller_class_would) {
    for (size_t bytes = 0; bytes <= SLAB_MAX; bytes++) {
        unsigned class = sizeclass_of(bytes);
        require(class < CLASS_COUNT);
        require(sizeclass_bytes(class) >= bytes, "%zu bytes", bytes);
        require(class == 0 || sizeclass_bytes(class - 1) < bytes, "%zu bytes", bytes);
    }
}

Test(sizeclass, classes_grow_from_a_granule_to_slab_max_without_gaps) {
    require(sizeclass_bytes(0) == CLASS_GRANULE);
    require(sizeclass_bytes(CLASS_COUNT - 1) == SLAB_MAX);
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        require(sizeclass_of(sizeclass_bytes(class)) == class, "class %u", class);
        require(class == 0 || sizeclass_bytes(class) > sizeclass_bytes(class - 1), "class %u", class);
    }
}

Test(sizeclass, a_request_wastes_at_most_15_bytes_or_a_ninth_of_the_object) {
    for (size_t bytes = 1; bytes <= SLAB_MAX; bytes++) {
        size_t object = sizeclass_bytes(sizeclass_of(bytes)), waste = object - bytes;
        require(waste <= 15 || 9 * waste <= object, "%zu bytes in an object of %zu", bytes, object);
    }
}

Test(sizeclass, every_class_is_a_multiple_of_a_granule) {
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        require(sizeclass_bytes(class) % CLASS_GRANULE == 0, "class %u", class);
    }
}

Test(sizeclass, small_classes_are_every_multiple_of_16_up_to_256) {
    for (unsigned class = 0; class < 16; class ++) {
        require(sizeclass_bytes(class) == 16 * (class + 1));
    }
    require(sizeclass_bytes(16) > 256);
}

Test(sizeclass, every_doubling_above_256_has_eight_equal_steps) {
    for (size_t low = 256; low < SLAB_MAX; low *= 2) {
        unsigned class = sizeclass_of(low);
        for (unsigned step = 1; step <= 8; step++) {
            require(sizeclass_bytes(class + step) == low + step * low / 8, "above %zu", low);
        }
    }
}

Test(sizeclass, aligned_class_is_the_smallest_whose_objects_are_aligned) {
    for (size_t align = 1; align <= PAGE_BYTES; align *= 2) {
        for (size_t bytes = 0; bytes <= SLAB_MAX; bytes++) {
            /* By search, not by arithmetic: the first class that is large enough and a multiple of the alignment. */
            unsigned expected = 0;
            while (expected < CLASS_COUNT && (sizeclass_bytes(expected) < bytes || sizeclass_bytes(expected) % align)) {
                expected++;
            }
            require(sizeclass_aligned(bytes, align) == expected, "%zu bytes aligned to %zu", bytes, align);
        }
    }
}

Test(sizeclass, every_alignment_up_to_a_page_has_a_class_for_every_size) {
    for (size_t align = 1; align <= min_size(PAGE_BYTES, SLAB_MAX); align *= 2) {
        require(sizeclass_aligned(SLAB_MAX, align) == CLASS_COUNT - 1);
        require(sizeclass_bytes(sizeclass_aligned(1, align)) == max_size(align, CLASS_GRANULE));
    }
}
