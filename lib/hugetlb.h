/*
 * hugetlb.h: memory from the kernel's pool of reserved huge pages, where hugepages:hugetlb or hugetlb1g asks for it.
 *
 * The pool's pages come through libhugetlbfs where it was found at configure and is installed: the system's own
 * settings of it (HUGETLB_* in the environment) then hold here too. It is loaded by our constructor, only when asked
 * for, and for nobody else to see: it exports names that would replace the program's own, and its start takes the
 * loader's lock and allocates. Without it, for a page size it does not serve, or for a node, memory is mapped from the
 * pool directly.
 *
 * Either way it is populated before anybody has it. A pool that was promised to another, a cgroup's limit or a memory
 * policy show only at the touch, as a signal; here they show as NULL.
 *
 * fork: the kernel shares private huge pages with the child, copies at a write to pages of the pool, and when the pool
 * has none kills the child. So the child gets copies in ordinary memory, made before fork: it has what the parent had
 * at that moment, whoever writes, and the pool is as it was. That costs what copying costs (hugetlb_fork.c).
 *
 * No lock; never called with one held, but at fork.
 */
#ifndef SLABMALLOC_HUGETLB_H
#define SLABMALLOC_HUGETLB_H

#include "base.h"

/* Loads libhugetlbfs if options say so. In the constructor. */
void hugetlb_start(void);

/* BYTES in pages of 2^SHIFT, aligned to such a page, populated and zero; NULL: refused. BIND: as region_map. */
void *hugetlb_map(size_t bytes, unsigned shift, unsigned bind);

/* In a fork child: nobody else is in libhugetlbfs. */
void hugetlb_new_process(void);

/* Pages of the pool have been mapped in this process. */
bool hugetlb_used(void);

/* --- hugetlb_fork.c: for fork.c, with every lock --- */

void hugetlb_fork_prepare(void);
void hugetlb_fork_parent(void);
void hugetlb_fork_child(void);

#endif
