/*
 * owners.h: owners, slabs, magazines, inboxes and the depot as the scenarios use them: the functions of lib/owner.c,
 * remote.c, magazine.c and slab.c under their own names, with small numbers: two objects a slab, one object a remote
 * magazine, one size class, one node, one object a refill.
 */
#ifndef MODEL_OWNERS_H
#define MODEL_OWNERS_H

#include "explore.h"

enum { OWNERS = 3, SLABS = 2, SLAB_OBJECTS = 2, REMOTES = 4 };
enum { NONE = 0xff };
enum { IDLE, ACTIVE };
enum bin { FULL, PARTIAL, EMPTY, UNFILED, HELD, GONE };

#define ALL_FREE ((1u << SLAB_OBJECTS) - 1)
#define TAG_OF(owner) ((uint8_t)((owner) + 1))
#define TAG_FOREIGN 0

/* What is in memory, by the names explore.h gives out. Magazines hold objects, lists hold slabs, as bits. */
struct heap {
    unsigned nowners, nslabs;
    unsigned inbox_limit, magazine_slots;
    bool keeps_empty; /* an owner keeps one empty slab of the class */
    int state[OWNERS], inbox[OWNERS], inbox_count[OWNERS], received[OWNERS];
    int magazine[OWNERS], lists[OWNERS], held[OWNERS], emptied[OWNERS], next_idle[OWNERS];
    int owner_lock[OWNERS];
    int tag[SLABS], slab_owner[SLABS];
    int free[SLABS], bin[SLABS];
    int remote_objects[REMOTES + 1], remote_next[REMOTES + 1]; /* 0: none */
    int depot, depot_lock, partial;
    int zone_lock, zone_free;
    /* Thread-local, where fork may come at any point: this thread's owner, and owners on their way to it or from it. */
    bool forks;
    int self[THREADS], arriving[THREADS], leaving[THREADS], purging[THREADS];
    /* Each object has a page of its own; touched: may hold what somebody wrote. */
    bool has_pages;
    int touched[SLABS], page[SLABS * SLAB_OBJECTS];
};
extern struct heap heap;

/* NOWNERS idle owners in no depot, NSLABS slabs of owner 0, all objects in them. */
void heap_setup(unsigned nowners, unsigned nslabs);
void setup_active(unsigned owner);
void setup_in_depot(unsigned owner, bool announced);
void setup_slab_of(unsigned slab, unsigned owner);
void setup_out(unsigned object, unsigned thread);
void setup_sent(unsigned object, unsigned owner, unsigned remote_magazine);
void setup_forks(void);
void setup_pages(uint8_t content);
void setup_no_slab(unsigned slab); /* its page is free in the zone */

unsigned slab_of(unsigned object);
uint8_t object_bit(unsigned object); /* in its slab */

/* lib/slab.c */
void slab_give(unsigned object);
unsigned slab_take(unsigned slab);
unsigned slab_create(unsigned owner); /* NONE: no page */

/* lib/owner.c */
void owner_add_slab(unsigned owner, unsigned slab);
void owner_lock(unsigned owner);
void owner_unlock(unsigned owner);
bool owner_file_slab(unsigned owner, unsigned slab);
void owner_announce(unsigned owner);
bool owner_hold_slab(unsigned owner, unsigned slab);   /* a partial slab, out of the lists for a hole purge */
void owner_unhold_slab(unsigned owner, unsigned slab); /* and back */
void owner_release(unsigned owner);
unsigned owner_adopt(void); /* NONE: the depot is empty */
unsigned owner_steal_slab(unsigned owner);
void announce_all(unsigned owner);
void owner_drop_empty_slabs(unsigned owner);

/* lib/owner.c again, by the thread's own owner. */
void owner_get(void);
void thread_exit(void);
unsigned owner_have(void);

/* lib/magazine.c, lib/heap.c: through the caller's OWNER (NONE: it has none). */
unsigned heap_malloc(unsigned owner); /* an object, or NONE */
void heap_free(unsigned owner, unsigned object, unsigned remote_magazine);

/* lib/reclaim.c: gives back the free pages of SLAB, if it is partly used */
void reclaim_slab(unsigned owner, unsigned slab);

/* lib/remote.c */
bool remote_receive(unsigned owner);
void remote_return_inbox(unsigned owner);
void give_directly(unsigned object);
void send(unsigned target, unsigned remote_magazine);

/* Of a run's end: every object in one place, every slab in one list, idle owners empty, in the depot and announced. */
const char *heap_check(void);
const char *check_object(unsigned object);
const char *check_idle(unsigned owner);

#endif
