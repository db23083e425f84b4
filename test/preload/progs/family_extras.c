/*
 * What glibc offers beside the family: malloc_trim, mallopt, mallinfo, mallinfo2, malloc_info, malloc_stats; the names
 * without a header (cfree, free_sized, free_aligned_sized) and the __libc_ forms, looked up as a program would.
 *
 * With an argument, writes malloc_info's XML to that file for a validator.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tap.h"

#include <dlfcn.h>
#include <malloc.h>

#define NOBJECTS 8192

static void *objects[NOBJECTS];

static void fill(size_t size) {
    for (size_t i = 0; i < NOBJECTS; i++) {
        objects[i] = opaque(malloc(size));
        memset(objects[i], 1, size);
    }
}

static void drop(void) {
    for (size_t i = 0; i < NOBJECTS; i++)
        free(objects[i]);
}

/* hblkhd: glibc counts blocks with a mapping of their own there. */
static size_t in_use(void) {
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static void mallinfo_counts(void) {
    size_t mib = 1 << 20;
    size_t before = in_use();
    fill(1000);
    size_t grown = in_use() - before;
    drop();
    size_t left = in_use() - before;
    note("mallinfo2: %zu bytes more after 8192 blocks of 1000, %zd left after freeing them", grown, (ssize_t)left);
    ok(grown >= NOBJECTS * 1000 && grown < 12 * mib, "mallinfo2: use grows by what is allocated");
    ok((ssize_t)left < (ssize_t)(2 * mib), "mallinfo2: use falls again after free");

    before = in_use();
    void *p = opaque(malloc(32 * mib));
    grown = in_use() - before;
    free(p);
    ok(grown >= 32 * mib && grown < 36 * mib, "mallinfo2: a 32 MiB block is counted");
    ok((ssize_t)(in_use() - before) < (ssize_t)mib, "mallinfo2: and no longer counted after free");

    struct mallinfo2 wide = mallinfo2();
    ok(wide.arena + wide.hblkhd >= wide.uordblks,
       "mallinfo2: what is in use is part of what was taken from the system");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    struct mallinfo narrow = mallinfo();
#pragma GCC diagnostic pop
    ok(narrow.uordblks >= 0 && narrow.arena >= 0, "mallinfo answers");
}

static void malloc_info_is_xml(const char *file) {
    char *text = NULL;
    size_t length = 0;
    FILE *memory = open_memstream(&text, &length);
    int result = malloc_info(0, memory);
    fclose(memory);
    ok(result == 0, "malloc_info returns 0");
    ok(strncmp(text, "<malloc version=", 16) == 0 && strstr(text, "</malloc>"),
       "malloc_info writes a <malloc> element");
    free(text);
    result = malloc_info(1, stderr);
    ok(result == EINVAL || result == -1, "malloc_info refuses options it does not know");
    if (file) {
        FILE *out = fopen(file, "w");
        malloc_info(0, out);
        fclose(out);
    }
}

/* The attribute NAME of the element at AT. */
static size_t attribute(const char *at, const char *name) {
    char key[32];
    snprintf(key, sizeof key, " %s=\"", name);
    const char *value = strstr(at, key);
    return value ? strtoul(value + strlen(key), NULL, 10) : 0;
}

static size_t total_of(const char *text, const char *type, const char *name) {
    char key[64];
    snprintf(key, sizeof key, "<total type=\"%s\"", type);
    const char *at = strstr(text, key);
    return at ? attribute(at, name) : 0;
}

/* One heap is all there is, so its sums are those of the process. */
static void malloc_info_adds_up(void) {
    if (!tap_subject_is("slabmalloc")) {
        skip("malloc_info's sizes add up", "glibc leaves the top of its heap out");
        return;
    }
    fill(1000);
    for (size_t i = 0; i < NOBJECTS; i += 2)
        free(objects[i]);
    char *text = NULL;
    size_t length = 0, count = 0, bytes = 0, elements = 0, mine = 0, odd = 0;
    FILE *memory = open_memstream(&text, &length);
    malloc_info(0, memory);
    fclose(memory);
    for (const char *at = text; (at = strstr(at, "<size from=")); at++, elements++) {
        size_t n = attribute(at, "count"), total = attribute(at, "total");
        odd += attribute(at, "from") > attribute(at, "to") || total != n * attribute(at, "to");
        mine += attribute(at, "from") <= 1000 && attribute(at, "to") >= 1000 ? n : 0;
        count += n;
        bytes += total;
    }
    ok(elements > 1 && !odd, "malloc_info: a size has from, to, and a total of count times it");
    ok(mine >= NOBJECTS / 2 && mine < NOBJECTS, "malloc_info: freed blocks are counted under their size");
    ok(count == total_of(text, "fast", "count") + total_of(text, "rest", "count"),
       "malloc_info: the sizes' counts are those of fast and rest");
    ok(bytes == total_of(text, "fast", "size") + total_of(text, "rest", "size"),
       "malloc_info: the sizes' bytes are those of fast and rest");
    struct mallinfo2 info = mallinfo2();
    ok(info.ordblks > 0 && info.smblks > 0 && info.fsmblks > 0 && info.fsmblks <= info.fordblks,
       "mallinfo2: free blocks and those in magazines are counted");
    ok(info.arena == info.uordblks + info.fordblks, "mallinfo2: the arena is what is in use and what is free");
    free(text);
    for (size_t i = 1; i < NOBJECTS; i += 2)
        free(objects[i]);
}

static void malloc_stats_keeps_the_maximum(void) {
    if (!tap_subject_is("slabmalloc")) {
        skip("malloc_stats keeps the maximum of mappings", "glibc's threshold moves");
        return;
    }
    free(opaque(malloc((size_t)300 << 20)));
    FILE *file = tmpfile();
    int saved = dup(2);
    dup2(fileno(file), 2);
    malloc_stats();
    dup2(saved, 2);
    close(saved);
    rewind(file);
    char line[128];
    size_t most = 0;
    while (fgets(line, sizeof line, file))
        sscanf(line, "max mmap bytes = %zu", &most);
    fclose(file);
    ok(most >= (size_t)300 << 20, "malloc_stats keeps the maximum of mappings");
}

static void malloc_stats_prints_to_stderr(void) {
    FILE *file = tmpfile();
    int saved = dup(2);
    dup2(fileno(file), 2);
    malloc_stats();
    fflush(stderr);
    dup2(saved, 2);
    close(saved);
    ok(lseek(fileno(file), 0, SEEK_END) > 0, "malloc_stats prints to stderr");
    fclose(file);
}

static void malloc_trim_gives_back(void) {
    long before = rss_bytes();
    enum { COUNT = 200000 };
    void **many = malloc(COUNT * sizeof *many);
    for (size_t i = 0; i < COUNT; i++)
        memset(many[i] = opaque(malloc(1000)), 1, 1000);
    long peak = rss_bytes();
    /* The last block stays, so that the heap cannot just be cut at its end. */
    for (size_t i = 0; i < COUNT - 1; i++)
        free(many[i]);
    int result = malloc_trim(0);
    long after = rss_bytes();
    note("RSS before %ld KiB, peak %ld KiB, after free and malloc_trim %ld KiB", before / 1024, peak / 1024,
         after / 1024);
    ok(result == 0 || result == 1, "malloc_trim returns 0 or 1");
    ok(after - before < 16 << 20, "malloc_trim(0) gives back what was freed");
    free(many[COUNT - 1]);
    free(many);
    int bad = 0;
    for (int i = 0; i < 100; i++) {
        char *p = opaque(malloc(5000)), *q = opaque(calloc(1, 5000));
        memset(p, 1, 5000);
        for (int k = 0; k < 5000; k++)
            bad += q[k] != 0;
        free(p), free(q);
        malloc_trim(0);
    }
    ok(!bad, "the heap works on after malloc_trim, and calloc is zero");
}

static void mallopt_is_accepted(void) {
    ok(mallopt(M_MMAP_THRESHOLD, 256 * 1024) == 1, "mallopt(M_MMAP_THRESHOLD) returns 1");
    ok(mallopt(M_TRIM_THRESHOLD, 1 << 20) == 1, "mallopt(M_TRIM_THRESHOLD) returns 1");
    ok(mallopt(M_TOP_PAD, 1 << 20) == 1, "mallopt(M_TOP_PAD) returns 1");
    ok(mallopt(M_MMAP_MAX, 100) == 1, "mallopt(M_MMAP_MAX) returns 1");
    ok(mallopt(M_ARENA_MAX, 1) == 1, "mallopt(M_ARENA_MAX) returns 1");
    char *p = opaque(malloc(100000));
    memset(p, 1, 100000);
    free(p);
}

static void names_without_header(void) {
    void (*old_free)(void *) = (void (*)(void *))dlsym(RTLD_DEFAULT, "cfree");
    /* Only old binaries have it in glibc, under a version that dlsym does not see. */
    if (tap_subject_is("slabmalloc")) {
        ok(old_free != NULL, "cfree is found by dlsym");
        if (old_free)
            old_free(opaque(malloc(100)));
    } else {
        skip("cfree is found by dlsym", "not with this C library");
    }

    void (*sized)(void *, size_t) = (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "free_sized");
    void (*aligned)(void *, size_t, size_t) =
        (void (*)(void *, size_t, size_t))dlsym(RTLD_DEFAULT, "free_aligned_sized");
    if (!tap_subject_is("slabmalloc") && (!sized || !aligned)) {
        skip("free_sized and free_aligned_sized", "this C library has none");
        return;
    }
    ok(sized && aligned, "free_sized and free_aligned_sized are found by dlsym");
    if (!sized || !aligned)
        return;
    long before = rss_bytes();
    int changed = 0;
    for (size_t round = 0; round < 100; round++)
        for (size_t n = 0; n <= (size_t)4 << 20; n = n ? n * 3 : 1) {
            char *p = opaque(malloc(n)), *q = opaque(aligned_alloc(256, n));
            memset(p, 1, n);
            memset(q, 1, n);
            errno = 12345;
            sized(p, n);
            aligned(q, 256, n);
            changed += errno != 12345;
        }
    sized(NULL, 0);
    aligned(NULL, 64, 0);
    ok(!changed, "free_sized and free_aligned_sized leave errno alone");
    ok(rss_bytes() - before < 64 << 20, "free_sized and free_aligned_sized do free");
}

/* Programs and libraries that wrap malloc call these and free with free(): both must be of one allocator. */
static void libc_forms(void) {
    void *(*libc_malloc)(size_t) = (void *(*)(size_t))dlsym(RTLD_DEFAULT, "__libc_malloc");
    void *(*libc_calloc)(size_t, size_t) = (void *(*)(size_t, size_t))dlsym(RTLD_DEFAULT, "__libc_calloc");
    void *(*libc_realloc)(void *, size_t) = (void *(*)(void *, size_t))dlsym(RTLD_DEFAULT, "__libc_realloc");
    void *(*libc_memalign)(size_t, size_t) = (void *(*)(size_t, size_t))dlsym(RTLD_DEFAULT, "__libc_memalign");
    void *(*libc_valloc)(size_t) = (void *(*)(size_t))dlsym(RTLD_DEFAULT, "__libc_valloc");
    void *(*libc_pvalloc)(size_t) = (void *(*)(size_t))dlsym(RTLD_DEFAULT, "__libc_pvalloc");
    int (*libc_posix_memalign)(void **, size_t, size_t) =
        (int (*)(void **, size_t, size_t))dlsym(RTLD_DEFAULT, "__posix_memalign");
    void (*libc_free)(void *) = (void (*)(void *))dlsym(RTLD_DEFAULT, "__libc_free");
    if (tap_subject_is("slabmalloc"))
        ok(libc_malloc && libc_calloc && libc_realloc && libc_memalign && libc_valloc && libc_pvalloc &&
               libc_posix_memalign && libc_free,
           "all __libc_ forms are found");
    /* An allocator that leaves them to glibc must not be handed glibc's blocks. */
    if (tap_subject_is("other") || !libc_malloc || !libc_calloc || !libc_realloc || !libc_memalign || !libc_free) {
        skip("__libc_ forms", "not all of them belong to this allocator");
        return;
    }
    char *p = opaque(libc_malloc(100));
    memset(p, 1, 100);
    p = opaque(realloc(p, 100000));
    ok(p && p[99] == 1, "__libc_malloc's block may be given to realloc");
    free(p);
    p = opaque(malloc(100));
    p = opaque(libc_realloc(p, 5000));
    ok(p && malloc_usable_size(p) >= 5000, "malloc's block may be given to __libc_realloc");
    libc_free(p);
    p = opaque(libc_calloc(100, 100));
    ok(p && p[9999] == 0, "__libc_calloc's block is zero");
    free(p);
    p = opaque(libc_memalign(4096, 100));
    ok(aligned_to(p, 4096), "__libc_memalign's block is aligned");
    free(p);
    if (libc_valloc)
        free(opaque(libc_valloc(100)));
    if (libc_pvalloc)
        free(opaque(libc_pvalloc(100)));
    void *q = NULL;
    if (libc_posix_memalign && libc_posix_memalign(&q, 64, 100) == 0)
        free(q);
}

int main(int argc, char **argv) {
    tap_begin();
    mallinfo_counts();
    malloc_info_is_xml(argc > 1 ? argv[1] : NULL);
    malloc_info_adds_up();
    malloc_stats_prints_to_stderr();
    malloc_stats_keeps_the_maximum();
    malloc_trim_gives_back();
    mallopt_is_accepted();
    names_without_header();
    libc_forms();
    return done_testing();
}
