#include "fault.h"

#include <stdlib.h>
#include <string.h>

#include "sys.h"

static void message_bytes(struct message *m, const char *text, size_t length) {
    length = min_size(length, sizeof m->text - 1 - m->length);
    memcpy(m->text + m->length, text, length);
    m->length += length;
}

void message_string(struct message *m, const char *text) {
    message_bytes(m, text, strlen(text));
}

void message_number(struct message *m, uintptr_t n, unsigned base) {
    char digits[24];
    size_t at = sizeof digits;
    do {
        digits[--at] = "0123456789abcdef"[n % base];
        n /= base;
    } while (n);
    message_string(m, base == 16 ? "0x" : "");
    message_bytes(m, digits + at, sizeof digits - at);
}

void message_write(struct message *m) {
    m->text[m->length++] = '\n';
    sys_write(2, m->text, m->length);
}

void message_fatal(struct message *m) {
    message_write(m);
    abort();
}

void fault_pointer(const char *what, const void *pointer) {
    struct message m = {.length = 0};
    message_string(&m, "slabmalloc: fatal: ");
    message_string(&m, what);
    message_string(&m, ": ");
    message_number(&m, (uintptr_t)pointer, 16);
    message_fatal(&m);
}

void fault_warn(const char *what, const char *text, size_t length, const char *remedy) {
    struct message m = {.length = 0};
    message_string(&m, "slabmalloc: ");
    message_string(&m, what);
    message_string(&m, " '");
    message_bytes(&m, text, min_size(length, 100));
    message_string(&m, "' ");
    message_string(&m, remedy);
    message_write(&m);
}

#ifdef SLABMALLOC_DEBUG
void fault_assert(const char *file, int line, const char *condition) {
    struct message m = {.length = 0};
    message_string(&m, "slabmalloc: fatal: ");
    message_string(&m, file);
    message_string(&m, ":");
    message_number(&m, (uintptr_t)line, 10);
    message_string(&m, ": broken invariant: ");
    message_string(&m, condition);
    message_fatal(&m);
}
#endif
