#include "sizeclass.h"

/* N copies of a class, and eight consecutive classes of N granules each. */
#define R1(c) (c)
#define R2(c) R1(c), R1(c)
#define R4(c) R2(c), R2(c)
#define R8(c) R4(c), R4(c)
#define R16(c) R8(c), R8(c)
#define R32(c) R16(c), R16(c)
#define R64(c) R32(c), R32(c)
#define R128(c) R64(c), R64(c)
#define EIGHT(R, c) R(c), R((c) + 1), R((c) + 2), R((c) + 3), R((c) + 4), R((c) + 5), R((c) + 6), R((c) + 7)

/* Index: granules, rounded up. 0 bytes get the smallest class. */
const uint8_t sizeclass_table[SLAB_MAX / CLASS_GRANULE + 1] __attribute__((aligned(64))) = {
    0,               /* malloc(0) */
    EIGHT(R1, 0),    /* 16 .. 128 */
    EIGHT(R1, 8),    /* .. 256 */
    EIGHT(R2, 16),   /* .. 512 */
    EIGHT(R4, 24),   /* .. 1 KiB */
    EIGHT(R8, 32),   /* .. 2 KiB */
    EIGHT(R16, 40),  /* .. 4 KiB */
    EIGHT(R32, 48),  /* .. 8 KiB */
    EIGHT(R64, 56),  /* .. 16 KiB */
    EIGHT(R128, 64), /* .. 32 KiB */
};

/* X(size) for the sixteen multiples of 16, then for eight sizes to each doubling; in granules. */
#define LINEAR(X) X(1), X(2), X(3), X(4), X(5), X(6), X(7), X(8), X(9), X(10), X(11), X(12), X(13), X(14), X(15), X(16)
#define DOUBLING(X, half)                                                                                              \
    X(9 * (half)), X(10 * (half)), X(11 * (half)), X(12 * (half)), X(13 * (half)), X(14 * (half)), X(15 * (half)),     \
        X(16 * (half))
#define ALL(X)                                                                                                         \
    LINEAR(X), DOUBLING(X, 2), DOUBLING(X, 4), DOUBLING(X, 8), DOUBLING(X, 16), DOUBLING(X, 32), DOUBLING(X, 64),      \
        DOUBLING(X, 128)
#define GRANULES(n) (n)
#define RECIPROCAL(n) (uint32_t)((((uint64_t)1 << 32) + (n)*CLASS_GRANULE - 1) / ((n)*CLASS_GRANULE))

const uint16_t sizeclass_granules[CLASS_COUNT] = {ALL(GRANULES)};
const uint32_t sizeclass_reciprocal[CLASS_COUNT] = {ALL(RECIPROCAL)};
