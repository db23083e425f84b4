/*
 * Which part of an own mapping is told what pages it shall have.
 *
 * Behind sys_advise a log is kept: an advice that begins too early, ends too late or misses a part is otherwise seen
 * only where the kernel happens to put a neighbour. That the kernel took it is read from its own flags.
 */
#include "mapping_support.h"

struct advised {
    char *from;
    size_t bytes;
    enum sys_advice advice;
};

static struct advised log_of[256];
static unsigned nlogged;

int __real_sys_advise(void *address, size_t bytes, enum sys_advice advice);
int __wrap_sys_advise(void *address, size_t bytes, enum sys_advice advice);
int __wrap_sys_advise(void *address, size_t bytes, enum sys_advice advice) {
    MUST(nlogged < COUNT_OF(log_of));
    log_of[nlogged++] = (struct advised){address, bytes, advice};
    return __real_sys_advise(address, bytes, advice);
}

static void huge_from_the_start(void) {
    slabmalloc_free(slabmalloc_malloc(1)); /* starts the library, with the nodes of the machine */
    options.map_cache = 64 * MIB;
    options.hugepages = true;
    options.huge_threshold = 0;
}

TestSuite(mapping_advice, .init = huge_from_the_start);

/* A new block; the log has what was said since it was asked for. */
static char *map_logged(size_t bytes) {
    nlogged = 0;
    return map(bytes);
}

static bool touches(const struct advised *advised, const char *p, size_t bytes) {
    return advised->from < p + bytes && p < advised->from + advised->bytes;
}

/* Of the block at P exactly [FROM, FROM + BYTES) was advised, once; bytes 0: nothing. */
static void must_be_advised(char *p, char *from, size_t bytes, enum sys_advice advice) {
    unsigned found = 0;
    for (struct advised *advised = log_of; advised < log_of + nlogged; advised++) {
        if (touches(advised, p, mapping_npages(p) * PAGE_BYTES)) {
            MUST(advised->from == from && advised->bytes == bytes && advised->advice == advice);
            found++;
        }
    }
    MUST(found == (bytes != 0));
}

static void must_have_flag_throughout(const char *p, const char *flag) {
    size_t bytes = mapping_npages(p) * PAGE_BYTES;
    for (size_t at = 0; at < bytes; at += BLOCK_BYTES / 2) {
        MUST(!kernel_has_huge_pages() || has_vm_flag(p + at, flag));
    }
    MUST(!kernel_has_huge_pages() || has_vm_flag(p + bytes - 1, flag));
}

Test(mapping_advice, all_of_a_new_block_is_advised) {
    char *p = map_logged(5 * MIB + 3 * PAGE_BYTES);
    must_be_advised(p, p, 5 * MIB + 3 * PAGE_BYTES, SYS_HUGEPAGE);
    must_have_flag_throughout(p, " hg");
    options.hugepages = false;
    p = map_logged(5 * MIB + 3 * PAGE_BYTES);
    must_be_advised(p, p, 5 * MIB + 3 * PAGE_BYTES, SYS_NOHUGEPAGE);
    must_have_flag_throughout(p, " nh");
}

/* 14 MiB - 3 pages are all of their last pageblock; 5 MiB and a little are not: that would be a fifth more. */
Test(mapping_advice, of_a_block_put_together_from_cached_pages_only_the_rest_is_advised) {
    cache_apart(2);
    char *p = map_logged(14 * MIB - 3 * PAGE_BYTES);
    MUST(cached() == 0 && mapping_npages(p) == 14 * MIB / PAGE_BYTES);
    must_be_advised(p, p + 8 * MIB, 6 * MIB, SYS_HUGEPAGE);
    must_have_flag_throughout(p, " hg");
}

Test(mapping_advice, a_new_block_of_huge_pages_gets_all_of_the_last_if_that_is_little_more) {
    char *p = map_logged(14 * MIB - 3 * PAGE_BYTES);
    MUST(mapping_npages(p) == 14 * MIB / PAGE_BYTES);
    must_be_advised(p, p, 14 * MIB, SYS_HUGEPAGE);
    options.hugepages = false;
    p = map_logged(14 * MIB - 3 * PAGE_BYTES);
    MUST(mapping_npages(p) == 14 * MIB / PAGE_BYTES - 3);
}

Test(mapping_advice, the_rest_gets_small_pages_where_the_cached_ones_are_small) {
    options.hugepages = false;
    cache_apart(2);
    char *p = map_logged(14 * MIB - 3 * PAGE_BYTES);
    MUST(cached() == 0);
    must_be_advised(p, p + 8 * MIB, 6 * MIB - 3 * PAGE_BYTES, SYS_NOHUGEPAGE);
    must_have_flag_throughout(p, " nh");
}

Test(mapping_advice, cached_pages_stay_what_they_were) {
    cache_apart(4);
    char *p = map_logged(14 * MIB); /* of several extents */
    must_be_advised(p, NULL, 0, 0);
    must_have_flag_throughout(p, " hg");
    mapping_free(p);
    char *q = map_logged(3 * MIB); /* of one */
    must_be_advised(q, NULL, 0, 0);
    must_have_flag_throughout(q, " hg");
}

Test(mapping_advice, what_a_block_grows_by_is_as_the_block_is) {
    char *p = map_logged(4 * MIB);
    block_after(p); /* its page tables are moved */
    p = mapping_resize(p, 12 * MIB);
    MUST(p != NULL);
    must_have_flag_throughout(p, " hg");
}
