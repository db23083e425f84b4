#!/bin/bash
# gcc, g++, the assembler and the linker, all preloaded: the same objects, the same diagnostics, programs that run.
. "$(dirname "$0")/lib.sh"

need gcc g++ nm

same "gcc compiles C to the same assembly, object and program" <<'SCRIPT'
{
	echo '#include <stdio.h>'
	for i in $(seq 150); do
		echo "static int f$i(int a, int b) { switch (a % 7) { case 0: return b * $i; case 1: return a + b; case 2: return b ? a / b : $i; default: return a ^ $i; } }"
	done
	echo 'int main(void) { unsigned s = 0;'
	for i in $(seq 150); do echo "for (int i = 0; i < 9; i++) s = s * 31 + (unsigned)f$i(i, $i);"; done
	echo 'printf("%u\n", s); return 0; }'
} >many.c
gcc -O2 -S -o - many.c | md5sum
gcc -O1 -g -c many.c && nm many.o | md5sum
gcc -O0 -Wall -Wextra many.c -o many 2>&1 | grep -c unused
./many && ar rcs libmany.a many.o && ar t libmany.a
gcc -O2 -flto=2 many.c -o many-lto && ./many-lto
SCRIPT
same "gcc reports the same errors" <<'SCRIPT'
printf 'int main(void) { int x = "text"; return y + missing(x; }\nstruct s { int a; } v = { .b = 1 };\n' >bad.c
gcc -c bad.c; echo $?
printf '#include "nothere.h"\n' >bad.c; gcc -c bad.c; echo $?
SCRIPT
if quick; then
	skip "g++ with templates and the standard library" "heavy: left out by SLABMALLOC_CHECK=quick"
else
	same "g++ with templates and the standard library" <<'SCRIPT'
cat >lib.cc <<'CC'
#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <regex>
#include <sstream>
#include <thread>
#include <tuple>
#include <variant>
#include <vector>
template <int N> struct Fib { static constexpr long value = Fib<N - 1>::value + Fib<N - 2>::value; };
template <> struct Fib<1> { static constexpr long value = 1; };
template <> struct Fib<0> { static constexpr long value = 0; };
template <typename... T> auto all(T... t) { return std::make_tuple(std::vector<T>(3, t)...); }
int main() {
	std::map<std::string, std::vector<std::unique_ptr<std::variant<int, std::string>>>> m;
	for (int i = 0; i < 20000; i++) m["k" + std::to_string(i % 100)].push_back(std::make_unique<std::variant<int, std::string>>(i % 2 ? std::variant<int, std::string>(i) : std::variant<int, std::string>(std::string(i % 90, 'x'))));
	std::ostringstream out; for (auto &[k, v] : m) out << k << v.size();
	std::regex word("k(\\d+)2"); std::string text = out.str();
	std::cout << Fib<80>::value << ' ' << std::distance(std::sregex_iterator(text.begin(), text.end(), word), {}) << ' ' << std::get<2>(all(1, 2.0, std::string("three")))[1] << '\n';
	std::vector<std::thread> t; for (int i = 0; i < 4; i++) t.emplace_back([] { for (int k = 0; k < 1000; k++) std::stringstream() << std::string(k, 'y'); }); for (auto &x : t) x.join();
	try { throw std::runtime_error("thrown"); } catch (std::exception &e) { std::cout << e.what() << '\n'; }
}
CC
g++ -std=c++17 -O1 -g -pthread -S -o lib.s lib.cc && md5sum lib.s
g++ -pthread lib.s -o lib && ./lib
SCRIPT
fi
done_testing
