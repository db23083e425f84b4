/* program.h: what the objects of this process, the program and its libraries, ask of the C library. */
#ifndef SLABMALLOC_PROGRAM_H
#define SLABMALLOC_PROGRAM_H

#include <stdbool.h>

/* The process has one thread, and some object of it refers to a function that fails with EINVAL once there are two:
 * unshare (of a user namespace) or setns; or to prctl or libseccomp, with which a sandbox is entered that may end the
 * process at a clone. Also true while objects are being loaded, when nothing can be said. */
bool program_must_stay_single(void);

#endif
