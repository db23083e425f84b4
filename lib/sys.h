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
    SYS_THREAD,
    SYS_CLOCK,
    SYS_WAIT,
    SYS_WRITE,
    SYS_KEY,
    SYS_KEEP,
    SYS_ATFORK,
    SYS_NCALLS,
};

/* Test hook: returns true if this call is to fail now. NULL (the default): no faults. */
extern bool (*sys_fault_hook)(enum sys_call call);

/* Private anonymous zero memory at HINT if that is free (NULL: anywhere); page aligned. NULL: refused. */
void *sys_map(void *hint, size_t bytes);

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

/* This thread's name; and it shall not run before others that have just woken. */
void sys_name_thread(const char *name);

/* May return at once, for a changed word, a signal or a refusal alike: the caller looks again. Waking a word of our own
 * cannot be refused. */
void sys_futex_wait(_Atomic uint32_t *word, uint32_t value);
void sys_futex_wake(_Atomic uint32_t *word);

/* What cannot be written is lost. */
void sys_write(int fd, const char *text, size_t bytes);

/* pthread_key_create: AT_EXIT gets what a thread that ends has kept under *KEY. */
int sys_key(pthread_key_t *key, void (*at_exit)(void *kept));

/* pthread_setspecific. May allocate: the first time a thread keeps something under a late key. */
int sys_keep(pthread_key_t key, const void *kept);

/* pthread_atfork. Allocates. */
int sys_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));

#endif
