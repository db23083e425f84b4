/* hello.c: the smallest useful program, started by bench/startup. Its one buffer, stdout's, comes from malloc. */
#include <stdio.h>

int main(void) {
    puts("hello, world");
    return 0;
}
