/*
 * sys.h: the seam. Every system call of the library goes through here and nowhere else, and so does every call of the C
 * library that may be refused: this is also the one place where tests inject faults.
 *
 * Each call keeps the caller's errno, takes no lock and calls nothing that can allocate, but for the two that say so.
 * Results are 0 or a negative errno value, or a pointer and NULL.
 */
#ifndef SLABMALLOC_SYS_H
#define SLABMALLOC_SYS_H

#include <pthread.h>

#include "base.h"

enum sys_call {
    SYS_MAP,
    SYS_UNMAP,
    SYS_REMAP,
    SYS_ADVISE,
    SYS_BIND,
    SYS_GETCPU,
    SYS_NODES,
    SYS_POLICY,
    SYS_READ,
    SYS_HUGE,
    SYS_LOCK,
    SYS_RING,
    SYS_VFIO,
    SYS_PAGEMAP,
    SYS_COPY,
    SYS_THREAD,
    SYS_CLOCK,
    SYS_WAIT,
    SYS_WRITE,
    SYS_OPEN,
    SYS_KEY,
    SYS_KEEP,
    SYS_ATFORK,
    SYS_NCALLS,
};

/* Test hook: returns true if this call is to fail now. NULL (the default): no faults. */
extern bool (*sys_fault_hook)(enum sys_call call);

/* For the seam's own files. */
static inline bool sys_fault_due(enum sys_call call) {
    return unlikely(sys_fault_hook != NULL) && sys_fault_hook(call);
}

/* Private anonymous zero memory at HINT if that is free (NULL: anywhere); page aligned. NULL: refused. */
void *sys_map(void *hint, size_t bytes);

/* As sys_map, but fork children have the same pages. */
void *sys_map_shared(void *hint, size_t bytes);

/* As sys_map, of 2^SHIFT-byte pages from the hugetlb pool, not populated; shared with fork children or not. The pool's
 * pages are reserved, but a cgroup or a memory policy may still refuse them when they are touched: populate before.
 * -ENOMEM: the pool has not as many; anything else: no such pages here. */
int sys_map_huge(void *hint, size_t bytes, unsigned shift, bool shared, void **address);

/* Loads libhugetlbfs; returns its page size in bytes, 0: there is none. Takes the loader's lock and allocates. */
size_t sys_hugetlbfs_open(void);

/* Its get_huge_pages. */
void *sys_hugetlbfs_get(size_t bytes);

int sys_unmap(void *address, size_t bytes);

/* mremap: grows a mapping in place. -ENOMEM: no room there; anything else: mremap cannot be used on this memory. */
int sys_grow(void *address, size_t old_bytes, size_t new_bytes);

/* mremap: moves a mapping over the one at TO. False: refused; on older kernels the one at TO may be gone all the same.
 */
bool sys_move(void *address, size_t old_bytes, size_t new_bytes, void *to);

enum sys_advice {
    SYS_DONTNEED,   /* give the pages back now; they read zero afterwards if this returned 0 */
    SYS_HUGEPAGE,   /* transparent huge pages wanted */
    SYS_NOHUGEPAGE, /* transparent huge pages not wanted */
    SYS_DONTFORK,   /* fork children shall not have the mapping */
    SYS_POPULATE,   /* all pages now, writable, or an error where a touch would be a signal (Linux 5.14) */
    SYS_FAULT_IN,   /* all pages now, readable */
};
int sys_advise(void *address, size_t bytes, enum sys_advice advice);

/* Prefer NODE for the pages of a mapping not touched yet (MPOL_PREFERRED: never the OOM killer). */
int sys_bind(void *address, size_t bytes, unsigned node);

/* Spread the pages of a mapping not touched yet over NODES (bit n: node n). */
int sys_interleave(void *address, size_t bytes, uint64_t nodes);

/* The node of the CPU this thread runs on; 0 when the kernel will not say. */
unsigned sys_node(void);

/* Bit n set: this process may take memory from node n. 0 when the kernel will not say. */
uint64_t sys_nodes(void);

/* The program gave this thread a memory policy (MPOL_BIND, MPOL_INTERLEAVE and so on); false when the kernel will not
 * say. */
bool sys_has_policy(void);

/* The beginning of a small file of the kernel's, as text that ends with 0; returns its length. */
int sys_read_file(const char *path, char *text, size_t bytes);
/* Copies memory of this process to other memory of it. False: refused, or not all of it is mapped: no signal then. */
bool sys_copy(void *to, const void *from, size_t bytes);

/* The node that the page at ADDRESS is on, touched already; -1 when the kernel will not say. */
int sys_node_of(const void *address);

/* The kernel's page, which may be smaller or larger than ours. */
size_t sys_page_bytes(void);

