/*
 * machine.h: what a test in the guest asks the kernel: nodes, processors, where pages lie, policies, cpusets, pools.
 * By system calls: there is no libnuma here either.
 */
#ifndef SLABMALLOC_TEST_MACHINE_H
#define SLABMALLOC_TEST_MACHINE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))
#define NODES 8

static unsigned failures;

/* A line of TAP. */
__attribute__((format(printf, 2, 3))) static inline void say(bool good, const char *format, ...) {
    char text[500];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    printf("%s - %s\n", good ? "ok" : "not ok", text);
    failures += !good;
}

/* --- Files of the kernel --- */

/* The beginning of a file; empty if there is none. The text is the next call's. */
static inline const char *read_text(const char *path) {
    static __thread char text[4096];
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = 0;
    if (fd >= 0) {
        close(fd);
    }
    return text;
}

static inline bool write_text(const char *path, const char *text) {
    int fd = open(path, O_WRONLY);
    bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0) {
        close(fd);
    }
    return done;
}

static inline const char *node_path(unsigned node, const char *file) {
    static __thread char path[160];
    snprintf(path, sizeof path, "/sys/devices/system/node/node%u/%s", node, file);
    return path;
}

static inline const char *node_text(unsigned node, const char *file) {
    return read_text(node_path(node, file));
}

static inline bool has_processors(unsigned node) {
    const char *list = node_text(node, "cpulist");
    return *list >= '0' && *list <= '9';
}

/* The number after KEY in the node's meminfo, in bytes. */
static inline size_t meminfo(unsigned node, const char *key) {
    const char *at = strstr(node_text(node, "meminfo"), key);
    return at ? strtoul(at + strlen(key), NULL, 10) * 1024 : 0;
}

static inline bool has_memory(unsigned node) {
    return meminfo(node, "MemTotal:") > 0;
}

static inline size_t free_bytes(unsigned node) {
    return meminfo(node, "MemFree:");
}

#define POOL "hugepages/hugepages-2048kB/"

static inline unsigned long pool_free(unsigned node) {
    return strtoul(node_text(node, POOL "free_hugepages"), NULL, 10);
}

/* Returns how many pages the pool has then. */
static inline unsigned long set_pool(unsigned node, unsigned pages) {
    char text[16];
    snprintf(text, sizeof text, "%u", pages);
    write_text(node_path(node, POOL "nr_hugepages"), text);
    return strtoul(node_text(node, POOL "nr_hugepages"), NULL, 10);
}

static inline void set_cpuset(const char *mems) {
    if (!write_text("/cgroup/test/cpuset.mems", mems)) {
        say(false, "the cpuset can be set to %s", mems);
    }
}

/* --- Where pages lie --- */

struct tally {
    size_t on[NODES], pages;
};

static inline int by_address(const void *a, const void *b) {
    uintptr_t first = *(const uintptr_t *)a, second = *(const uintptr_t *)b;
    return (first > second) - (first < second);
}

/* The different pages among those of the N addresses at AT, which are put in order. */
static inline struct tally where_pages(void **at, size_t n) {
    static int status[4096];
    struct tally tally = {0};
    size_t different = 0;
    for (size_t i = 0; i < n; i++) {
        at[i] = (void *)((uintptr_t)at[i] & ~(uintptr_t)4095);
    }
    qsort(at, n, sizeof *at, by_address);
    for (size_t i = 0; i < n; i++) {
        if (!different || at[i] != at[different - 1]) {
            at[different++] = at[i];
        }
    }
    for (size_t from = 0; from < different; from += COUNT_OF(status)) {
        size_t count = different - from < COUNT_OF(status) ? different - from : COUNT_OF(status);
        if (syscall(SYS_move_pages, 0, count, at + from, NULL, status, 0)) {
            say(false, "move_pages says where pages are: %s", strerror(errno));
        }
        for (size_t i = 0; i < count; i++) {
            tally.pages++;
            if (status[i] >= 0 && status[i] < NODES) {
                tally.on[status[i]]++;
            }
        }
    }
    return tally;
}

