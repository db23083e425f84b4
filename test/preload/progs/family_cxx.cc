// Every form of operator new and delete, as a C++17 program sees them: alignment, bad_alloc, new_handler, nothrow.
// Runs under glibc with libstdc++'s own operators too, which shows that the rules are read right.
#include "tap.h"

#include <malloc.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

static const size_t impossible = static_cast<size_t>(PTRDIFF_MAX) - 64;

static void plain_forms() {
    int bad = 0;
    for (size_t n = 0; n <= (size_t{8} << 20); n = n ? n * 3 - n / 2 : 1) {
        void *p[6] = {::operator new(opaque_size(n)),
                      ::operator new[](opaque_size(n)),
                      ::operator new(opaque_size(n), std::nothrow),
                      ::operator new[](opaque_size(n), std::nothrow),
                      ::operator new(opaque_size(n)),
                      ::operator new[](opaque_size(n))};
        for (int i = 0; i < 6; i++) {
            bad += !p[i] || !aligned_to(p[i], __STDCPP_DEFAULT_NEW_ALIGNMENT__) || malloc_usable_size(p[i]) < n;
            for (int k = 0; k < i; k++)
                bad += p[i] == p[k];
            memset(p[i], i, n);
        }
        ::operator delete(p[0]);
        ::operator delete[](p[1]);
        ::operator delete(p[2], std::nothrow);
        ::operator delete[](p[3], std::nothrow);
        ::operator delete(p[4], n);
        ::operator delete[](p[5], n);
    }
    ok(!bad, "new and delete, array, nothrow and sized forms, 0 to 8 MiB");
}

static void aligned_forms() {
    int bad = 0;
    for (size_t alignment = 32; alignment <= (size_t{4} << 20); alignment *= 4)
        for (size_t n = 0; n <= (size_t{4} << 20); n = n ? n * 5 : 1) {
            auto a = std::align_val_t{opaque_size(alignment)};
            void *p[6] = {::operator new(n, a),
                          ::operator new[](n, a),
                          ::operator new(n, a, std::nothrow),
                          ::operator new[](n, a, std::nothrow),
                          ::operator new(n, a),
                          ::operator new[](n, a)};
            for (int i = 0; i < 6; i++) {
                bad += !p[i] || !aligned_to(p[i], alignment) || malloc_usable_size(p[i]) < n;
                memset(p[i], i, n);
            }
            ::operator delete(p[0], a);
            ::operator delete[](p[1], a);
            ::operator delete(p[2], a, std::nothrow);
            ::operator delete[](p[3], a, std::nothrow);
            ::operator delete(p[4], n, a);
            ::operator delete[](p[5], n, a);
        }
    ok(!bad, "aligned new and delete, all forms, alignments 32 bytes to 4 MiB");

    struct alignas(256) Wide {
        char bytes[300];
    };
    std::vector<std::unique_ptr<Wide>> wide;
    for (int i = 0; i < 1000; i++) {
        wide.push_back(std::make_unique<Wide>());
        bad += !aligned_to(wide.back().get(), 256);
    }
    auto *array = static_cast<Wide *>(opaque(new Wide[100]));
    bad += !aligned_to(array, 256);
    delete[] array;
    ok(!bad, "objects of an over-aligned type are aligned");
}

static void null_is_accepted() {
    void *none = opaque(nullptr);
    auto a = std::align_val_t{64};
    ::operator delete(none);
    ::operator delete[](none);
    ::operator delete(none, std::nothrow);
    ::operator delete[](none, std::nothrow);
    ::operator delete (none, size_t{1});
    ::operator delete[](none, size_t{1});
    ::operator delete(none, a);
    ::operator delete[](none, a);
    ::operator delete(none, a, std::nothrow);
    ::operator delete[](none, a, std::nothrow);
    ::operator delete (none, size_t{1}, a);
    ::operator delete[](none, size_t{1}, a);
    ok(true, "every form of delete accepts a null pointer");
}

template <typename Call> static bool throws_bad_alloc(Call call) {
    try {
        opaque(call());
    } catch (const std::bad_alloc &) {
        return true;
    }
    return false;
}

static void failure_throws() {
    auto a = std::align_val_t{128};
    size_t n = opaque_size(impossible);
    ok(throws_bad_alloc([=] { return ::operator new(n); }), "new of an impossible size throws bad_alloc");
    ok(throws_bad_alloc([=] { return ::operator new[](n); }), "new[] of an impossible size throws bad_alloc");
    ok(throws_bad_alloc([=] { return ::operator new(n, a); }), "aligned new of an impossible size throws bad_alloc");
    ok(throws_bad_alloc([=] { return ::operator new[](n, a); }),
       "aligned new[] of an impossible size throws bad_alloc");
    ok(throws_bad_alloc([] { return ::operator new(opaque_size(SIZE_MAX)); }), "new of SIZE_MAX throws bad_alloc");
    ok(throws_bad_alloc([] { return new std::vector<char>(opaque_size(PTRDIFF_MAX)); }),
       "a container throws bad_alloc");
    ok(!opaque(::operator new(n, std::nothrow)) && !opaque(::operator new[](n, std::nothrow)),
       "nothrow new of an impossible size is null");
    ok(!opaque(::operator new(n, a, std::nothrow)) && !opaque(::operator new[](n, a, std::nothrow)),
       "nothrow aligned new of an impossible size is null");
    ok(throws_bad_alloc([=] {
           std::thread([] {}).join();
           return ::operator new(n);
       }),
       "bad_alloc after threads were started");
}

