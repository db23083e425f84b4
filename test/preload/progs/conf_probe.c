/* Prints "secure" if the kernel marked this a secure execution, allocates a little, prints "works". */
#include "tap.h"

#include <sys/auxv.h>

int main(void) {
    if (getauxval(AT_SECURE))
        puts("secure");
    for (size_t n = 1; n < (size_t)8 << 20; n *= 2) {
        char *p = opaque(malloc(n));
        memset(p, 1, n);
        free(p);
    }
    puts("works");
    return 0;
}
