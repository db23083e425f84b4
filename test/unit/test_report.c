/* Reports: what the kernel's tools would read from them is what the heap holds, and writing them changes nothing. */
#include <fcntl.h>
#include <sys/time.h>

#include "fork.h"
#include "gather.h"
#include "magazine.h"
#include "place.h"
#include "report.h"
#include "slabmalloc/kmem_cache.h"
#include "slabmalloc/pages.h"
#include "slabmalloc/report.h"
#include "support.h"

static int (*const reports[])(int fd) = {slabmalloc_report_slabinfo, slabmalloc_report_buddyinfo,
                                         slabmalloc_report_pagetypeinfo, slabmalloc_report_zoneinfo,
                                         slabmalloc_report_json};

static char report[1 << 20];

/* What REPORT writes, as a string. */
static char *text_of(int (*write_report)(int fd)) {
    int fd = memfd_create("report", MFD_CLOEXEC);
    MUST(fd >= 0);
    errno = 4711;
    MUST(write_report(fd) == 0 && errno == 4711);
    ssize_t n = pread(fd, report, sizeof report - 1, 0);
    MUST(n > 0 && n < (ssize_t)sizeof report - 1);
    report[n] = 0;
    close(fd);
    return report;
}

/* --- slabinfo, read as slabtop does --- */

struct slabinfo {
    char name[128];
    unsigned long active_objects, objects, active_slabs, slabs, shared;
    unsigned object_bytes, per_slab, pages_per_slab, limit, batch, factor;
};

static size_t parse_slabinfo(char *text, struct slabinfo *line, size_t most) {
    unsigned major, minor;
    MUST(sscanf(text, "slabinfo - version: %u.%u", &major, &minor) == 2 && major == 2 && minor == 1);
    size_t n = 0;
    for (char *at = strtok(text, "\n"); at; at = strtok(NULL, "\n")) {
        if (*at == '#' || !strncmp(at, "slabinfo", 8)) {
            continue;
        }
        MUST(n < most);
        struct slabinfo *s = &line[n++];
        MUST(sscanf(at, "%127s %lu %lu %u %u %u : tunables %u %u %u : slabdata %lu %lu %lu", s->name,
                    &s->active_objects, &s->objects, &s->object_bytes, &s->per_slab, &s->pages_per_slab, &s->limit,
                    &s->batch, &s->factor, &s->active_slabs, &s->slabs, &s->shared) == 12);
    }
    return n;
}

static struct slabinfo line[1000];

static const struct slabinfo *line_named(size_t n, const char *name) {
    for (size_t i = 0; i < n; i++) {
        if (!strcmp(line[i].name, name)) {
            return &line[i];
        }
    }
    MUST(!"there is a line of this name");
    return NULL;
}

static void *block[3000];

/* Slabs, runs and mappings in use and freed. */
static void furnish(void) {
    struct rng rng = {3};
    for (size_t i = 0; i < COUNT_OF(block); i++) {
        block[i] = slabmalloc_malloc(random_size(&rng, i % 64 ? 30 * KIB : 5 * MIB));
    }
    for (size_t i = 0; i < COUNT_OF(block); i += 2) {
        slabmalloc_free(block[i]);
    }
}

Test(report, slabinfo_has_the_kernels_columns_and_the_heaps_numbers) {
    furnish();
    struct slabmalloc_stats stats = stats_now();
    size_t n = parse_slabinfo(text_of(slabmalloc_report_slabinfo), line, COUNT_OF(line));
    MUST(n == CLASS_COUNT);
    size_t used = 0, cached = 0, slabs = 0;
    for (size_t i = 0; i < n; i++) {
        const struct slabinfo *s = &line[i];
        char name[32];
        snprintf(name, sizeof name, "kmalloc-%u", s->object_bytes);
        MUST(!strcmp(s->name, name) && s->object_bytes == sizeclass_bytes((unsigned)i));
        MUST(s->active_objects + s->shared <= s->objects && s->active_slabs <= s->slabs && s->factor == 0);
        MUST(s->per_slab > 0 && s->pages_per_slab > 0 && s->slabs * s->per_slab >= s->objects);
        MUST((s->per_slab - 1) * (size_t)s->object_bytes < (size_t)s->pages_per_slab << PAGE_SHIFT);
        MUST(s->shared <= s->limit);
        used += s->active_objects * s->object_bytes;
        cached += s->shared * s->object_bytes;
        slabs += s->slabs;
    }
    MUST(used == stats.slab_used_bytes && cached == stats.magazine_bytes && slabs == stats.slabs);
}

