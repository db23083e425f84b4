#include "report.h"

static const struct {
    const char *option, *file;
} names[REPORT_KINDS] = {
    [REPORT_SLABINFO] = {"slab", "slabinfo"},
    [REPORT_BUDDYINFO] = {"buddy", "buddyinfo"},
    [REPORT_PAGETYPEINFO] = {"pagetype", "pagetypeinfo"},
    [REPORT_ZONEINFO] = {"zone", "zoneinfo"},
    [REPORT_JSON] = {"json", "json"},
};

const char *report_option(enum report_kind kind) {
    return names[kind].option;
}

const char *report_group_name(enum buddy_group group) {
    return group == GROUP_SLAB ? "Slab" : "Run";
}

/* --- Indices --- */

/* Free pages, free blocks, and how many blocks of ORDER the free blocks hold. */
struct fill {
    size_t pages, blocks, suitable;
};

static struct fill fill_of(const size_t nr_free[NORDERS], unsigned order) {
    struct fill fill = {0};
    for (unsigned k = 0; k < NORDERS; k++) {
        fill.pages += nr_free[k] << k;
        fill.blocks += nr_free[k];
        fill.suitable += k >= order ? nr_free[k] << (k - order) : 0;
    }
    return fill;
}

int report_unusable_index(const size_t nr_free[NORDERS], unsigned order) {
    struct fill fill = fill_of(nr_free, order);
    return fill.pages ? (int)((fill.pages - (fill.suitable << order)) * 1000 / fill.pages) : 1000;
}

int report_fragmentation_index(const size_t nr_free[NORDERS], unsigned order) {
    struct fill fill = fill_of(nr_free, order);
    if (!fill.blocks) {
        return 0;
    }
    return fill.suitable ? -1000 : 1000 - (int)((1000 + (fill.pages * 1000 >> order)) / fill.blocks);
}

/* --- slabinfo --- */

static size_t mean_up(size_t sum, size_t n) {
    return (sum + n - 1) / n;
}

/* One word, as the columns are separated by blanks. */
static void slabinfo_name(struct text *text, const char *name) {
    char word[SNAPSHOT_NAME] = "";
    for (size_t i = 0; i + 1 < sizeof word && name[i]; i++) {
        word[i] = (char)(name[i] > ' ' && name[i] <= '~' ? name[i] : '_');
    }
    text_pad(text, *word ? word : "_", -17);
}

static void slabinfo_line(struct text *text, const char *name, const struct snapshot_cache *cache) {
    size_t pages = cache->slabs ? mean_up(cache->pages, cache->slabs) : pages_of(cache->bytes);
    size_t bytes = max_size(cache->bytes, 1); /* read from outside, it may be anything */
    size_t objects = cache->slabs ? mean_up(cache->objects, cache->slabs) : (pages << PAGE_SHIFT) / bytes;
    slabinfo_name(text, name);
    text_add(text, " ");
    text_number(text, cache->out - cache->cached, 6);
    text_add(text, " ");
    text_number(text, cache->objects, 6);
    text_add(text, " ");
    text_number(text, cache->bytes, 6);
    text_add(text, " ");
    text_number(text, objects, 4);
    text_add(text, " ");
    text_number(text, pages, 4);
    text_add(text, " : tunables ");
    text_number(text, cache->limit, 4);
    text_add(text, " ");
    text_number(text, cache->batch, 4);
    text_add(text, "    0 : slabdata ");
    text_number(text, cache->slabs_active, 6);
    text_add(text, " ");
    text_number(text, cache->slabs, 6);
    text_add(text, " ");
    text_number(text, cache->cached, 6);
    text_add(text, "\n");
}

static void slabinfo(struct text *text, const struct snapshot *snapshot) {
    text_add(text, "slabinfo - version: 2.1\n"
                   "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>"
                   " : tunables <limit> <batchcount> <sharedfactor>"
                   " : slabdata <active_slabs> <num_slabs> <sharedavail>\n");
    struct snapshot_object_cache out;
    const void *place = NULL;
    while (snapshot->next_cache(snapshot, &place, &out)) {
        slabinfo_line(text, out.name, &out.cache);
    }
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        snapshot_class_name(class, out.name);
        slabinfo_line(text, out.name, &snapshot->class[class]);
    }
}

/* --- Zones --- */

