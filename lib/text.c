#include "text.h"

#include <errno.h>
#include <string.h>

#include "sys.h"

static void text_flush(struct text *text) {
    if (!text->error && text->length) {
        text->error = sys_write_all(text->fd, text->buffer, text->length);
    }
    text->length = 0;
}

static void text_char(struct text *text, char c) {
    if (text->length == sizeof text->buffer) {
        text_flush(text);
    }
    text->buffer[text->length++] = c;
}

void text_begin(struct text *text, int fd) {
    text->fd = fd;
    text->error = 0;
    text->length = 0;
}

static void text_spaces(struct text *text, int n) {
    for (; n > 0; n--) {
        text_char(text, ' ');
    }
}

void text_add(struct text *text, const char *string) {
    for (; *string; string++) {
        text_char(text, *string);
    }
}

void text_pad(struct text *text, const char *string, int width) {
    int length = (int)strlen(string);
    text_spaces(text, width - length);
    text_add(text, string);
    text_spaces(text, -width - length);
}

/* The digits of N before END. */
static char *digits_of(size_t n, char *end) {
    *--end = 0;
    do {
        *--end = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    return end;
}

void text_number(struct text *text, size_t n, int width) {
    char digits[24];
    text_pad(text, digits_of(n, digits + sizeof digits), width);
}

void text_milli(struct text *text, int n, int width) {
    char digits[32];
    unsigned value = n < 0 ? -(unsigned)n : (unsigned)n;
    /* The fraction's digits behind a leading 1, whose place the point takes. */
    char *at = digits_of(value % 1000 + 1000, digits + sizeof digits);
    *at = '.';
    char whole[16];
    char *start = digits_of(value / 1000, whole + sizeof whole);
    at -= strlen(start);
    memcpy(at, start, strlen(start));
    if (n < 0) {
        *--at = '-';
    }
    text_pad(text, at, width);
}

void text_quoted(struct text *text, const char *string) {
    static const char hex[] = "0123456789abcdef";
    text_char(text, '"');
    for (; *string; string++) {
        unsigned char c = (unsigned char)*string;
        if (c < ' ' || c > '~' || c == '"' || c == '\\') {
            text_add(text, "\\u00");
            text_char(text, hex[c >> 4]);
            text_char(text, hex[c & 15]);
        } else {
            text_char(text, *string);
        }
    }
    text_char(text, '"');
}

int text_end(struct text *text) {
    text_flush(text);
    if (text->error) {
        errno = -text->error;
        return -1;
    }
    return 0;
}
