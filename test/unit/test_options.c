/* options.h promises: every key and unit; what is wrong is named on stderr, once, and changes nothing. */
#include "options.h"

#include <fcntl.h>

#include "report_kind.h"
#include "util.h"

static struct options defaults;

static void remember_defaults(void) {
    defaults = options;
}

TestSuite(options, .init = remember_defaults);

/* What options_parse(TEXT) writes to stderr. */
static const char *warnings_of(const char *text) {
    static char output[8192];
    int ends[2], saved = dup(2);
    require(saved >= 0 && pipe(ends) == 0);
    dup2(ends[1], 2);
    options_parse(text);
    dup2(saved, 2);
    close(saved);
    close(ends[1]);
    size_t length = 0;
    ssize_t n;
    while ((n = read(ends[0], output + length, sizeof output - 1 - length)) > 0) {
        length += (size_t)n;
    }
    close(ends[0]);
    output[length] = 0;
    return output;
}

static bool same(const struct options *a, const struct options *b) {
    return a->hugepages == b->hugepages && a->pool_shift == b->pool_shift && a->huge_threshold == b->huge_threshold &&
           a->decay_ms == b->decay_ms && a->magazine_max == b->magazine_max && a->map_cache == b->map_cache &&
           a->background == b->background && a->slob == b->slob && a->report_exit == b->report_exit &&
           !strcmp(a->report_file, b->report_file) && a->numa == b->numa && a->numa_node == b->numa_node;
}

static void must_be_silent(const char *text) {
    const char *output = warnings_of(text);
    require(!*output, "'%s' says %s", text, output);
}

/* One line on stderr that names ITEM, and no option changed. */
static void must_be_refused(const char *text, const char *item) {
    struct options before = options;
    const char *output = warnings_of(text), *end = strchr(output, '\n');
    require(!strncmp(output, "slabmalloc: ", 12), "'%s' says '%s'", text, output);
    require(strstr(output, item), "'%s' says '%s'", text, output);
    require(end && !end[1], "'%s' says more than one line: %s", text, output);
    require(same(&before, &options), "'%s' changes an option", text);
}

Test(options, every_key_sets_its_own_field_and_no_other) {
    struct options expected = defaults;
    must_be_silent("hugepages:off");
    expected.hugepages = false;
    require(same(&options, &expected));
    must_be_silent("hugepages:auto");
    expected.hugepages = true;
    require(same(&options, &expected));
    must_be_silent("hugepages:hugetlb");
    expected.pool_shift = 21;
    require(same(&options, &expected));
    must_be_silent("hugepages:hugetlb1g");
    expected.pool_shift = 30;
    require(same(&options, &expected));
    must_be_silent("hugepages:off");
    expected.hugepages = false;
    expected.pool_shift = 0;
    require(same(&options, &expected));
    must_be_silent("hugepages:thp");
    expected.hugepages = true;
    require(same(&options, &expected));
    must_be_silent("huge_threshold:12345");
    expected.huge_threshold = 12345;
    require(same(&options, &expected));
    must_be_silent("decay_ms:77");
    expected.decay_ms = 77;
    require(same(&options, &expected));
    must_be_silent("magazine_max:4096");
    expected.magazine_max = 4096;
    require(same(&options, &expected));
    must_be_silent("map_cache:0");
    expected.map_cache = 0;
    require(same(&options, &expected));
    must_be_silent("report_exit:slab+json");
    expected.report_exit = 1u << REPORT_SLABINFO | 1u << REPORT_JSON;
    require(same(&options, &expected));
    must_be_silent("report_file:/some/where.%p");
    strcpy(expected.report_file, "/some/where.%p");
    require(same(&options, &expected));
}

Test(options, heap_slob_means_no_huge_pages_and_no_cached_mappings_unless_told_so_after_it) {
    struct options expected = defaults;
    must_be_silent("heap:slab");
    require(same(&options, &defaults));
    must_be_silent("heap:slob");
    expected.slob = true;
    expected.hugepages = false;
    expected.map_cache = 0;
    require(same(&options, &expected));
    must_be_silent("heap:slob,map_cache:1M");
    expected.map_cache = (size_t)1 << 20;
    require(same(&options, &expected));
    must_be_refused("heap:slub", "heap:slub");
    must_be_refused("heap:", "heap:");
}

