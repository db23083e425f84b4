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
