/* slabmalloc.h's own promises: arguments, return values, errno. */
#include "support.h"

Test(api, version_is_that_of_the_header) {
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", SLABMALLOC_VERSION_MAJOR, SLABMALLOC_VERSION_MINOR,
             SLABMALLOC_VERSION_PATCH);
    cr_assert_str_eq(slabmalloc_version(), text);
}

Test(api, realloc_of_null_is_malloc) {
    char *p = slabmalloc_realloc(NULL, 100), *q = slabmalloc_realloc(NULL, 0);
    MUST(p && q && p != q);
    memset(p, 1, 100);
    slabmalloc_free(p);
    slabmalloc_free(q);
}

Test(api, realloc_to_0_frees_and_returns_null) {
    static const size_t size[] = {1, 100, 40 * KIB, 3 * MIB};
    for (size_t i = 0; i < COUNT_OF(size); i++) {
        size_t used = stats_now().used_bytes;
        void *p = slabmalloc_malloc(size[i]);
        errno = 0;
        MUST(slabmalloc_realloc(p, 0) == NULL && errno == 0);
        MUST(stats_now().used_bytes == used);
    }
}

Test(api, alignment_must_be_a_power_of_two) {
    static const size_t bad[] = {0, 3, 24, 48, 100, 4097, SIZE_MAX};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        errno = 0;
        MUST(slabmalloc_aligned_alloc(bad[i], 100) == NULL && errno == EINVAL);
    }
    for (size_t align = 1; align <= 16 * MIB; align *= 2) {
        void *p = slabmalloc_aligned_alloc(align, 100);
        MUST(p && (uintptr_t)p % align == 0);
        slabmalloc_free(p);
    }
}

Test(api, null_is_nothing) {
    errno = 7;
    slabmalloc_free(NULL);
    MUST(slabmalloc_usable_size(NULL) == 0);
    MUST(errno == 7);
}

Test(api, trim_says_whether_it_gave_back_anything) {
    static const size_t size[] = {64, 100 * KIB, 1 * MIB, 5 * MIB};
    slabmalloc_trim();
    for (size_t i = 0; i < COUNT_OF(size); i++) {
        static void *p[500];
        size_t n = min_size(COUNT_OF(p), 8 * MIB / size[i]);
        for (size_t j = 0; j < n; j++) {
            p[j] = memset(slabmalloc_malloc(size[i]), 1, size[i]);
        }
        for (size_t j = 0; j < n; j++) {
            slabmalloc_free(p[j]);
        }
        MUST(slabmalloc_trim() == 1);
        MUST(slabmalloc_trim() == 0);
    }
}

Test(api, trim_lowers_residence) {
    options.hugepages = false;
    options.map_cache = 1 * GIB;
    static char *p[30000];
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        p[i] = memset(slabmalloc_malloc(1000), 1, 1000);
    }
    char *q = memset(slabmalloc_malloc(100 * MIB), 1, 100 * MIB);
    size_t peak = rss_bytes();
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        slabmalloc_free(p[i]);
    }
    slabmalloc_free(q);
    slabmalloc_trim();
    MUST(rss_bytes() + 120 * MIB < peak);
}

Test(api, older_callers_get_the_fields_they_know) {
    struct {
        struct slabmalloc_stats stats;
        char after[64];
    } room;
    memset(&room, 0x5a, sizeof room);
    slabmalloc_stats(&room.stats, offsetof(struct slabmalloc_stats, used_bytes));
    MUST(room.stats.mapped_bytes != 0x5a5a5a5a5a5a5a5a);
    MUST(all_bytes_are(&room.stats.used_bytes, sizeof room - offsetof(struct slabmalloc_stats, used_bytes), 0x5a));
    slabmalloc_stats(&room.stats, sizeof room.stats);
    MUST(all_bytes_are(room.after, sizeof room.after, 0x5a));
    /* A newer caller than library: what the library does not know stays as it was. */
    slabmalloc_stats(&room.stats, sizeof room);
    MUST(all_bytes_are(room.after, sizeof room.after, 0x5a));
}

Test(api, check_of_a_sound_heap_is_null) {
    MUST(slabmalloc_check() == NULL);
    void *p = slabmalloc_malloc(100);
    MUST(slabmalloc_check() == NULL);
    slabmalloc_free(p);
    MUST(slabmalloc_check() == NULL);
}