Test(report, slabinfo_counts_objects_of_a_class) {
    size_t n = parse_slabinfo(text_of(slabmalloc_report_slabinfo), line, COUNT_OF(line));
    unsigned long before = line_named(n, "kmalloc-224")->active_objects;
    void *p[100];
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        p[i] = slabmalloc_malloc(224);
    }
    n = parse_slabinfo(text_of(slabmalloc_report_slabinfo), line, COUNT_OF(line));
    MUST(line_named(n, "kmalloc-224")->active_objects == before + COUNT_OF(p));
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        slabmalloc_free(p[i]);
    }
    slabmalloc_trim();
    n = parse_slabinfo(text_of(slabmalloc_report_slabinfo), line, COUNT_OF(line));
    const struct slabinfo *s = line_named(n, "kmalloc-224");
    MUST(s->active_objects == 0 && s->objects == 0 && s->slabs == 0 && s->active_slabs == 0 && s->shared == 0);
}

Test(report, slabinfo_of_1000_slabs) {
    size_t count = 0;
    while (stats_now().slabs < 1000) {
        for (size_t i = 0; i < 1000; i++, count++) {
            slabmalloc_malloc(4 * KIB);
        }
    }
    size_t n = parse_slabinfo(text_of(slabmalloc_report_slabinfo), line, COUNT_OF(line));
    const struct slabinfo *s = line_named(n, "kmalloc-4096");
    MUST(s->active_objects == count && s->slabs >= 900);
}

static bool has_line(size_t n, const char *name) {
    for (size_t i = 0; i < n; i++) {
        if (!strcmp(line[i].name, name)) {
            return true;
        }
    }
    return false;
}

static int construct(void *object, void *private_data) {
    (void)private_data;
    memset(object, 1, 100);
    return 0;
}

static void destruct(void *object, void *private_data) {
    (void)private_data;
    memset(object, 0, 100);
}

static struct slabmalloc_cache_info info_of(const struct slabmalloc_cache *cache) {
    struct slabmalloc_cache_info info;
    slabmalloc_cache_info(cache, &info, sizeof info);
    return info;
}

Test(report, slabinfo_has_a_line_for_an_object_cache) {
    const struct slabmalloc_cache_args args = {.ctor = construct, .dtor = destruct};
    struct slabmalloc_cache *cache = slabmalloc_cache_create("of \"things\"", 100, 0, 0, &args);
    static void *p[1000];
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        p[i] = slabmalloc_cache_alloc(cache);
    }
    for (size_t i = 0; i < COUNT_OF(p) / 2; i++) {
        slabmalloc_cache_free(cache, p[i]);
    }
    struct slabmalloc_cache_info info = info_of(cache);
    size_t n = parse_slabinfo(text_of(slabmalloc_report_slabinfo), line, COUNT_OF(line));
    MUST(n == CLASS_COUNT + 1 && !strcmp(line[0].name, "of_\"things\""));
    MUST(line[0].active_objects == COUNT_OF(p) / 2 && line[0].shared == info.cached && line[0].slabs == info.slabs);
    MUST(line[0].objects == info.objects && line[0].object_bytes == info.slot_bytes);
    MUST(strstr(text_of(slabmalloc_report_json), "\"name\":\"of \\u0022things\\u0022\",\"object_bytes\":"));
    for (size_t i = COUNT_OF(p) / 2; i < COUNT_OF(p); i++) {
        slabmalloc_cache_free(cache, p[i]);
    }
    n = parse_slabinfo(text_of(slabmalloc_report_slabinfo), line, COUNT_OF(line));
    MUST(line[0].active_objects == 0 && line[0].objects >= COUNT_OF(p)); /* they stay constructed */
    MUST(!slabmalloc_cache_destroy(cache));
    n = parse_slabinfo(text_of(slabmalloc_report_slabinfo), line, COUNT_OF(line));
    MUST(!has_line(n, "of_\"things\""));
}