/* "Node 0, zone   Normal" */
static void zone_title(struct text *text, const struct snapshot_zone *zone, int node_width) {
    text_add(text, "Node ");
    text_number(text, zone->node, node_width);
    text_add(text, ", zone ");
    text_pad(text, snapshot_zone_name(zone->kind), 8);
}

static void orders_line(struct text *text, const size_t count[NORDERS], unsigned norders) {
    for (unsigned order = 0; order < NORDERS; order++) {
        text_number(text, order < norders ? count[order] : 0, 6);
        text_add(text, " ");
    }
    text_add(text, "\n");
}

static void each_zone(struct text *text, const struct snapshot *snapshot,
                      void (*write)(struct text *text, const struct snapshot_zone *zone)) {
    struct snapshot_zone zone;
    const void *place = NULL;
    while (snapshot->next_zone(snapshot, &place, &zone)) {
        write(text, &zone);
    }
}

static void buddyinfo_line(struct text *text, const struct snapshot_zone *zone) {
    zone_title(text, zone, 0);
    text_add(text, " ");
    orders_line(text, zone->nr_free, NORDERS);
}

static void type_line(struct text *text, const struct snapshot_zone *zone, const char *name, enum buddy_kind kind,
                      const size_t count[NORDERS], unsigned norders) {
    char type[SNAPSHOT_NAME] = "";
    size_t length = 0;
    for (const char *at = name; *at; at++) {
        type[length++] = *at;
    }
    for (const char *at = kind == KIND_FRESH ? "Fresh" : ""; *at; at++) {
        type[length++] = *at;
    }
    zone_title(text, zone, 4);
    text_add(text, ", type ");
    text_pad(text, type, 12);
    text_add(text, " ");
    orders_line(text, count, norders);
}

/* The free pageblocks' row: the other orders' blocks stand in those of the groups. */
static void whole_line(struct text *text, const struct snapshot_zone *zone, enum buddy_kind kind) {
    size_t count[NORDERS] = {0};
    for (unsigned group = 0; group < GROUPS; group++) {
        count[MAX_ORDER] += zone->list[group][kind][MAX_ORDER];
    }
    type_line(text, zone, "Block", kind, count, NORDERS);
}

static void pagetype_free(struct text *text, const struct snapshot_zone *zone) {
    for (unsigned i = 0; i < GROUPS * KINDS; i++) {
        type_line(text, zone, report_group_name(i / KINDS), i % KINDS, zone->list[i / KINDS][i % KINDS], MAX_ORDER);
    }
    for (unsigned kind = 0; kind < KINDS; kind++) {
        whole_line(text, zone, kind);
    }
}

static void pagetype_blocks(struct text *text, const struct snapshot_zone *zone) {
    zone_title(text, zone, 0);
    text_add(text, " ");
    for (unsigned group = 0; group < GROUPS; group++) {
        text_number(text, zone->blocks[group], 12);
        text_add(text, " ");
    }
    text_number(text, zone->whole_blocks, 12);
    text_add(text, " \n");
}

static void indices_line(struct text *text, const struct snapshot_zone *zone,
                         int (*index)(const size_t nr_free[NORDERS], unsigned order)) {
    zone_title(text, zone, 0);
    text_add(text, " ");
    for (unsigned order = 0; order < NORDERS; order++) {
        text_milli(text, index(zone->nr_free, order), 6);
        text_add(text, " ");
    }
    text_add(text, "\n");
}

static void unusable_line(struct text *text, const struct snapshot_zone *zone) {
    indices_line(text, zone, report_unusable_index);
}

static void fragmentation_line(struct text *text, const struct snapshot_zone *zone) {
    indices_line(text, zone, report_fragmentation_index);
}

static void pagetypeinfo(struct text *text, const struct snapshot *snapshot) {
    text_add(text, "Page block order: ");
    text_number(text, MAX_ORDER, 0);
    text_add(text, "\nPages per block:  ");
    text_number(text, BLOCK_PAGES, 0);
    text_add(text, "\n\n");
    text_pad(text, "Free pages count per migrate type at order", -43);
    text_add(text, " ");
    for (unsigned order = 0; order < NORDERS; order++) {
        text_number(text, order, 6);
        text_add(text, " ");
    }
    text_add(text, "\n");
    each_zone(text, snapshot, pagetype_free);
    text_add(text, "\n");
    text_pad(text, "Number of blocks type ", -23);
    for (unsigned group = 0; group < GROUPS; group++) {
        text_pad(text, report_group_name(group), 12);
        text_add(text, " ");
    }
    text_pad(text, "Block", 12);
    text_add(text, " \n");
    each_zone(text, snapshot, pagetype_blocks);
    text_add(text, "\nunusable_index\n");
    each_zone(text, snapshot, unusable_line);
    text_add(text, "\nextfrag_index\n");
    each_zone(text, snapshot, fragmentation_line);
}