/* mlock of pages as they come. Negative: RLIMIT_MEMLOCK, or too many map areas. */
int sys_lock(void *address, size_t bytes);

/* Pins populated memory for as long as *RING, a file descriptor, is open (an io_uring with registered buffers; its fd
 * is closed on exec). -ENOMEM: RLIMIT_MEMLOCK; -ENOTSUP: not on this kernel, or not under its policy. */
int sys_ring_pin(void *address, size_t bytes, int *ring);

/* The pin ends, for fork children that have the descriptor too. */
void sys_ring_unpin(int ring);

/* The addresses an IOMMU can map, in ascending order. */
#define SYS_IOVA_RANGES_MAX 32
struct sys_iova_range {
    uint64_t first, last;
};
struct sys_vfio {
    unsigned nranges;
    struct sys_iova_range range[SYS_IOVA_RANGES_MAX];
};

/* What the VFIO container CONTAINER, a file descriptor, can map. -EBADF, -ENOTTY: it is none; -EINVAL: it has no IOMMU
 * yet; -ENOTSUP: it has another than type 1. */
int sys_vfio_info(int container, struct sys_vfio *vfio);

/* Pins the memory and shows it to the container's devices at IOVA. -ENOMEM: RLIMIT_MEMLOCK; -EEXIST: something is
 * there; -ENOSPC: no more mappings; -EINVAL: the IOMMU has no such address. */
int sys_vfio_map(int container, const void *address, size_t bytes, uint64_t iova);

/* Takes it back. What cannot be is not there: the container was closed, or has lost its IOMMU, and with it all
 * mappings. */
void sys_vfio_unmap(int container, uint64_t iova, size_t bytes);

/* Words of /proc/self/pagemap for N kernel pages from ADDRESS, which is a page's. -EPERM: it cannot be read. -EINVAL:
 * no address of a process. */
int sys_pagemap(const void *address, uint64_t *words, size_t n);

/* Milliseconds since boot, to the kernel's tick; 0 when the kernel will not say. */
uint64_t sys_now_ms(void);

/* Sleeps for MS milliseconds. */
void sys_sleep(uint64_t ms);

int32_t sys_pid(void);

/* This thread's id in the kernel. */
int32_t sys_thread_id(void);

/* No access to the pages at ADDRESS. */
int sys_guard(void *address, size_t bytes);

/* A new thread of this process that runs MAIN on the stack that ends at STACK_TOP, with POINTER as its thread pointer
 * and all signals blocked; it ends when MAIN returns. *ALIVE is its id before it runs, and 0 when it has ended. */
int sys_clone(int (*main)(void *), void *stack_top, void *pointer, _Atomic uint32_t *alive);

/* Blocks every signal for this thread, but for the one by which the C library changes user ids; returns what was
 * blocked before. Neither can be refused. */
uint64_t sys_block_signals(void);
void sys_restore_signals(uint64_t blocked);

/* From hold to release a write of this thread to a pipe that nobody reads is an error (EPIPE), and no signal. */
struct sys_held_pipe {
    uint64_t blocked; /* before */
    bool pending;     /* before: not ours to take */
};
struct sys_held_pipe sys_hold_pipe(void);
void sys_release_pipe(struct sys_held_pipe held);

/* This thread's name; and it shall not run before others that have just woken. */
void sys_name_thread(const char *name);

/* May return at once, for a changed word, a signal or a refusal alike: the caller looks again. Waking a word of our own
 * cannot be refused. */
void sys_futex_wait(_Atomic uint32_t *word, uint32_t value);
void sys_futex_wake(_Atomic uint32_t *word);

/* What cannot be written is lost. */
void sys_write(int fd, const char *text, size_t bytes);

/* All of it, in as many parts as the kernel takes, through interruptions; else the first error. */
int sys_write_all(int fd, const char *text, size_t bytes);

/* Which file a descriptor stands for. */
struct sys_file {
    uint64_t device, inode;
};
int sys_file_of(int fd, struct sys_file *file);

/* FD stands for FILE still: the program may have closed it and opened another by its number. */
bool sys_is_file(int fd, const struct sys_file *file);

/* A second descriptor of what FD stands for, closed at exec, far from the low ones that programs count on. */
int sys_dup(int fd);

/* The file at PATH for writing at its end, made if there is none. Never a symbolic link, nor a FIFO nobody reads. */
int sys_open_append(const char *path);
void sys_close(int fd);

/* pthread_key_create: AT_EXIT gets what a thread that ends has kept under *KEY. */
int sys_key(pthread_key_t *key, void (*at_exit)(void *kept));

/* pthread_setspecific. May allocate: the first time a thread keeps something under a late key. */
int sys_keep(pthread_key_t key, const void *kept);

/* pthread_atfork. Allocates. */
int sys_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));

#endif
