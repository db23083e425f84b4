/* faults.h: system calls that are refused by plan. */
#ifndef SLABMALLOC_TEST_FAULTS_H
#define SLABMALLOC_TEST_FAULTS_H

#include <limits.h>

#include "sys.h"

static struct {
    enum sys_call call;
    unsigned from, to, seen;
} plan;

static inline bool planned(enum sys_call call) {
    if (call != plan.call) {
        return false;
    }
    unsigned n = plan.seen++;
    return n >= plan.from && n < plan.to;
}

/* Refuses the calls of this kind from number FROM, counted from 0 and from now, to before number TO. */
static inline void refuse(enum sys_call call, unsigned from, unsigned to) {
    plan.call = call;
    plan.from = from;
    plan.to = to;
    plan.seen = 0;
    sys_fault_hook = planned;
}

#endif