Test(report, object_caches_that_share_slabs_are_one_line) {
    struct slabmalloc_cache *one = slabmalloc_cache_create("one", 104, 0, 0, NULL);
    struct slabmalloc_cache *two = slabmalloc_cache_create("two", 104, 0, 0, NULL);
    struct slabmalloc_cache *own = slabmalloc_cache_create("own", 104, 0, SLABMALLOC_CACHE_NO_MERGE, NULL);
    MUST(info_of(one).sharers == 2);
    size_t n = parse_slabinfo(text_of(slabmalloc_report_slabinfo), line, COUNT_OF(line));
    MUST(has_line(n, "one") + has_line(n, "two") == 1 && has_line(n, "own"));
    slabmalloc_cache_destroy(one);
    slabmalloc_cache_destroy(two);
    slabmalloc_cache_destroy(own);
}

/* --- Zones --- */

struct zone_line {
    unsigned node, order[NORDERS];
    char name[16];
};

static size_t parse_buddyinfo(char *text, struct zone_line *zone, size_t most) {
    size_t n = 0;
    for (char *at = strtok(text, "\n"); at; at = strtok(NULL, "\n"), n++) {
        int used = 0;
        MUST(n < most);
        MUST(sscanf(at, "Node %u, zone %15s%n", &zone[n].node, zone[n].name, &used) == 2);
        MUST(used == 21); /* the kernel's width for one digit of node */
        unsigned order = 0;
        for (char *end; order < NORDERS; order++, at = end) {
            zone[n].order[order] = (unsigned)strtoul(order ? at : at + used, &end, 10);
        }
        MUST(strspn(at, " ") == strlen(at));
    }
    return n;
}

Test(report, buddyinfo_sums_up_to_the_free_pages) {
    furnish();
    struct zone_line zone[8];
    struct slabmalloc_stats stats = stats_now();
    size_t n = parse_buddyinfo(text_of(slabmalloc_report_buddyinfo), zone, COUNT_OF(zone)), pages = 0;
    MUST(n >= 1 && !strcmp(zone[0].name, "Normal"));
    for (size_t i = 0; i < n; i++) {
        for (unsigned order = 0; order < NORDERS; order++) {
            pages += (size_t)zone[i].order[order] << order;
        }
    }
    MUST(pages << PAGE_SHIFT == stats.zone_free_bytes);
}

/* The number behind TITLE, which stands at the beginning of a line but for blanks. */
static size_t number_behind(const char *text, const char *title) {
    for (const char *at = text; (at = strstr(at, title)); at++) {
        const char *before = at;
        while (before > text && before[-1] == ' ') {
            before--;
        }
        if ((before == text || before[-1] == '\n') && at[strlen(title)] == ' ') {
            return strtoul(at + strlen(title), NULL, 10);
        }
    }
    MUST(!"there is a line of this title");
    return 0;
}

Test(report, zoneinfo_has_the_watermarks) {
    furnish();
    const char *text = text_of(slabmalloc_report_zoneinfo);
    struct zone *zone = zone_next(NULL);
    MUST(number_behind(text, "min") == zone->marks.min && number_behind(text, "low") == zone->marks.low);
    MUST(number_behind(text, "high") == zone_high(zone));
    zone_set_marks(zone, (struct zone_marks){.min = 11, .low = 22, .high = 33});
    text = text_of(slabmalloc_report_zoneinfo);
    MUST(number_behind(text, "min") == 11 && number_behind(text, "low") == 22 && number_behind(text, "high") == 33);
    MUST(strstr(text, "\n        protection: (0, 0, 0)\n"));
}

