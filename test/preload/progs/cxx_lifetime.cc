// Static and thread_local C++ objects that hold memory, built before main and destroyed after it.
#include "tap.h"

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

struct Holder {
    std::vector<std::unique_ptr<std::string>> strings;
    Holder() {
        for (int i = 0; i < 1000; i++)
            strings.push_back(std::make_unique<std::string>(static_cast<size_t>(i), 'x'));
    }
    ~Holder() {
        for (size_t i = 0; i < strings.size(); i++)
            if (strings[i]->size() != i)
                _exit(9);
        std::string late(5000, 'y');
        strings.clear();
        strings.push_back(std::make_unique<std::string>(late));
    }
};

static Holder global;
static thread_local Holder of_thread;

int main() {
    tap_begin();
    size_t total = 0;
    for (int round = 0; round < 50; round++) {
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; i++)
            threads.emplace_back([] {
                if (of_thread.strings.size() != 1000)
                    _exit(9);
            });
        for (auto &thread : threads)
            thread.join();
        total += threads.size();
    }
    ok(total == 200, "thread_local objects with memory are destroyed at thread exit");
    ok(global.strings.size() == 1000 && of_thread.strings.size() == 1000,
       "static objects with memory are built before main");
    // A detached thread is still at work while main's statics are destroyed.
    std::thread([] {
        for (;;) {
            std::map<int, std::string> table;
            for (int i = 0; i < 100; i++)
                table[i] = std::string(static_cast<size_t>(i * 3), 'z');
        }
    }).detach();
    return done_testing();
}
