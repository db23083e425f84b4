#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "target.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* --- Memory --- */

void target_open(struct target *target, pid_t pid) {
    *target = (struct target){.pid = pid, .mem = -1};
}

void target_close(struct target *target) {
    if (target->mem >= 0) {
        close(target->mem);
    }
}

/* process_vm_readv is missing, or forbidden to this process. */
static bool needs_mem(int error) {
    return error == ENOSYS || error == EPERM;
}

static bool open_mem(struct target *target) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", (int)target->pid);
    target->mem = open(path, O_RDONLY | O_CLOEXEC);
    return target->mem >= 0;
}

static bool read_mem(const struct target *target, uintptr_t at, char *to, size_t bytes) {
    while (bytes) {
        ssize_t n = pread(target->mem, to, bytes, (off_t)at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            errno = n ? errno : EFAULT;
            return false;
        }
        at += (size_t)n;
        to += n;
        bytes -= (size_t)n;
    }
    return true;
}

bool target_read(struct target *target, uintptr_t at, void *to, size_t bytes) {
    if (target->mem >= 0) {
        return read_mem(target, at, to, bytes);
    }
    struct iovec local = {to, bytes}, remote = {(void *)at, bytes}; /* NOLINT: an address in the other process */
    ssize_t n = process_vm_readv(target->pid, &local, 1, &remote, 1, 0);
    if (n < 0 && needs_mem(errno)) {
        bool read = open_mem(target) && read_mem(target, at, to, bytes);
        errno = read ? 0 : errno;
        return read;
    }
    errno = n < 0 ? errno : EFAULT;
    return n == (ssize_t)bytes;
}

/* One call for all; false: not all could be read. */
static bool read_together(const struct target *target, const uintptr_t *at, size_t count, void *to, size_t bytes) {
    struct iovec local = {to, count * bytes}, remote[IOV_MAX];
    if (target->mem >= 0 || count > IOV_MAX) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        remote[i] = (struct iovec){(void *)at[i], bytes}; /* NOLINT */
    }
    return process_vm_readv(target->pid, &local, 1, remote, count, 0) == (ssize_t)(count * bytes);
}

void target_read_each(struct target *target, const uintptr_t *at, size_t count, void *to, size_t bytes, bool *read) {
    bool all = read_together(target, at, count, to, bytes);
    for (size_t i = 0; i < count; i++) {
        read[i] = all || target_read(target, at[i], (char *)to + i * bytes, bytes);
    }
}

/* --- Symbols --- */

#define HEADERS_MAX 64
#define DYNAMIC_MAX 256
#define CHAIN_MAX 4096

/* An ELF object in memory: what its dynamic section says. Addresses in the process. */
struct object {
    uintptr_t symbols, strings, gnu_hash;
};

/* The loader replaces offsets by addresses in most objects. */
static uintptr_t relocated(uintptr_t at, uintptr_t bias) {
    return at && at < bias ? at + bias : at;
}

static bool read_dynamic(struct target *target, uintptr_t bias, const Elf64_Phdr *header, struct object *object) {
    Elf64_Dyn entry[DYNAMIC_MAX];
    size_t n = header->p_memsz / sizeof *entry;
    n = n < DYNAMIC_MAX ? n : DYNAMIC_MAX;
    if (!target_read(target, bias + header->p_vaddr, entry, n * sizeof *entry)) {
        return false;
    }
    *object = (struct object){0};
    for (size_t i = 0; i < n && entry[i].d_tag != DT_NULL; i++) {
        uintptr_t at = relocated(entry[i].d_un.d_ptr, bias);
        switch (entry[i].d_tag) {
        case DT_SYMTAB:
            object->symbols = at;
            break;
        case DT_STRTAB:
            object->strings = at;
            break;
        case DT_GNU_HASH:
            object->gnu_hash = at;
            break;
        default:
            break;
        }
    }
    return object->symbols && object->strings && object->gnu_hash;
}

