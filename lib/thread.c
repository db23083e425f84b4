#include "thread.h"

#include <errno.h>

#include "magazine.h"
#include "sys.h"

#define STACK_BYTES ((size_t)32 << 10)
#define GUARD_BYTES ((size_t)64 << 10) /* a page at least, whatever the kernel's is */

/* Kept free around the variables looked at, for those beside them. */
#define TLS_MARGIN 4096

static uintptr_t address(const volatile void *p) {
    return (uintptr_t)p;
}

static bool make_memory(struct thread *thread) {
    uintptr_t here = address(__builtin_thread_pointer());
    uintptr_t low = here, high = here;
    const uintptr_t used[] = {address(&errno), address(&magazines_self)};
    for (size_t i = 0; i < sizeof used / sizeof *used; i++) {
        low = min_size(low, used[i]);
        high = max_size(high, used[i]);
    }
    size_t below = round_up(here - low + TLS_MARGIN, TLS_MARGIN),
           above = round_up(high - here + TLS_MARGIN, TLS_MARGIN);
    size_t bytes = round_up(GUARD_BYTES + STACK_BYTES + below + above, PAGE_BYTES);
    char *memory = sys_map(NULL, bytes);
    if (!memory) {
        return false;
    }
    if (sys_guard(memory, GUARD_BYTES)) {
        sys_unmap(memory, bytes);
        return false;
    }
    thread->stack_top = memory + GUARD_BYTES + STACK_BYTES;
    /* As aligned as this thread's. */
    char *pointer = (char *)thread->stack_top + below;
    thread->pointer = pointer;
#if defined(__x86_64__)
    /* The ABI: the thread pointer's own address, for the compiler and for pthread_self. */
    ((void **)pointer)[0] = pointer;
    ((void **)pointer)[2] = pointer;
#endif
    return true;
}

bool thread_start(struct thread *thread, int (*main)(void *), _Atomic uint32_t *alive) {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
    return false; /* instrumented code asks the sanitizer about its thread, which would not know this one */
#endif
    return (thread->pointer || make_memory(thread)) && !sys_clone(main, thread->stack_top, thread->pointer, alive);
}

void thread_started(const char *name) {
    magazines_self = MAGAZINES_NONE;
    sys_name_thread(name);
}
