#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "options.h"

#include <stdlib.h>
#include <string.h>

#include "fault.h"
#include "numa.h"
#include "report_kind.h"

struct options options = {
    .hugepages = true,
    .huge_threshold = (size_t)32 << 20,
    .decay_ms = 500,
    .background = true,
    .magazine_max = (size_t)256 << 10,
    .map_cache = (size_t)16 << 20,
    .numa = NUMA_LOCAL,
};

struct span {
    const char *text;
    size_t length;
};

static bool span_is(struct span s, const char *word) {
    return s.length == strlen(word) && !memcmp(s.text, word, s.length);
}

static bool parse_onoff(struct span value, void *field) {
    bool on = span_is(value, "auto");
    if (!on && !span_is(value, "off")) {
        return false;
    }
    *(bool *)field = on;
    return true;
}

static bool parse_hugepages(struct span value, void *field) {
    static const struct {
        const char *word;
        bool hugepages;
        uint8_t pool_shift;
    } words[] = {
        {"off", false, 0}, {"auto", true, 0}, {"thp", true, 0}, {"hugetlb", true, 21}, {"hugetlb1g", true, 30},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (span_is(value, words[i].word)) {
            *(bool *)field = words[i].hugepages;
            options.pool_shift = words[i].pool_shift;
            return true;
        }
    }
    return false;
}

static bool parse_number(struct span value, uint64_t *number) {
    uint64_t n = 0;
    if (!value.length) {
        return false;
    }
    for (size_t i = 0; i < value.length; i++) {
        unsigned digit = (unsigned)(value.text[i] - '0');
        if (digit > 9 || n > (uint64_t)INT64_MAX / 10 - 1) {
            return false;
        }
        n = n * 10 + digit;
    }
    *number = n;
    return true;
}

static bool parse_bytes(struct span value, void *field) {
    unsigned shift = 0;
    if (value.length) {
        switch (value.text[value.length - 1]) {
        case 'k':
        case 'K':
            shift = 10;
            break;
        case 'm':
        case 'M':
            shift = 20;
            break;
        case 'g':
        case 'G':
            shift = 30;
            break;
        default:
            break;
        }
    }
    value.length -= shift != 0;
    uint64_t n;
    if (!parse_number(value, &n) || n > (SIZE_MAX >> 1) >> shift) {
        return false;
    }
    *(size_t *)field = (size_t)n << shift;
    return true;
}

static bool parse_ms(struct span value, void *field) {
    uint64_t n;
    if (span_is(value, "-1")) {
        *(int64_t *)field = -1;
        return true;
    }
    if (!parse_number(value, &n) || n > INT32_MAX) {
        return false;
    }
    *(int64_t *)field = (int64_t)n;
    return true;
}

/* FIELD is not used: this key has two. */
static bool parse_numa(struct span value, void *field) {
    static const char *const word[] = {[NUMA_LOCAL] = "local", [NUMA_INTERLEAVE] = "interleave", [NUMA_OFF] = "off"};
    static const char node[] = "node=";
    const size_t length = sizeof node - 1;
    uint64_t n;
    (void)field;
    for (unsigned i = 0; i < sizeof word / sizeof *word; i++) {
        if (span_is(value, word[i])) {
            options.numa = (enum numa_policy)i;
            return true;
        }
    }
    if (value.length <= length || memcmp(value.text, node, length) != 0 ||
        !parse_number((struct span){value.text + length, value.length - length}, &n) || n >= NODES_MAX) {
        return false;
    }
    options.numa = NUMA_NODE;
    options.numa_node = (unsigned)n;
    return true;
}

/* A small footprint is what SLOB is for: keys that come after this one may say otherwise. */
static bool parse_heap(struct span value, void *field) {
    bool slob = span_is(value, "slob");
    if (!slob && !span_is(value, "slab")) {
        return false;
    }
    *(bool *)field = slob;
    if (slob) {
        options.hugepages = false;
        options.pool_shift = 0;
        options.map_cache = 0;
    }
    return true;
}

/* Names of reports with + between them. */
static bool parse_reports(struct span value, void *field) {
    unsigned kinds = 0;
    while (value.length) {
        const char *plus = memchr(value.text, '+', value.length);
        struct span one = {value.text, plus ? (size_t)(plus - value.text) : value.length};
        unsigned kind = 0;
        while (kind < REPORT_KINDS && !span_is(one, report_option(kind))) {
            kind++;
        }
        if (kind == REPORT_KINDS) {
            return false;
        }
        kinds |= 1u << kind;
        value.text += one.length + (plus != NULL);
        value.length -= one.length + (plus != NULL);
    }
    if (kinds) {
        *(unsigned *)field = kinds;
    }
    return kinds;
}

static bool parse_file(struct span value, void *field) {
    if (!value.length || value.length >= REPORT_FILE_MAX) {
        return false;
    }
    memcpy(field, value.text, value.length);
    ((char *)field)[value.length] = 0;
    return true;
}

static const struct option {
    const char *key;
    bool (*parse)(struct span value, void *field);
    void *field;
} table[] = {
    {"hugepages", parse_hugepages, &options.hugepages},
    {"huge_threshold", parse_bytes, &options.huge_threshold},
    {"decay_ms", parse_ms, &options.decay_ms},
    {"magazine_max", parse_bytes, &options.magazine_max},
    {"map_cache", parse_bytes, &options.map_cache},
    {"background", parse_onoff, &options.background},
    {"numa", parse_numa, NULL},
    {"heap", parse_heap, &options.slob},
    {"report_exit", parse_reports, &options.report_exit},
    {"report_file", parse_file, options.report_file},
};

static void option_apply(struct span pair) {
    const char *colon = memchr(pair.text, ':', pair.length);
    struct span key = {pair.text, colon ? (size_t)(colon - pair.text) : pair.length};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!span_is(key, table[i].key)) {
            continue;
        }
        struct span value = {colon ? colon + 1 : "", colon ? pair.length - key.length - 1 : 0};
        if (!table[i].parse(value, table[i].field)) {
            fault_warn("SLABMALLOC_CONF: bad value in", pair.text, pair.length, "ignored");
        }
        return;
    }
    fault_warn("SLABMALLOC_CONF: unknown key", key.text, key.length, "ignored");
}

void options_parse(const char *text) {
    while (*text) {
        size_t length = strcspn(text, ",");
        if (length) {
            option_apply((struct span){text, length});
        }
        text += length + (text[length] == ',');
    }
}

void options_read_environment(void) {
    const char *text = secure_getenv("SLABMALLOC_CONF");
    if (text) {
        options_parse(text);
    }
}
