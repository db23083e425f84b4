/*
 * sequence.h: bytes that say what to do with the heap, done by several threads and compared with the model.
 *
 *      [ mode ][ settings ]  [ code ][ thread ][ slot   ][ extra:6 slot:2 ][ kind ][ detail ]  ...
 *
 * Two bytes for the whole sequence, six for each operation; any bytes mean something. In ordered mode one thread works
 * at a time, so a sequence means the same every time and totals can be compared as it goes. In free mode each thread
 * does its own operations as fast as it can. Blocks lie in slots that all threads share: what one allocates, others
 * resize and free.
 */
#ifndef TEST_FUZZ_SEQUENCE_H
#define TEST_FUZZ_SEQUENCE_H

#include <stddef.h>
#include <stdint.h>

#define SEQUENCE_HEAD_BYTES 2
#define SEQUENCE_OP_BYTES 6

/* Bits of the mode byte. */
#define SEQUENCE_FREE 1

/* Does all of it, frees what is left, and compares: nothing may be in use then. */
void sequence_run(const uint8_t *bytes, size_t nbytes);

#endif