static int handler_calls;

static void counting_handler() {
    if (++handler_calls % 3 == 0)
        std::set_new_handler(nullptr);
}

static void throwing_handler() {
    handler_calls++;
    throw std::bad_alloc();
}

struct OwnError : std::bad_alloc {};

static void own_error_handler() {
    throw OwnError();
}

static void new_handler_is_called() {
    auto a = std::align_val_t{128};
    size_t n = opaque_size(impossible);
    static const char *names[] = {"new",         "new[]",         "nothrow new",        "nothrow new[]",
                                  "aligned new", "aligned new[]", "nothrow aligned new"};
    for (int form = 0; form < 7; form++) {
        handler_calls = 0;
        std::set_new_handler(counting_handler);
        bool threw = false;
        void *p = &handler_calls;
        try {
            switch (form) {
            case 0:
                p = ::operator new(n);
                break;
            case 1:
                p = ::operator new[](n);
                break;
            case 2:
                p = ::operator new(n, std::nothrow);
                break;
            case 3:
                p = ::operator new[](n, std::nothrow);
                break;
            case 4:
                p = ::operator new(n, a);
                break;
            case 5:
                p = ::operator new[](n, a);
                break;
            case 6:
                p = ::operator new(n, a, std::nothrow);
                break;
            }
        } catch (const std::bad_alloc &) {
            threw = true;
        }
        bool nothrow = form == 2 || form == 3 || form == 6;
        ok(handler_calls == 3 && threw == !nothrow && (!nothrow || !p),
           "%s calls the new_handler until there is none, then %s", names[form],
           nothrow ? "returns null" : "throws bad_alloc");
    }

    handler_calls = 0;
    std::set_new_handler(throwing_handler);
    ok(throws_bad_alloc([=] { return ::operator new(n); }) && handler_calls == 1,
       "bad_alloc thrown by the new_handler reaches the caller of new");
    void *p = opaque(::operator new(n, std::nothrow));
    ok(!p && handler_calls == 2, "bad_alloc thrown by the new_handler is null for nothrow new");
    p = opaque(::operator new[](n, a, std::nothrow));
    ok(!p && handler_calls == 3, "bad_alloc thrown by the new_handler is null for nothrow aligned new[]");
    std::set_new_handler(own_error_handler);
    bool own = false;
    try {
        opaque(::operator new(n));
    } catch (const OwnError &) {
        own = true;
    }
    ok(own, "an exception derived from bad_alloc passes through new unchanged");
    std::set_new_handler(nullptr);

    handler_calls = 0;
    std::set_new_handler(counting_handler);
    p = opaque(malloc(n));
    void *q = opaque(calloc(1, n));
    std::set_new_handler(nullptr);
    ok(!p && !q && handler_calls == 0, "malloc and calloc do not call the new_handler");
}

/* What a new_handler is for: it gives a reserve back, and new tries again. */
static void *reserve;

static void giving_handler() {
    handler_calls++;
    free(reserve);
    reserve = nullptr;
    std::set_new_handler(nullptr);
}

static const size_t limit = size_t{200} << 20, large = size_t{120} << 20;

template <typename Call> static int makes_room(Call call) {
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit data = {limit, limit};
        setrlimit(RLIMIT_DATA, &data);
        reserve = opaque(malloc(large));
        std::set_new_handler(giving_handler);
        handler_calls = 0;
        void *p = opaque(call());
        _exit(p && handler_calls == 1 && !reserve ? 0 : 1);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    return status;
}

static void new_handler_makes_room() {
    auto a = std::align_val_t{128};
    int bad = makes_room([] { return ::operator new(large); }) + makes_room([] { return ::operator new[](large); }) +
              makes_room([=] { return ::operator new(large, a); });
    ok(!bad, "new succeeds when the new_handler gave memory back");
    bad = makes_room([] { return ::operator new(large, std::nothrow); }) +
          makes_room([=] { return ::operator new[](large, a, std::nothrow); });
    ok(!bad, "and so does nothrow new");
}

static void library_types_work() {
    std::map<std::string, std::vector<std::string>> table;
    size_t total = 0, counted = 0;
    for (int i = 0; i < 20000; i++) {
        auto &row = table["key number " + std::to_string(i % 997)];
        row.push_back(std::string(static_cast<size_t>(i % 300), static_cast<char>('a' + i % 26)));
        total += static_cast<size_t>(i % 300);
        if (i % 5 == 0 && row.size() > 3) {
            total -= row.front().size();
            row.erase(row.begin());
        }
    }
    for (auto &entry : table)
        for (auto &text : entry.second)
            counted += text.size();
    ok(total == counted, "maps of vectors of strings hold what was put in");
}

int main() {
    tap_begin();
    plain_forms();
    aligned_forms();
    null_is_accepted();
    failure_throws();
    new_handler_is_called();
    new_handler_makes_room();
    library_types_work();
    return done_testing();
}
