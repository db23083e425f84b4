#include "hugetlb.h"

#include "options.h"
#include "sys.h"

/* The page that libhugetlbfs serves; 0: it is not there. */
static size_t library_page;

static _Atomic bool used;

bool hugetlb_used(void) {
    return atomic_load_explicit(&used, memory_order_relaxed);
}

/* Some thread is in the library. It may allocate, in spite of what is known of it: that call shall not come back to it.
 * (No thread-local word: there are few. Others that come meanwhile ask the kernel, for the same pages.) */
static _Atomic bool inside;

void hugetlb_new_process(void) {
    atomic_store_explicit(&inside, false, memory_order_relaxed);
}

void hugetlb_start(void) {
    if (options.pool_shift) {
        library_page = sys_hugetlbfs_open();
    }
}

static bool enter_library(void) {
    return !atomic_exchange_explicit(&inside, true, memory_order_relaxed);
}

static void *from_library(size_t bytes) {
    void *p = sys_hugetlbfs_get(bytes);
    atomic_store_explicit(&inside, false, memory_order_relaxed);
    return p;
}

static void *from_kernel(size_t bytes, unsigned shift) {
    void *p;
    return sys_map_huge(NULL, bytes, shift, false, &p) ? NULL : p;
}

void *hugetlb_map(size_t bytes, unsigned shift, unsigned bind) {
    bool library = library_page == (size_t)1 << shift && !bind && enter_library();
    void *p = library ? from_library(bytes) : from_kernel(bytes, shift);
    if (!p) {
        return NULL;
    }
    if (bind) {
        sys_bind(p, bytes, bind - 1);
    }
    if (sys_advise(p, bytes, SYS_POPULATE)) {
        sys_unmap(p, bytes);
        return NULL;
    }
    atomic_store_explicit(&used, true, memory_order_relaxed);
    return p;
}
