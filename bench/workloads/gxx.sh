# g++: compiles a generated, template-heavy C++ file. The measured tree is g++, cc1plus and as; the peak is cc1plus's.
. "$(dirname "$0")/driver.sh"

case $verb in
prepare)
    driver_require g++ awk
    awk 'BEGIN {
        print "#include <algorithm>\n#include <functional>\n#include <map>\n#include <memory>\n#include <string>"
        print "#include <tuple>\n#include <unordered_map>\n#include <variant>\n#include <vector>"
        print "template <int N> struct chain { using type = std::tuple<typename chain<N - 1>::type, std::vector<chain<N - 1>>>;"
        print "    template <class T> auto apply(T t) const { return chain<N - 1>{}.apply([t](auto x) { return t(x) + N; }); } };"
        print "template <> struct chain<0> { using type = int; template <class T> auto apply(T t) const { return t(0); } };"
        for (i = 0; i < 10; i++) {
            printf "struct tag%d { int value = %d; bool operator<(const tag%d &o) const { return value < o.value; } };\n", i, i, i
            printf "int use%d(int n) { std::map<tag%d, std::vector<std::unique_ptr<tag%d>>> m;\n", i, i, i
            printf "  std::variant<int, std::string, tag%d> v = tag%d{}; std::vector<tag%d> s(n);\n", i, i, i
            printf "  std::sort(s.begin(), s.end()); std::function<int(int)> f = [&](int k) { return k + %d; };\n", i
            printf "  for (auto &t : s) m[t].push_back(std::make_unique<tag%d>(t));\n", i
            printf "  return f((int)m.size()) + (int)v.index() + chain<%d>{}.apply([](int k) { return k; }); }\n", 6 + i
        }
    }' > "$dir/input.cc"
    ;;
run)
    driver_measure g++ -std=c++17 -O1 -c -o "$dir/output.o" "$dir/input.cc"
    cksum < "$dir/output.o"
    ;;
*) driver_unknown ;;
esac
