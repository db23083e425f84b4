#include "program.h"

#include <elf.h>
#include <link.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>

/* glibc's word, true from start until the first pthread_create (since 2.32; without it nothing is known). */
extern char __libc_single_threaded __attribute__((weak));

static const ElfW(Dyn) * dynamic_entry(const ElfW(Dyn) * at, ElfW(Sxword) tag) {
    while (at->d_tag != DT_NULL && at->d_tag != tag) {
        at++;
    }
    return at->d_tag == tag ? at : NULL;
}

/* The loader replaces offsets by addresses in most objects, but not in the kernel's own. */
static const void *dynamic_pointer(const struct link_map *object, ElfW(Sxword) tag) {
    const ElfW(Dyn) *entry = dynamic_entry(object->l_ld, tag);
    if (!entry) {
        return NULL;
    }
    uintptr_t at = entry->d_un.d_ptr;
    return (const void *)(at < object->l_addr ? at + object->l_addr : at);
}

/* Symbols from 1 up to here may be undefined ones. */
static size_t symbol_count(const struct link_map *object) {
    const uint32_t *gnu = dynamic_pointer(object, DT_GNU_HASH), *sysv = dynamic_pointer(object, DT_HASH);
    return gnu ? gnu[1] : sysv ? sysv[1] : 0; /* the first hashed symbol; all symbols */
}

/* unshare and setns fail in a process of several threads; who calls prctl or libseccomp may be about to forbid clone,
 * on pain of death. */
static bool asks_for_one_thread(const char *name) {
    static const char *const names[] = {"unshare", "setns", "prctl", "seccomp_load"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!strcmp(name, names[i])) {
            return true;
        }
    }
    return false;
}

static bool object_refers(const struct link_map *object) {
    const ElfW(Sym) *symbols = dynamic_pointer(object, DT_SYMTAB);
    const char *names = dynamic_pointer(object, DT_STRTAB);
    size_t n = symbols && names ? symbol_count(object) : 0;
    for (size_t i = 1; i < n; i++) {
        const char *name = names + symbols[i].st_name;
        if (symbols[i].st_shndx == SHN_UNDEF && asks_for_one_thread(name)) {
            return true;
        }
    }
    return false;
}

/* The loader's list, found without asking the loader, which would take its lock. Of a static program: NULL. */
static const struct r_debug *loaded_objects(void) {
    const ElfW(Phdr) *header = (const ElfW(Phdr) *)getauxval(AT_PHDR);
    size_t n = header ? getauxval(AT_PHNUM) : 0;
    uintptr_t base = 0;
    const ElfW(Phdr) *dynamic = NULL;
    for (size_t i = 0; i < n; i++) {
        if (header[i].p_type == PT_PHDR) {
            base = (uintptr_t)header - header[i].p_vaddr;
        }
        if (header[i].p_type == PT_DYNAMIC) {
            dynamic = &header[i];
        }
    }
    const ElfW(Dyn) *debug = dynamic ? dynamic_entry((const ElfW(Dyn) *)(base + dynamic->p_vaddr), DT_DEBUG) : NULL;
    return debug ? (const struct r_debug *)debug->d_un.d_ptr : NULL;
}

bool program_must_stay_single(void) {
    if (!&__libc_single_threaded || !__libc_single_threaded) {
        return false;
    }
    const struct r_debug *debug = loaded_objects();
    if (!debug) {
        return false;
    }
    /* With one thread the list stands still, unless that thread is the loader at work. */
    if (debug->r_state != RT_CONSISTENT) {
        return true;
    }
    for (const struct link_map *object = debug->r_map; object; object = object->l_next) {
        if (object_refers(object)) {
            return true;
        }
    }
    return false;
}
