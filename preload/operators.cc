/*
 * operators.cc: every C++ operator new and delete (ISO C++17 [new.delete]).
 *
 * When there is no memory the call is handed to the operator of the C++ runtime: it owns new_handler and
 * bad_alloc, and calls back into malloc, so the library needs no C++ runtime of its own. The runtime is there
 * whenever one of these is called; it is found by name at that moment.
 */
#include <dlfcn.h>

#include <cstddef>
#include <cstdlib>
#include <new>

#include "family.h"

#define EXPORT __attribute__((visibility("default")))

namespace {

template <typename Function> Function runtime(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) {
        abort(); /* a C++ program without a C++ runtime: nobody could throw bad_alloc */
    }
    return reinterpret_cast<Function>(found);
}

/* The runtime's names: the ABI's mangling of the operators themselves. */
using New = void *(*)(std::size_t);
using NewNothrow = void *(*)(std::size_t, const std::nothrow_t &);
using NewAligned = void *(*)(std::size_t, std::align_val_t);
using NewAlignedNothrow = void *(*)(std::size_t, std::align_val_t, const std::nothrow_t &);

/* std::nothrow itself lives in the C++ runtime. */
const std::nothrow_t quiet{};

void *allocate_nothrow(std::size_t bytes) {
    void *p = std::malloc(bytes);
    return p ? p : runtime<NewNothrow>("_ZnwmRKSt9nothrow_t")(bytes, quiet);
}

void *allocate_aligned(std::size_t bytes, std::align_val_t align) {
    void *p = family_new_aligned(bytes, static_cast<std::size_t>(align));
    return p ? p : runtime<NewAligned>("_ZnwmSt11align_val_t")(bytes, align);
}

void *allocate_aligned_nothrow(std::size_t bytes, std::align_val_t align) {
    void *p = family_new_aligned(bytes, static_cast<std::size_t>(align));
    return p ? p : runtime<NewAlignedNothrow>("_ZnwmSt11align_val_tRKSt9nothrow_t")(bytes, align, quiet);
}

} // namespace

void *new_failed(std::size_t bytes) {
    return runtime<New>("_Znwm")(bytes);
}

EXPORT void *operator new(std::size_t bytes) {
    return family_new(bytes);
}

EXPORT void *operator new[](std::size_t bytes) {
    return family_new(bytes);
}

EXPORT void *operator new(std::size_t bytes, const std::nothrow_t &) noexcept {
    return allocate_nothrow(bytes);
}

EXPORT void *operator new[](std::size_t bytes, const std::nothrow_t &) noexcept {
    return allocate_nothrow(bytes);
}

EXPORT void *operator new(std::size_t bytes, std::align_val_t align) {
    return allocate_aligned(bytes, align);
}

EXPORT void *operator new[](std::size_t bytes, std::align_val_t align) {
    return allocate_aligned(bytes, align);
}

EXPORT void *operator new(std::size_t bytes, std::align_val_t align, const std::nothrow_t &) noexcept {
    return allocate_aligned_nothrow(bytes, align);
}

EXPORT void *operator new[](std::size_t bytes, std::align_val_t align, const std::nothrow_t &) noexcept {
    return allocate_aligned_nothrow(bytes, align);
}

EXPORT void operator delete(void *p) noexcept {
    family_delete(p);
}

EXPORT void operator delete[](void *p) noexcept {
    family_delete(p);
}

EXPORT void operator delete(void *p, const std::nothrow_t &) noexcept {
    family_delete(p);
}

EXPORT void operator delete[](void *p, const std::nothrow_t &) noexcept {
    family_delete(p);
}

EXPORT void operator delete(void *p, std::size_t) noexcept {
    family_delete(p);
}

EXPORT void operator delete[](void *p, std::size_t) noexcept {
    family_delete(p);
}

EXPORT void operator delete(void *p, std::align_val_t) noexcept {
    family_delete(p);
}

EXPORT void operator delete[](void *p, std::align_val_t) noexcept {
    family_delete(p);
}

EXPORT void operator delete(void *p, std::size_t, std::align_val_t) noexcept {
    family_delete(p);
}

EXPORT void operator delete[](void *p, std::size_t, std::align_val_t) noexcept {
    family_delete(p);
}

EXPORT void operator delete(void *p, std::align_val_t, const std::nothrow_t &) noexcept {
    family_delete(p);
}

EXPORT void operator delete[](void *p, std::align_val_t, const std::nothrow_t &) noexcept {
    family_delete(p);
}
