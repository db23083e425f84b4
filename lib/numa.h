/*
 * numa.h: which nodes there are, which are near, and which one a thread's memory comes from.
 *
 * A thread's *home* is the node whose zones serve it:
 *   numa:local       the node it runs on, or the nearest one this process may use. A thread for which the program set a
 *                    memory policy (set_mempolicy, numactl) has the home NODE_ANY instead
 *   numa:interleave  NODE_ANY, whose memory is then spread page by page over the nodes
 *   numa:off         NODE_ANY
 *   numa:node=N      N
 * Memory of NODE_ANY is bound to no node: the kernel places each page by the policy of the thread that touches it
 * first, so a program's own policy is never overridden. All other memory is bound before it is touched, by
 * MPOL_PREFERRED: a page whose node is full comes from the nearest one that is not, where MPOL_BIND would call the OOM
 * killer.
 *
 * With one node all this is that node's number, and no system call after the start.
 *
 * Nodes may come later (a cpuset that is changed, memory that is plugged in) and go: numa_refresh asks again, on a
 * machine that has more than one. Distances are read from sysfs when a request first looks beyond its node. Nodes that
 * come online after that are the farthest.
 *
 * Lock: one, for what is learned about nodes, here and in the zones.
 */
#ifndef SLABMALLOC_NUMA_H
#define SLABMALLOC_NUMA_H

#include "base.h"
#include "lock.h"

#define NODES_MAX 64
#define NODE_ANY NODES_MAX
#define NODE_SETS (NODES_MAX + 1)

/* Asks the kernel which nodes this process may use now; bit n: node n. At least one. *CHANGED:
 * they are not those of the last answer. */
uint64_t numa_refresh(bool *changed);

/* Once, at the start, after the first numa_refresh: whether it is worth asking again. On a machine with one node nobody
 * does: a sandbox may kill for a system call that the program did not make while it was set up. */
void numa_look_around(void);
bool numa_may_change(void);

/* This thread's home. Two system calls if there are several nodes. */
unsigned numa_home(void);

/* The I-th of all NODES_MAX nodes as seen from NODE, nearest first; 0: NODE itself. MAY_ASK: may read sysfs. */
unsigned numa_near(unsigned node, unsigned i, bool may_ask);

/* Fresh memory of NODE_ANY's zones, and of own mappings. Before its first touch. */
void numa_place_any(void *p, size_t bytes);
void numa_place_mapping(void *p, size_t bytes);

struct lock *numa_lock(void);

#endif
