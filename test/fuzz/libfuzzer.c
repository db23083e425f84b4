/* The target for libFuzzer, or for any driver with its interface. */
#include "sequence.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nbytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nbytes) {
    sequence_run(bytes, nbytes);
    return 0;
}
