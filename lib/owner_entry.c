/* owner_entry.c: what an owner has of the classes of object caches, made as it is needed. */
#include "meta.h"
#include "owner.h"

_Static_assert(sizeof(struct class_table) <= sizeof pagemap.foreign, "zeroes enough");
_Static_assert(KMEM_CLASS_FIRST % CLASS_CHUNK == 0 && TAG_CLASSES % CLASS_CHUNK == 0, "chunks are whole");

static struct class_table *make_table(struct owner *owner) {
    struct class_table *table = meta_alloc(sizeof *table);
    if (table) {
        owner_lock(owner);
        owner->magazines.table = table;
        owner_unlock(owner);
    }
    return table;
}

static struct class_chunk *make_chunk(struct owner *owner, struct class_table *table, unsigned index) {
    struct class_chunk *chunk = meta_alloc(sizeof *chunk);
    if (chunk) {
        owner_lock(owner);
        for (unsigned i = 0; i < CLASS_CHUNK; i++) {
            table->magazine[index * CLASS_CHUNK + i] = magazine_empty;
        }
        table->chunk[index] = chunk;
        owner_unlock(owner);
    }
    return chunk;
}

struct class_entry *owner_make_entry(struct owner *owner, unsigned class) {
    struct class_table *table = owner->magazines.table;
    if (table == CLASS_TABLE_NONE && !(table = make_table(owner))) {
        return NULL;
    }
    unsigned index = (class - KMEM_CLASS_FIRST) / CLASS_CHUNK;
    return table->chunk[index] || make_chunk(owner, table, index) ? owner_entry(owner, class) : NULL;
}

unsigned owner_next_class(const struct owner *owner, unsigned class) {
    if (class + 1 < CLASS_COUNT) {
        return class + 1;
    }
    unsigned next = (unsigned)max_size(class + 1, KMEM_CLASS_FIRST), end = KMEM_CLASS_FIRST + kmem_class_count();
    while (next < end && !owner_entry(owner, next)) {
        next = (next / CLASS_CHUNK + 1) * CLASS_CHUNK;
    }
    return next < end ? next : TAG_CLASSES;
}