Test(report, blocks_of_pages_are_counted) {
    void *live = slabmalloc_alloc_pages(0, 3), *freed = slabmalloc_alloc_pages(0, 2);
    slabmalloc_free_pages(freed, 2);
    struct slabmalloc_stats stats = stats_now();
    MUST(stats.page_bytes == 8 * PAGE_BYTES && stats.page_cached_bytes == 4 * PAGE_BYTES);
    slabmalloc_free_pages(live, 3);
}

Test(report, zoneinfo_agrees_with_the_totals) {
    furnish();
    struct slabmalloc_stats stats = stats_now();
    const char *text = text_of(slabmalloc_report_zoneinfo);
    MUST(!strncmp(text, "Node 0, zone   Normal\n  pages free     ", 39));
    MUST(number_behind(text, "pages free") << PAGE_SHIFT == stats.zone_free_bytes);
    MUST(number_behind(text, "spanned") << PAGE_SHIFT == stats.zone_bytes);
    MUST(number_behind(text, "nr_free_dirty") << PAGE_SHIFT == stats.zone_dirty_bytes);
    MUST(number_behind(text, "nr_purged") << PAGE_SHIFT == stats.purged_bytes);
    MUST(number_behind(text, "nr_used") + number_behind(text, "pages free") == number_behind(text, "spanned"));
    MUST(number_behind(text, "nr_allocs") > 0 && number_behind(text, "nr_regions") > 0);
}

Test(report, what_is_in_use_on_advised_memory_is_counted) {
    slabmalloc_free(slabmalloc_malloc(1));
    options.huge_threshold = 0;
    options.decay_ms = -1; /* no purge before a new peak, which would break up the run's huge page */
    slabmalloc_trim();     /* what was mapped before is for small pages */
    void *run = slabmalloc_malloc(200 * KIB), *mapping = slabmalloc_malloc(5 * MIB);
    struct slabmalloc_stats stats = stats_now();
    if (!place_of(mapping).huge) {
        cr_skip_test("the kernel takes no advice for huge pages here");
    }
    MUST(stats.thp_bytes == stats.zone_bytes - stats.zone_free_bytes + stats.mapping_bytes);
    const char *text = text_of(slabmalloc_report_zoneinfo);
    MUST((number_behind(text, "nr_thp") << PAGE_SHIFT) + stats.mapping_bytes == stats.thp_bytes);
    mapping = slabmalloc_realloc(mapping, 9 * MIB);
    MUST(stats_now().thp_bytes == stats.thp_bytes + 4 * MIB);
    mapping = slabmalloc_realloc(mapping, 3 * MIB);
    MUST(stats_now().thp_bytes == stats.thp_bytes - 2 * MIB);
    slabmalloc_free(mapping);
    MUST(stats_now().thp_bytes == stats.thp_bytes - 5 * MIB);
    slabmalloc_free(run);
    slabmalloc_trim();
    MUST(stats_now().thp_bytes == 0);
}

/* Sum over all rows of the free blocks of ORDER in pagetypeinfo; *ROWS counts them. */
static size_t pagetype_sum(const char *text, unsigned order, size_t *rows) {
    size_t sum = 0;
    *rows = 0;
    for (const char *at = text; (at = strstr(at, ", type ")); ++*rows) {
        char *end = (char *)at + 7 + 12; /* behind the name */
        for (unsigned i = 0; i < order; i++) {
            strtoul(end, &end, 10);
        }
        sum += strtoul(end, NULL, 10);
        at += 7;
    }
    return sum;
}

Test(report, pagetypeinfo_divides_the_free_blocks_by_type) {
    furnish();
    struct zone_line zone[8];
    size_t nzones = parse_buddyinfo(text_of(slabmalloc_report_buddyinfo), zone, COUNT_OF(zone)), rows;
    const char *text = text_of(slabmalloc_report_pagetypeinfo);
    MUST(!strncmp(text, "Page block order: 9\nPages per block:  512\n\nFree pages count per migrate type at order  ",
                  86));
    for (unsigned order = 0; order < NORDERS; order++) {
        size_t sum = 0;
        for (size_t i = 0; i < nzones; i++) {
            sum += zone[i].order[order];
        }
        MUST(pagetype_sum(text, order, &rows) == sum);
        MUST(rows == nzones * (GROUPS + 1) * KINDS);
    }
}