static inline double share(struct tally tally, unsigned node) {
    return tally.pages ? (double)tally.on[node] / (double)tally.pages : 0;
}

static inline unsigned first_node(struct tally tally) {
    unsigned node = 0;
    while (node < NODES && !tally.on[node]) {
        node++;
    }
    return node;
}

/* "99.9% of 1234 pages (1233 1 0)" */
static inline const char *shares(struct tally tally) {
    static char text[200];
    size_t most = 0;
    for (unsigned node = 0; node < NODES; node++) {
        most = tally.on[node] > most ? tally.on[node] : most;
    }
    int length = snprintf(text, sizeof text, "%.2f%% of %zu pages (",
                          tally.pages ? 100.0 * (double)most / (double)tally.pages : 0, tally.pages);
    for (unsigned node = 0; node < 4; node++) {
        length += snprintf(text + length, sizeof text - (size_t)length, "%s%zu", node ? " " : "", tally.on[node]);
    }
    snprintf(text + length, sizeof text - (size_t)length, ")");
    return text;
}

/* --- Policies and places --- */

#define POLICY_DEFAULT 0
#define POLICY_BIND 2
#define POLICY_INTERLEAVE 3

static inline void set_policy(int mode, unsigned long nodes) {
    if (syscall(SYS_set_mempolicy, mode, nodes ? &nodes : NULL, nodes ? 64UL : 0UL)) {
        say(false, "policy %d can be set: %s", mode, strerror(errno));
    }
}

static inline void *map_from_pool(unsigned node) {
    unsigned long nodes = 1ul << node;
    void *p = mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
    return p == MAP_FAILED || syscall(SYS_mbind, p, 2 << 20, POLICY_BIND, &nodes, 64, 0) ? NULL : p;
}

/* No more address space than the process has now. */
static inline void refuse_address_space(void) {
    size_t pages = strtoul(read_text("/proc/self/statm"), NULL, 10);
    struct rlimit limit = {pages * 4096, pages * 4096};
    setrlimit(RLIMIT_AS, &limit);
}

static inline unsigned this_node(void) {
    unsigned cpu = 0, node = 0;
    syscall(SYS_getcpu, &cpu, &node, NULL);
    return node;
}

/* The calling thread runs on the first processor of NODE. */
static inline void stay_on(unsigned node) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(strtoul(node_text(node, "cpulist"), NULL, 10), &set);
    if (sched_setaffinity(0, sizeof set, &set) || this_node() != node) {
        say(false, "a thread can run on node %u", node);
    }
}

/* --- A thread on each node, which does one thing at a time and never ends --- */

static struct worker {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    void (*todo)(void);
} workers[NODES];

__attribute__((noreturn)) static inline void *work(void *arg) {
    struct worker *worker = arg;
    stay_on((unsigned)(worker - workers));
    pthread_mutex_lock(&worker->mutex);
    for (;;) {
        while (!worker->todo) {
            pthread_cond_wait(&worker->changed, &worker->mutex);
        }
        worker->todo();
        worker->todo = NULL;
        pthread_cond_broadcast(&worker->changed);
    }
}

static inline void start_threads(void) {
    for (unsigned node = 0; node < NODES; node++) {
        pthread_t thread;
        pthread_mutex_init(&workers[node].mutex, NULL);
        pthread_cond_init(&workers[node].changed, NULL);
        if (has_processors(node) && pthread_create(&thread, NULL, work, &workers[node])) {
            say(false, "there is a thread on node %u", node);
        }
    }
}

/* Has the thread on NODE do something, and waits until it is done. */
static inline void on_node(unsigned node, void (*todo)(void)) {
    struct worker *worker = &workers[node];
    if (!has_processors(node)) {
        say(false, "node %u has a processor", node);
        exit(1);
    }
    pthread_mutex_lock(&worker->mutex);
    worker->todo = todo;
    pthread_cond_broadcast(&worker->changed);
    while (worker->todo) {
        pthread_cond_wait(&worker->changed, &worker->mutex);
    }
    pthread_mutex_unlock(&worker->mutex);
}

#endif
