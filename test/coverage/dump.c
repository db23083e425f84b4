/*
 * dump.c: in coverage builds alone. Processes that end by _exit or abort, as children and caught faults do, leave what
 * they counted too: the linker puts these in place of both (--wrap).
 */
#include <gcov.h>

void __real_abort(void) __attribute__((noreturn));
void __wrap_abort(void) __attribute__((noreturn));
void __real__exit(int status) __attribute__((noreturn));
void __wrap__exit(int status) __attribute__((noreturn));

void __wrap_abort(void) {
    __gcov_dump();
    __real_abort();
}

void __wrap__exit(int status) {
    __gcov_dump();
    __real__exit(status);
}