Test(report, pagetypeinfo_counts_every_pageblock) {
    furnish();
    struct slabmalloc_stats stats = stats_now();
    const char *at = strstr(text_of(slabmalloc_report_pagetypeinfo), "Number of blocks type ");
    MUST(at != NULL);
    unsigned long slab, run, whole;
    MUST(sscanf(strchr(at, '\n') + 1, "Node 0, zone Normal %lu %lu %lu", &slab, &run, &whole) == 3);
    MUST((slab + run + whole) * BLOCK_BYTES == stats.zone_bytes);
    MUST(slab > 0 && run > 0);
}

/* --- Indices: examples worked out by hand from the kernel's formulas --- */

Test(report, unusable_index_is_the_share_that_cannot_serve) {
    const size_t none[NORDERS] = {0}, some[NORDERS] = {4, 2, 0, 1}; /* 4 + 4 + 8 pages */
    MUST(report_unusable_index(none, 0) == 1000);
    MUST(report_unusable_index(some, 0) == 0);
    MUST(report_unusable_index(some, 1) == 250);
    MUST(report_unusable_index(some, 2) == 500 && report_unusable_index(some, 3) == 500);
    MUST(report_unusable_index(some, 4) == 1000);
}

Test(report, fragmentation_index_says_why_a_request_would_fail) {
    const size_t none[NORDERS] = {0}, crumbs[NORDERS] = {512}, one[NORDERS] = {1}, some[NORDERS] = {4, 2, 0, 1};
    MUST(report_fragmentation_index(none, 3) == 0);
    MUST(report_fragmentation_index(some, 3) == -1000);
    MUST(report_fragmentation_index(some, 4) == 1000 - (1000 + 1000) / 7);
    MUST(report_fragmentation_index(crumbs, 9) == 1000 - (1000 + 1000) / 512);
    MUST(report_fragmentation_index(one, 1) == -500); /* a wart of the kernel's: less than one block's worth */
}

/* --- Text --- */

static char written[256];

static const char *milli(int n, int width) {
    struct text text;
    int fd = memfd_create("text", MFD_CLOEXEC);
    text_begin(&text, fd);
    text_milli(&text, n, width);
    MUST(!text_end(&text));
    written[pread(fd, written, sizeof written - 1, 0)] = 0;
    close(fd);
    return written;
}

Test(report, thousandths_have_three_decimals) {
    cr_assert_str_eq(milli(0, 0), "0.000");
    cr_assert_str_eq(milli(7, 6), " 0.007");
    cr_assert_str_eq(milli(1000, 0), "1.000");
    cr_assert_str_eq(milli(-1000, 6), "-1.000");
    cr_assert_str_eq(milli(-250, 0), "-0.250");
    cr_assert_str_eq(milli(12345, -8), "12.345  ");
}

Test(report, names_are_quoted_for_json) {
    struct text text;
    int fd = memfd_create("text", MFD_CLOEXEC);
    text_begin(&text, fd);
    text_quoted(&text, "a\"b\\c\n\xff");
    MUST(!text_end(&text));
    written[pread(fd, written, sizeof written - 1, 0)] = 0;
    cr_assert_str_eq(written, "\"a\\u0022b\\u005cc\\u000a\\u00ff\"");
    close(fd);
}

/* --- json --- */

static size_t json_number(const char *text, const char *name) {
    char key[64];
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *at = strstr(text, key);
    MUST(at != NULL);
    return strtoul(at + strlen(key), NULL, 10);
}

