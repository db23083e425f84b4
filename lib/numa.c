#include "numa.h"

#include <string.h>

#include "options.h"
#include "sys.h"

/* Nodes of which the kernel says no distance. */
#define FARTHEST 256

struct order {
    _Atomic bool known;
    uint8_t node[NODES_MAX];
};

static struct {
    struct lock lock;
    _Atomic uint64_t allowed;
    bool may_change;               /* set at the start */
    struct order order[NODES_MAX]; /* written with the lock, once each */
} numa;

static uint64_t allowed(void) {
    return atomic_load_explicit(&numa.allowed, memory_order_relaxed);
}

static bool is_single(uint64_t nodes) {
    return !(nodes & (nodes - 1));
}

uint64_t numa_refresh(bool *changed) {
    uint64_t nodes = sys_nodes(), before = allowed();
    if (!nodes) {
        nodes = before ? before : 1;
    }
    *changed = nodes != before;
    atomic_store_explicit(&numa.allowed, nodes, memory_order_relaxed);
    return nodes;
}

bool numa_may_change(void) {
    return numa.may_change;
}

/* --- sysfs --- */

/* The number at *TEXT, which goes to what follows it. */
static unsigned take_number(const char **text) {
    unsigned n = 0;
    for (; **text >= '0' && **text <= '9' && n < UINT16_MAX; ++*text) {
        n = n * 10 + (unsigned)(**text - '0');
    }
    return n;
}

void numa_look_around(void) {
    char text[64];
    numa.may_change =
        !is_single(allowed()) || sys_read_file("/sys/devices/system/node/node1/distance", text, sizeof text) > 0;
}

/* A list of numbers and ranges as the kernel prints them ("0-1,3"): bit n for n. */
static uint64_t parse_list(const char *text) {
    uint64_t set = 0;
    while (*text >= '0' && *text <= '9') {
        unsigned first = take_number(&text), last = first;
        if (*text == '-') {
            text++;
            last = take_number(&text);
        }
        for (unsigned n = first; n <= last && n < NODES_MAX; n++) {
            set |= (uint64_t)1 << n;
        }
        text += *text == ',';
    }
    return set;
}

/* DISTANCE of each node from NODE; false: the kernel will not say. The file has a number for each node online. */
static bool read_distances(unsigned node, uint16_t *distance) {
    char path[] = "/sys/devices/system/node/nodeNN/distance", text[1024];
    if (sys_read_file("/sys/devices/system/node/online", text, sizeof text) <= 0) {
        return false;
    }
    uint64_t online = parse_list(text);
    char *digit = strchr(path, 'N');
    if (node >= 10) {
        *digit++ = (char)('0' + node / 10);
    }
    *digit++ = (char)('0' + node % 10);
    memmove(digit, "/distance", sizeof "/distance");
    if (sys_read_file(path, text, sizeof text) <= 0) {
        return false;
    }
    const char *at = text;
    for (unsigned n = 0; n < NODES_MAX; n++) {
        distance[n] = FARTHEST;
        at += strspn(at, " ");
        if (online >> n & 1 && *at >= '0' && *at <= '9') {
            distance[n] = (uint16_t)take_number(&at);
        }
    }
    return true;
}

/* All nodes by distance, of equal ones those that follow NODE first. */
static void sort_by_distance(unsigned node, const uint16_t *distance, uint8_t *sorted) {
    for (unsigned n = 0; n < NODES_MAX; n++) {
        unsigned candidate = (node + n) % NODES_MAX, at = n;
        while (at > 1 && distance[candidate] < distance[sorted[at - 1]]) {
            sorted[at] = sorted[at - 1];
            at--;
        }
        sorted[at] = (uint8_t)candidate;
    }
}

static void learn_order(unsigned node) {
    uint16_t distance[NODES_MAX];
    uint8_t sorted[NODES_MAX];
    struct order *order = &numa.order[node];
    if (!read_distances(node, distance)) {
        return;
    }
    sort_by_distance(node, distance, sorted);
    lock_take(&numa.lock);
    if (!atomic_load_explicit(&order->known, memory_order_relaxed)) {
        memcpy(order->node, sorted, sizeof sorted);
        atomic_store_explicit(&order->known, true, memory_order_release);
    }
    lock_drop(&numa.lock);
}

static bool is_known(unsigned node) {
    return atomic_load_explicit(&numa.order[node].known, memory_order_acquire);
}

unsigned numa_near(unsigned node, unsigned i, bool may_ask) {
    if (!i || is_single(allowed())) {
        return (node + i) % NODES_MAX;
    }
    if (may_ask && !is_known(node)) {
        learn_order(node);
    }
    return is_known(node) ? numa.order[node].node[i] : (node + i) % NODES_MAX;
}

/* --- Homes --- */

static unsigned nearest_of(uint64_t nodes, unsigned node) {
    unsigned i = 0, near = node % NODES_MAX;
    while (!(nodes >> near & 1)) {
        near = numa_near(node % NODES_MAX, ++i, true);
    }
    return near;
}

unsigned numa_home(void) {
    uint64_t nodes = allowed();
    if (is_single(nodes)) {
        return (unsigned)__builtin_ctzll(nodes);
    }
    switch (options.numa) {
    case NUMA_NODE:
        return nearest_of(nodes, options.numa_node);
    case NUMA_LOCAL:
        return sys_has_policy() ? NODE_ANY : nearest_of(nodes, sys_node());
    default:
        return NODE_ANY;
    }
}

void numa_place_any(void *p, size_t bytes) {
    if (options.numa == NUMA_INTERLEAVE) {
        sys_interleave(p, bytes, allowed());
    }
}

void numa_place_mapping(void *p, size_t bytes) {
    if (is_single(allowed())) {
        return;
    }
    if (options.numa == NUMA_NODE) {
        sys_bind(p, bytes, nearest_of(allowed(), options.numa_node));
    } else {
        numa_place_any(p, bytes);
    }
}

struct lock *numa_lock(void) {
    return &numa.lock;
}
