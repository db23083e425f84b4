/*
 * fork in a signal handler that comes between any two instructions of an operation: the processor's single-step trap is
 * the signal, and traps fork a child that goes on from there to the operation's end and must then be sound. Loops are
 * stepped through, but an instruction forks only the first time it is met.
 */
#include "magazine.h"
#include "owner.h"
#include "support.h"

#include <signal.h>
#include <ucontext.h>

#if defined __x86_64__ && SUPPORT_SLOWDOWN == 1

#define TRAP_FLAG 0x100
#define HANG_SECONDS 20
#define OWNERS_SEEN_MAX 64

static bool met[1 << 16]; /* by the low bits of the instruction's address */
static unsigned forks;
static bool in_child;

static void stop_stepping(ucontext_t *context) {
    context->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
}

static void fork_at_trap(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)info;
    const ucontext_t *interrupted = context;
    bool *before = &met[(size_t)interrupted->uc_mcontext.gregs[REG_RIP] % COUNT_OF(met)];
    if (*before) {
        return;
    }
    *before = true;
    pid_t pid = fork();
    MUST(pid >= 0);
    if (!pid) {
        alarm(HANG_SECONDS);
        in_child = true;
        stop_stepping(context);
        return;
    }
    forks++;
    int status;
    while (waitpid(pid, &status, 0) < 0) {
        MUST(errno == EINTR);
    }
    MUST_BE_GOOD_END(status);
}

static void trap_end(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)info;
    stop_stepping(context);
}

static void set_handler(void (*handler)(int, siginfo_t *, void *)) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    sigaction(SIGTRAP, &action, NULL);
}

/* No owner may be had twice, nor one that a thread has. */
static void must_hand_out_owners_once(void) {
    struct owner *seen[OWNERS_SEEN_MAX], *self = owner_have();
    unsigned n = owner_count() + 1;
    MUST(n <= OWNERS_SEEN_MAX);
    for (unsigned i = 0; i < n; i++) {
        seen[i] = owner_borrow();
        MUST(seen[i] && seen[i] != self);
        for (unsigned j = 0; j < i; j++) {
            MUST(seen[i] != seen[j]);
        }
    }
    while (n) {
        owner_return(seen[--n]);
    }
}

static void must_work(void) {
    void *p[200];
    must_hand_out_owners_once();
    for (unsigned i = 0; i < COUNT_OF(p); i++) {
        p[i] = slabmalloc_malloc(1 + i * 31);
        MUST(p[i]);
        words_fill(p[i], 1 + i * 31, i);
    }
    for (unsigned i = 0; i < COUNT_OF(p); i++) {
        MUST(words_hold(p[i], 1 + i * 31, i));
        slabmalloc_free(p[i]);
    }
    MUST_BE_SOUND();
}

/* Runs OPERATION one instruction at a time. Children end here. */
static void step_through(void (*operation)(void)) {
    set_handler(fork_at_trap);
    __asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq" ::: "memory", "cc");
    operation();
    if (in_child) {
        must_work();
        _exit(0);
    }
    set_handler(trap_end); /* the next instruction's trap is the last */
    must_work();
}

static void step_operation(void *operation) {
    must_work();
    step_through((void (*)(void))(uintptr_t)operation);
    MUST(forks >= 20);
}

static void borrow_and_return(void) {
    struct owner *owner = owner_borrow();
    void *p = magazine_take_one(owner, sizeclass_of(48));
    owner_return(owner);
    slabmalloc_free(p);
}

Test(fork_steps, owners_are_borrowed_and_returned_soundly) {
    child_must_end_well(step_operation, (void *)(uintptr_t)borrow_and_return);
}

static void migrate(void) {
    owner_migrate(owner_have(), owner_have()->node);
}

Test(fork_steps, threads_change_owners_soundly) {
    child_must_end_well(step_operation, (void *)(uintptr_t)migrate);
}

static void get_first(void) {
    owner_get();
}

static void *step_get(void *arg) {
    step_through(get_first);
    return arg;
}

static void step_get_in_a_thread(void *create) {
    pthread_t thread;
    owner_get();
    if (!create) {
        must_work(); /* leaves idle owners */
    }
    MUST(!pthread_create(&thread, NULL, step_get, NULL));
    pthread_join(thread, NULL);
    MUST(forks >= 20);
}

Test(fork_steps, threads_adopt_owners_soundly) {
    child_must_end_well(step_get_in_a_thread, NULL);
}

Test(fork_steps, threads_create_owners_soundly) {
    child_must_end_well(step_get_in_a_thread, (void *)1);
}

static void refill_and_drain(void) {
    void *p[40];
    for (unsigned i = 0; i < COUNT_OF(p); i++) {
        p[i] = slabmalloc_malloc(3000);
    }
    for (unsigned i = 0; i < COUNT_OF(p); i++) {
        slabmalloc_free(p[i]);
    }
}

Test(fork_steps, magazines_are_filled_and_drained_soundly) {
    child_must_end_well(step_operation, (void *)(uintptr_t)refill_and_drain);
}

#else

Test(fork_steps, needs_single_steps) {
    cr_skip_test("single steps are there on x86-64 only, and sanitizers take too many instructions");
}

#endif