/* The object whose first page is mapped at BASE; its addresses are BIAS more than those in the file. */
static bool read_object(struct target *target, uintptr_t base, uintptr_t *bias, struct object *object) {
    Elf64_Ehdr elf;
    Elf64_Phdr header[HEADERS_MAX];
    if (!target_read(target, base, &elf, sizeof elf) || memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0 ||
        elf.e_ident[EI_CLASS] != ELFCLASS64 || elf.e_type != ET_DYN || elf.e_phentsize != sizeof *header ||
        elf.e_phnum > HEADERS_MAX || !target_read(target, base + elf.e_phoff, header, elf.e_phnum * sizeof *header)) {
        return false;
    }
    const Elf64_Phdr *dynamic = NULL, *first = NULL;
    for (size_t i = 0; i < elf.e_phnum; i++) {
        if (header[i].p_type == PT_LOAD && !first) {
            first = &header[i];
        }
        if (header[i].p_type == PT_DYNAMIC) {
            dynamic = &header[i];
        }
    }
    if (!dynamic || !first) {
        return false;
    }
    *bias = base - (first->p_vaddr - first->p_offset);
    return read_dynamic(target, *bias, dynamic, object);
}

static uint32_t gnu_hash(const char *name) {
    uint32_t hash = 5381;
    for (; *name; name++) {
        hash = hash * 33 + (unsigned char)*name;
    }
    return hash;
}

/* The value of symbol number INDEX if that is NAME, else 0. */
static uintptr_t symbol_value(struct target *target, const struct object *object, uint32_t index, const char *name) {
    Elf64_Sym symbol;
    char text[64];
    size_t bytes = strlen(name) + 1;
    bool is_it = target_read(target, object->symbols + index * sizeof symbol, &symbol, sizeof symbol) &&
                 symbol.st_shndx != SHN_UNDEF && bytes <= sizeof text &&
                 target_read(target, object->strings + symbol.st_name, text, bytes) && !memcmp(text, name, bytes);
    return is_it ? symbol.st_value : 0;
}

/* As the loader looks it up in the object's GNU hash table: buckets of chains, each ended by an odd entry. */
static uintptr_t find_in_object(struct target *target, const struct object *object, const char *name) {
    struct {
        uint32_t nbuckets, first, nbloom, shift;
    } table;
    uint32_t hash = gnu_hash(name), index;
    if (!target_read(target, object->gnu_hash, &table, sizeof table) || !table.nbuckets) {
        return 0;
    }
    uintptr_t buckets = object->gnu_hash + sizeof table + table.nbloom * sizeof(uint64_t);
    uintptr_t chains = buckets + table.nbuckets * sizeof index;
    if (!target_read(target, buckets + hash % table.nbuckets * sizeof index, &index, sizeof index) ||
        index < table.first) {
        return 0;
    }
    for (unsigned steps = 0; steps < CHAIN_MAX; steps++, index++) {
        uint32_t entry;
        if (!target_read(target, chains + (index - table.first) * sizeof entry, &entry, sizeof entry)) {
            return 0;
        }
        uintptr_t value = (entry | 1) == (hash | 1) ? symbol_value(target, object, index, name) : 0;
        if (value || entry & 1) {
            return value;
        }
    }
    return 0;
}

/* LINE of /proc/PID/maps is the beginning of a file that can be read; not a device's, which reading might disturb. */
static bool begins_file(const char *line, uintptr_t *base) {
    char permission;
    unsigned long offset;
    int path = 0;
    return sscanf(line, "%lx-%*x %c%*s %lx %*s %*u %n", base, &permission, &offset, &path) == 3 && path &&
           permission == 'r' && !offset && line[path] == '/' && strncmp(line + path, "/dev/", 5) != 0;
}

static int no_maps(pid_t pid, int error) {
    bool gone = (error == ENOENT || error == ESRCH) && kill(pid, 0) && errno == ESRCH;
    errno = gone ? ESRCH : error;
    return -1;
}

int target_find_symbol(struct target *target, const char *name, bool (*visit)(uintptr_t at, void *arg), void *arg) {
    char path[64], *line = NULL;
    size_t room = 0;
    snprintf(path, sizeof path, "/proc/%d/maps", (int)target->pid);
    FILE *maps = fopen(path, "re");
    if (!maps) {
        return no_maps(target->pid, errno);
    }
    int error = ENOEXEC;
    bool found = false;
    while (!found && getline(&line, &room, maps) > 0) {
        uintptr_t base, bias;
        struct object object;
        error = error == ENOEXEC ? ENOENT : error;
        errno = 0;
        if (begins_file(line, &base) && read_object(target, base, &bias, &object)) {
            uintptr_t value = find_in_object(target, &object, name);
            found = value && visit(value + bias, arg);
        }
        if (errno == EPERM || errno == EACCES || errno == ESRCH) {
            error = errno;
            break;
        }
    }
    free(line);
    fclose(maps);
    errno = error;
    return found ? 0 : -1;
}