Test(report, json_has_the_totals) {
    furnish();
    struct slabmalloc_stats stats = stats_now();
    const char *text = text_of(slabmalloc_report_json);
    MUST(!strncmp(text, "{\"format\":\"slabmalloc-report\",\"version\":1,", 42));
    MUST(strstr(text, "\"consistent\":true") && text[strlen(text) - 1] == '\n' && text[strlen(text) - 2] == '}');
    MUST(json_number(text, "pid") == (size_t)getpid());
#define SAME(field) MUST(json_number(text, #field) == stats.field)
    SAME(mapped_bytes);
    SAME(metadata_bytes);
    SAME(used_bytes);
    SAME(slab_bytes);
    SAME(slab_used_bytes);
    SAME(magazine_bytes);
    SAME(run_bytes);
    SAME(run_cached_bytes);
    SAME(mapping_bytes);
    SAME(mapping_cached_bytes);
    SAME(zone_bytes);
    SAME(zone_free_bytes);
    SAME(zone_dirty_bytes);
    SAME(purged_bytes);
    SAME(slabs);
    SAME(mappings);
    SAME(owners_active);
    SAME(page_bytes);
    SAME(page_cached_bytes);
    SAME(thp_bytes);
    SAME(hugetlb_bytes);
    SAME(hugetlb_1g_bytes);
    MUST(json_number(text, "mapping_peak_bytes") >= stats.mapping_bytes);
    MUST(json_number(text, "zone_peak_bytes") >= stats.zone_bytes);
}

Test(report, several_reports_have_titles) {
    struct snapshot snapshot;
    furnish();
    snapshot_gather(&snapshot);
    int fd = memfd_create("report", MFD_CLOEXEC);
    MUST(!report_write_all(fd, 1u << REPORT_BUDDYINFO | 1u << REPORT_SLABINFO, &snapshot));
    report[pread(fd, report, sizeof report - 1, 0)] = 0;
    MUST(!strncmp(report, "==> slabinfo <==\nslabinfo - version: 2.1\n", 41));
    MUST(strstr(report, "\n\n==> buddyinfo <==\nNode 0, zone ") && !strstr(report, "zoneinfo"));
    close(fd);
}

/* --- Neither the heap nor the program notices --- */

Test(report, reporting_changes_nothing_in_the_heap) {
    furnish();
    static struct slabmalloc_stats before, after;
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    for (size_t i = 0; i < COUNT_OF(reports); i++) {
        before = stats_now();
        fault_arm(~0u & ~(1u << SYS_WRITE), 0, 0);
        MUST(reports[i](fd) == 0);
        MUST(fault_disarm() == 0); /* no call to the kernel but for the writes */
        after = stats_now();
        MUST(!memcmp(&before, &after, sizeof before));
    }
    MUST_BE_SOUND();
    close(fd);
}

static void report_without_memory(void *arg) {
    (void)arg;
    furnish();
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    MUST(!setrlimit(RLIMIT_AS, &(struct rlimit){1, 1}));
    for (size_t i = 0; i < COUNT_OF(reports); i++) {
        MUST(reports[i](fd) == 0);
    }
}

Test(report, needs_no_memory) {
    SKIP_UNDER_SANITIZERS("they need address space themselves");
    child_must_end_well(report_without_memory, NULL);
}

/* --- The file descriptor --- */

Test(report, a_failed_write_is_an_error) {
    static const struct {
        const char *path;
        int flags, error;
    } bad[] = {{"/dev/full", O_WRONLY, ENOSPC}, {"/dev/null", O_RDONLY, EBADF}};
    furnish();
    for (size_t i = 0; i < COUNT_OF(reports); i++) {
        for (size_t k = 0; k < COUNT_OF(bad); k++) {
            int fd = open(bad[k].path, bad[k].flags | O_CLOEXEC);
            errno = 0;
            MUST(reports[i](fd) == -1 && errno == bad[k].error);
            close(fd);
        }
        errno = 0;
        MUST(reports[i](-1) == -1 && errno == EBADF);
    }
    fault_arm(1u << SYS_WRITE, 0, FOREVER);
    MUST(slabmalloc_report_slabinfo(1) == -1 && errno == EIO);
    fault_disarm();
}

