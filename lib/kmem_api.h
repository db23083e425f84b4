/* kmem_api.h: what marks the exported functions of kmem_cache.h. */
#ifndef SLABMALLOC_KMEM_API_H
#define SLABMALLOC_KMEM_API_H

#include "slabmalloc/kmem_cache.h"

#define API __attribute__((visibility("default")))

#endif
