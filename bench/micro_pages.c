/*
 * micro_pages.c: blocks of pages by order, the page allocator's own interface, beside mmap and munmap. Only under a
 * library that has it. No byte of a block is written: the kernel's page faults would be all there is to see.
 *
 *   pages_cached   a pair whose block comes from the thread's page cache
 *   pages_split    a pair from a zone that has nothing but whole pageblocks: an order k block splits 9 - k times and
 *                  coalesces as often
 *   pages_set      replaces random members of a table of mixed orders
 *   pages_mmap     mmap and munmap of as many pages
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "micro.h"

#include <dlfcn.h>
#include <sys/mman.h>

#include "slabmalloc/pages.h"

enum { SET = 256, BASE_PAGE = 4096 };

/* Of the library that is preloaded, if it is ours. */
static struct {
    void *(*alloc)(unsigned flags, unsigned order);
    void (*free)(void *block, unsigned order);
} pages;

static void pages_pair(struct gbench_state *state, unsigned flags) {
    unsigned order = (unsigned)gbench_arg(state, 0);
    for (struct gbench_loop loop = gbench_start(state, 1024); gbench_next(&loop);) {
        void *p = pages.alloc(flags, order);
        if (p == NULL) {
            gbench_skip(state, "out of memory");
            return;
        }
        gbench_keep(p);
        pages.free(p, order);
    }
    gbench_set_items(state, gbench_iterations(state));
}

static void pages_run_cached(struct gbench_state *state) {
    pages_pair(state, 0);
}

/* Page caches hold NORMAL memory only, and nothing else uses HIGHMEM here. */
static void pages_run_split(struct gbench_state *state) {
    pages_pair(state, SLABMALLOC_PAGE_HIGHMEM);
}

static void pages_run_set(struct gbench_state *state) {
    uint64_t random = 88172645463325252u + (uint64_t)gbench_thread_index(state);
    unsigned flags = gbench_arg(state, 0) ? SLABMALLOC_PAGE_HIGHMEM : 0, order[SET];
    void *block[SET] = {NULL};
    for (struct gbench_loop loop = gbench_start(state, 1024); gbench_next(&loop);) {
        size_t i = micro_below(&random, SET);
        if (block[i])
            pages.free(block[i], order[i]);
        order[i] = (unsigned)micro_below(&random, SLABMALLOC_NR_ORDERS);
        block[i] = pages.alloc(flags, order[i]);
        if (block[i] == NULL) {
            gbench_skip(state, "out of memory");
            return;
        }
    }
    for (size_t i = 0; i < SET; i++)
        if (block[i])
            pages.free(block[i], order[i]);
    gbench_set_items(state, gbench_iterations(state));
}

static void pages_run_mmap(struct gbench_state *state) {
    size_t bytes = (size_t)BASE_PAGE << gbench_arg(state, 0);
    for (struct gbench_loop loop = gbench_start(state, 16); gbench_next(&loop);) {
        void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        gbench_keep(p);
        munmap(p, bytes);
    }
    gbench_set_items(state, gbench_iterations(state));
}

static void pages_add_orders(const char *name, gbench_body *body) {
    struct gbench_case *bench = gbench_add(name, body);
    for (int order = 0; order < SLABMALLOC_NR_ORDERS; order++)
        gbench_case_arg(bench, order);
}

void micro_add_pages(void) {
    *(void **)&pages.alloc = dlsym(RTLD_DEFAULT, "slabmalloc_alloc_pages");
    *(void **)&pages.free = dlsym(RTLD_DEFAULT, "slabmalloc_free_pages");
    if (!pages.alloc || !pages.free)
        return;
    pages_add_orders("pages_cached", pages_run_cached);
    pages_add_orders("pages_split", pages_run_split);
    pages_add_orders("pages_mmap", pages_run_mmap);
    struct gbench_case *set = gbench_add("pages_set", pages_run_set);
    for (int highmem = 0; highmem < 2; highmem++)
        gbench_case_arg(set, highmem);
    gbench_case_threads(set, 1);
    gbench_case_threads(set, 2);
}
