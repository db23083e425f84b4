/*
 * An auditor (see rtld-audit(7)): ld.so runs it in a namespace with a C library of its own, before the preloaded
 * library is there.  It allocates from that C library.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <link.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static char *names[64];
static unsigned count;

unsigned int la_version(unsigned int version) {
    return version < LAV_CURRENT ? version : LAV_CURRENT;
}

unsigned int la_objopen(struct link_map *map, Lmid_t id, uintptr_t *cookie) {
    (void)id;
    (void)cookie;
    free(names[count % 64]);
    names[count++ % 64] = strdup(map->l_name);
    return LA_FLG_BINDTO | LA_FLG_BINDFROM;
}
