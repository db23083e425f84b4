/*
 * check.h: do the invariants hold, here and now? Walks zones and owners under their locks, one at a time.
 */
#ifndef SLABMALLOC_CHECK_H
#define SLABMALLOC_CHECK_H

/* NULL, or a sentence naming the first broken invariant. */
const char *check_all(void);

#endif