Test(options, numa_takes_three_words_and_a_node) {
    struct options expected = defaults;
    must_be_silent("numa:interleave");
    expected.numa = NUMA_INTERLEAVE;
    require(same(&options, &expected));
    must_be_silent("numa:off");
    expected.numa = NUMA_OFF;
    require(same(&options, &expected));
    must_be_silent("numa:node=63");
    expected.numa = NUMA_NODE;
    expected.numa_node = 63;
    require(same(&options, &expected));
    must_be_silent("numa:node=0");
    expected.numa_node = 0;
    require(same(&options, &expected));
    static const char *const bad[] = {"numa:",        "numa",         "numa:on",      "numa:node",    "numa:node=",
                                      "numa:node=64", "numa:node=-1", "numa:node=1x", "numa:node=1K", "numa:localx"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        must_be_refused(bad[i], bad[i]);
    }
    must_be_silent("numa:local");
    expected.numa = NUMA_LOCAL;
    require(same(&options, &expected));
}

Test(options, bytes_take_the_suffixes_k_m_and_g_in_both_cases) {
    static const struct {
        const char *text;
        size_t bytes;
    } cases[] = {
        {"map_cache:3", 3},
        {"map_cache:3k", (size_t)3 << 10},
        {"map_cache:3K", (size_t)3 << 10},
        {"map_cache:3m", (size_t)3 << 20},
        {"map_cache:3M", (size_t)3 << 20},
        {"map_cache:3g", (size_t)3 << 30},
        {"map_cache:3G", (size_t)3 << 30},
        {"map_cache:0G", 0},
        {"map_cache:007", 7},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        must_be_silent(cases[i].text);
        require(options.map_cache == cases[i].bytes, "%s", cases[i].text);
    }
}

Test(options, decay_takes_minus_one_for_never_and_zero_for_at_once) {
    must_be_silent("decay_ms:-1");
    require(options.decay_ms == -1);
    must_be_silent("decay_ms:0");
    require(options.decay_ms == 0);
}

Test(options, items_are_separated_by_commas) {
    must_be_silent("hugepages:off,decay_ms:1,map_cache:2M,magazine_max:8K,huge_threshold:1G");
    struct options expected = {.hugepages = false,
                               .huge_threshold = (size_t)1 << 30,
                               .decay_ms = 1,
                               .background = true,
                               .magazine_max = (size_t)8 << 10,
                               .map_cache = (size_t)2 << 20};
    require(same(&options, &expected));
}

Test(options, empty_text_and_empty_items_are_no_mistake) {
    must_be_silent("");
    must_be_silent(",");
    must_be_silent(",,,");
    require(same(&options, &defaults));
    must_be_silent(",,decay_ms:3,,map_cache:9,");
    require(options.decay_ms == 3 && options.map_cache == 9);
}

Test(options, the_last_of_equal_keys_counts) {
    must_be_silent("decay_ms:3,decay_ms:4");
    require(options.decay_ms == 4);
}

Test(options, unknown_keys_are_named_and_ignored) {
    must_be_refused("colour:blue", "colour");
    must_be_refused("decay:3", "decay");
    must_be_refused("decay_ms_:3", "decay_ms_");
    must_be_refused("DECAY_MS:3", "DECAY_MS");
    must_be_refused(" decay_ms:3", " decay_ms");
    must_be_refused("hugepage:off", "hugepage");
    must_be_refused(":3", "");
    must_be_refused(":", "");
    must_be_refused("nonsense", "nonsense");
}

Test(options, bad_values_are_named_and_ignored) {
    static const char *const bad[] = {
        "hugepages:on",        "hugepages:",         "hugepages",          "hugepages:OFF",     "hugepages:offf",
        "hugepages:of",        "hugepages:1",        "huge_threshold:",    "huge_threshold",    "huge_threshold:x",
        "huge_threshold:-1",   "huge_threshold:K",   "huge_threshold:1KK", "huge_threshold:1T", "huge_threshold:1.5M",
        "huge_threshold:0x10", "huge_threshold:1 K", "huge_threshold: 1",  "huge_threshold:+1", "huge_threshold:1:2",
        "decay_ms:",           "decay_ms",           "decay_ms:-2",        "decay_ms:-",        "decay_ms:-1x",
        "decay_ms:5K",         "decay_ms:1e3",       "magazine_max:",      "magazine_max:all",  "magazine_max:K1",
        "map_cache:",          "map_cache:/",        "map_cache:1;",       "map_cache:M",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        must_be_refused(bad[i], bad[i]);
    }
    require(same(&options, &defaults));
}