Test(report, a_pipe_nobody_reads_is_an_error) {
    int ends[2];
    MUST(!pipe(ends));
    signal(SIGPIPE, SIG_IGN);
    close(ends[0]);
    MUST(slabmalloc_report_json(ends[1]) == -1 && errno == EPIPE);
    close(ends[1]);
}

Test(report, a_full_pipe_that_does_not_block_is_an_error) {
    int ends[2];
    MUST(!pipe2(ends, O_NONBLOCK));
    MUST(fcntl(ends[1], F_SETPIPE_SZ, 4096) >= 0);
    MUST(slabmalloc_report_json(ends[1]) == -1 && errno == EAGAIN);
    close(ends[0]);
    close(ends[1]);
}

static void on_alarm(int signal) {
    (void)signal;
}

static char arrived[1 << 16];

/* Reads a little at a time, late, into ARRIVED. */
static void *read_slowly(void *arg) {
    int fd = *(int *)arg;
    size_t total = 0;
    for (ssize_t n; (n = read(fd, arrived + total, min_size(100, sizeof arrived - 1 - total))) != 0;) {
        total += n > 0 ? (size_t)n : 0;
        usleep(200);
    }
    return NULL;
}

/* Every write is longer than the pipe, and ends early at a signal. */
Test(report, partial_and_interrupted_writes_go_on) {
    static char wanted[sizeof arrived];
    int ends[2];
    pthread_t thread;
    sigset_t alarms;
    for (size_t i = 0; i < sizeof wanted - 1; i++) {
        wanted[i] = (char)('0' + i * 7 % 71);
    }
    MUST(!pipe(ends) && fcntl(ends[1], F_SETPIPE_SZ, 4096) >= 0);
    sigemptyset(&alarms);
    sigaddset(&alarms, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarms, NULL);
    MUST(!pthread_create(&thread, NULL, read_slowly, &ends[0]));
    pthread_sigmask(SIG_UNBLOCK, &alarms, NULL);
    struct sigaction action = {.sa_handler = on_alarm}; /* no SA_RESTART */
    sigaction(SIGALRM, &action, NULL);
    struct itimerval every = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &every, NULL);
    MUST(sys_write_all(ends[1], wanted, sizeof wanted - 1) == 0);
    setitimer(ITIMER_REAL, &never, NULL);
    close(ends[1]);
    pthread_join(thread, NULL);
    MUST(!strcmp(arrived, wanted));
    close(ends[0]);
}

/* A process that is read from outside may be anything, or half way through something. */
Test(report, a_class_without_a_size_is_no_division_by_it) {
    static struct snapshot snapshot;
    snapshot_gather(&snapshot);
    snapshot.class[3].bytes = 0;
    snapshot.class[3].slabs = 0;
    int fd = open("/dev/null", O_WRONLY);
    MUST(!report_write_all(fd, ~0u, &snapshot));
    close(fd);
}

/* --- At exit --- */

Test(report, a_thread_that_holds_a_lock_is_inside) {
    struct owner *owner = owner_get();
    MUST(!fork_inside());
    owner_lock(owner);
    MUST(fork_inside());
    owner_unlock(owner);
    MUST(!fork_inside());
}

/* --- Beside other threads --- */

static _Atomic bool stop;

static void churn(unsigned index) {
    struct rng rng = {index};
    void *p[200] = {NULL};
    while (!stop) {
        size_t i = rng_below(&rng, COUNT_OF(p));
        slabmalloc_free(p[i]);
        p[i] = slabmalloc_malloc(random_size(&rng, rng_below(&rng, 100) ? 20 * KIB : 4 * MIB));
    }
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        slabmalloc_free(p[i]);
    }
}

static void churn_or_report(unsigned index) {
    if (index) {
        churn(index);
        return;
    }
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    for (unsigned long i = 0; i < rounds(200); i++) {
        for (size_t k = 0; k < COUNT_OF(reports); k++) {
            MUST(reports[k](fd) == 0);
        }
    }
    close(fd);
    stop = true;
}

Test(report, reports_during_churn) {
    threads_run(4, churn_or_report);
    MUST_BE_SOUND();
}
