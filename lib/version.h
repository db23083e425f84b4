/* version.h: "MAJOR.MINOR.PATCH", of what slabmalloc/slabmalloc.h says. */
#ifndef SLABMALLOC_VERSION_H
#define SLABMALLOC_VERSION_H

#include "slabmalloc/slabmalloc.h"

#define LIBRARY_STRING2(x) #x
#define LIBRARY_STRING(x) LIBRARY_STRING2(x)
#define LIBRARY_VERSION                                                                                                \
    LIBRARY_STRING(SLABMALLOC_VERSION_MAJOR)                                                                           \
    "." LIBRARY_STRING(SLABMALLOC_VERSION_MINOR) "." LIBRARY_STRING(SLABMALLOC_VERSION_PATCH)

#endif