/* --- zoneinfo --- */

static void zoneinfo_pages(struct text *text, const char *title, size_t n) {
    text_add(text, "\n  ");
    text_pad(text, title, -15);
    text_number(text, n, 0);
}

static void zoneinfo_counter(struct text *text, const char *name, size_t n) {
    text_add(text, "\n      ");
    text_pad(text, name, -12);
    text_add(text, " ");
    text_number(text, n, 0);
}

static void zoneinfo_zone(struct text *text, const struct snapshot_zone *zone) {
    zone_title(text, zone, 0);
    zoneinfo_pages(text, "pages free", zone->free_pages);
    zoneinfo_pages(text, "      min", zone->min);
    zoneinfo_pages(text, "      low", zone->low);
    zoneinfo_pages(text, "      high", zone->high);
    zoneinfo_pages(text, "      spanned", zone->mapped_pages);
    zoneinfo_pages(text, "      present", zone->mapped_pages);
    zoneinfo_pages(text, "      managed", zone->mapped_pages);
    text_add(text, "\n        protection: (");
    for (unsigned kind = 0; kind < ZONE_KINDS; kind++) {
        text_add(text, kind ? ", " : "");
        text_number(text, zone->protection[kind], 0);
    }
    text_add(text, ")");
    zoneinfo_counter(text, "nr_free_pages", zone->free_pages);
    zoneinfo_counter(text, "nr_free_dirty", zone->dirty_pages);
    zoneinfo_counter(text, "nr_isolated", zone->isolated_pages);
    zoneinfo_counter(text, "nr_used", zone->mapped_pages - zone->free_pages - zone->isolated_pages);
    zoneinfo_counter(text, "nr_thp", zone->backing.thp_pages);
    zoneinfo_counter(text, "nr_hugetlb_2m", zone->backing.hugetlb_pages);
    zoneinfo_counter(text, "nr_hugetlb_1g", zone->backing.hugetlb_1g_pages);
    zoneinfo_counter(text, "nr_mapped_peak", zone->mapped_peak);
    zoneinfo_counter(text, "nr_fresh_taken", zone->fresh_taken);
    zoneinfo_counter(text, "nr_purged", zone->purged_pages);
    zoneinfo_counter(text, "nr_regions", zone->regions);
    zoneinfo_counter(text, "nr_allocs", zone->allocs);
    zoneinfo_counter(text, "nr_fallbacks", zone->fallbacks);
    zoneinfo_counter(text, "nr_misses", zone->misses);
    zoneinfo_counter(text, "nr_splits", zone->splits);
    zoneinfo_counter(text, "nr_merges", zone->merges);
    zoneinfo_counter(text, "nr_lock_waits", zone->lock_waits);
    text_add(text, "\n");
}

/* --- All --- */

static void report_text(struct text *text, enum report_kind kind, const struct snapshot *snapshot) {
    switch (kind) {
    case REPORT_SLABINFO:
        slabinfo(text, snapshot);
        break;
    case REPORT_BUDDYINFO:
        each_zone(text, snapshot, buddyinfo_line);
        break;
    case REPORT_PAGETYPEINFO:
        pagetypeinfo(text, snapshot);
        break;
    case REPORT_ZONEINFO:
        each_zone(text, snapshot, zoneinfo_zone);
        break;
    default:
        report_json(text, snapshot);
        break;
    }
}

int report_write(int fd, enum report_kind kind, const struct snapshot *snapshot) {
    struct text text;
    text_begin(&text, fd);
    report_text(&text, kind, snapshot);
    return text_end(&text);
}

int report_write_all(int fd, unsigned kinds, const struct snapshot *snapshot) {
    struct text text;
    text_begin(&text, fd);
    bool several = kinds & (kinds - 1), first = true;
    for (unsigned kind = 0; kind < REPORT_KINDS; kind++) {
        if (!(kinds >> kind & 1)) {
            continue;
        }
        if (several) {
            text_add(&text, first ? "==> " : "\n==> ");
            text_add(&text, names[kind].file);
            text_add(&text, " <==\n");
        }
        first = false;
        report_text(&text, kind, snapshot);
    }
    return text_end(&text);
}
