/*
 * check.h: do the invariants hold, here and now? For tests: it walks everything, slowly.
 *
 * Other threads may work meanwhile: locks are taken one at a time, what they do not cover is read only of the calling
 * thread, and only what is true at every moment is demanded.
 *
 *   with each owner's lock     its slabs: constants, bitmaps, counts, tags and page structs on every page, lists
 *   of the calling thread      objects in magazines and remote magazines are out of their slabs, in the budget; run
 * cache with each depot's lock     idle owners hold nothing but slabs with each zone's lock      free lists, buddies,
 * fresh and dirty pages; every page is one thing; sums with the mapping lock      the mapping cache
 */
#ifndef SLABMALLOC_CHECK_H
#define SLABMALLOC_CHECK_H

/* NULL, or a sentence naming the first broken invariant. */
const char *check_all(void);

#endif