Test(options, numbers_that_do_not_fit_are_refused_not_wrapped) {
    static const char *const bad[] = {
        "map_cache:18446744073709551616",
        "map_cache:18446744073709551615",
        "map_cache:99999999999999999999999999",
        "map_cache:17179869184G",
        "map_cache:8589934592G",
        "map_cache:36893488147419103232",
        "map_cache:18014398509481984K",
        "decay_ms:4294967296",
        "decay_ms:18446744073709551615",
        "decay_ms:2147483648",
        "decay_ms:18446744073709551616500",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        must_be_refused(bad[i], bad[i]);
    }
}

Test(options, large_numbers_that_fit_are_taken) {
    must_be_silent("map_cache:8589934591G");
    require(options.map_cache == (size_t)8589934591 << 30);
    must_be_silent("map_cache:128G");
    require(options.map_cache == (size_t)128 << 30);
    must_be_silent("decay_ms:2147483647");
    require(options.decay_ms == 2147483647);
}

Test(options, a_bad_item_does_not_spoil_its_neighbours) {
    const char *output = warnings_of("decay_ms:9,what:ever,map_cache:many,huge_threshold:5M");
    require(options.decay_ms == 9 && options.huge_threshold == (size_t)5 << 20);
    require(options.map_cache == defaults.map_cache);
    const char *first = strstr(output, "what"), *second = strstr(output, "map_cache:many");
    require(first && second && first < second);
    size_t lines = 0;
    for (const char *at = output; (at = strchr(at, '\n')); at++) {
        lines++;
    }
    require(lines == 2, "%s", output);
    require(!strstr(output, "decay_ms") && !strstr(output, "huge_threshold"), "%s", output);
}

Test(options, an_endless_item_is_named_in_one_short_line) {
    static char text[5000];
    memset(text, 'x', sizeof text - 1);
    const char *output = warnings_of(text);
    require(strlen(output) < 300 && strchr(output, '\n') == output + strlen(output) - 1, "%s", output);
    memcpy(text, "map_cache:", 10);
    output = warnings_of(text);
    require(strlen(output) < 300 && strstr(output, "map_cache:xxx"), "%s", output);
}

Test(options, the_environment_is_applied) {
    setenv("SLABMALLOC_CONF", "decay_ms:41,map_cache:6K", 1);
    options_read_environment();
    require(options.decay_ms == 41 && options.map_cache == 6 << 10);
}

Test(options, no_environment_is_no_mistake) {
    unsetenv("SLABMALLOC_CONF");
    options_read_environment();
    require(same(&options, &defaults));
}

Test(options, reports_are_named_one_by_one) {
    static const char *const name[REPORT_KINDS] = {"slab", "buddy", "pagetype", "zone", "json"};
    for (unsigned kind = 0; kind < REPORT_KINDS; kind++) {
        char text[64];
        snprintf(text, sizeof text, "report_exit:%s", name[kind]);
        must_be_silent(text);
        require(options.report_exit == 1u << kind, "%s", text);
    }
    must_be_silent("report_exit:json+zone+pagetype+buddy+slab");
    require(options.report_exit == (1u << REPORT_KINDS) - 1);
    must_be_refused("report_exit:", "report_exit:");
    must_be_refused("report_exit:all", "report_exit:all");
    must_be_refused("report_exit:slab+x", "report_exit:slab+x");
    must_be_refused("report_exit:sla", "report_exit:sla");
}

Test(options, a_report_file_has_room_for_its_path) {
    char text[REPORT_FILE_MAX + 32] = "report_file:";
    size_t start = strlen(text);
    memset(text + start, 'x', REPORT_FILE_MAX - 1);
    must_be_silent(text);
    require(strlen(options.report_file) == REPORT_FILE_MAX - 1);
    text[start + REPORT_FILE_MAX - 1] = 'x';
    must_be_refused(text, "report_file:xxx");
    must_be_refused("report_file:", "report_file:");
}
