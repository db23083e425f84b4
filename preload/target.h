/*
 * target.h: the memory of another process, read from outside: nothing is stopped, injected or signalled.
 *
 * What is read may change meanwhile and may be anything by the time it is looked at: each read either fails or gives
 * bytes of some moment, and the caller checks what it does with them. Reading needs the right to trace the process
 * (ptrace(2), PTRACE_MODE_ATTACH): the same user, or CAP_SYS_PTRACE where Yama restricts that.
 */
#ifndef SLABMALLOC_TARGET_H
#define SLABMALLOC_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct target {
    pid_t pid;
    int mem; /* /proc/PID/mem, where the kernel has no process_vm_readv; else -1 */
};

void target_open(struct target *target, pid_t pid);
void target_close(struct target *target);

/* All BYTES at AT into TO; false with errno: not all can be read. */
bool target_read(struct target *target, uintptr_t at, void *to, size_t bytes);

/* COUNT objects of BYTES each, at AT[0], AT[1], ..., into an array at TO. READ[i] says whether the ith could be. */
void target_read_each(struct target *target, const uintptr_t *at, size_t count, void *to, size_t bytes, bool *read);

/* Calls VISIT with the address of every object that the process has loaded under the symbol NAME (in .dynsym), until
 * it returns true. 0 if it did; else -1 with errno: ESRCH no such process, EACCES or EPERM no right to read it, ENOEXEC
 * it has no memory (it has ended, or is the kernel's), ENOENT no call returned true. */
int target_find_symbol(struct target *target, const char *name, bool (*visit)(uintptr_t at, void *arg), void *arg);

#endif
