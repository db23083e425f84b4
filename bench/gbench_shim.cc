// gbench_shim.cc: see gbench_shim.h. The two opaque C types are Google Benchmark's own objects under another name, so
// nothing is allocated or looked up between the benchmark and the library.
#include "gbench_shim.h"

#include <benchmark/benchmark.h>

#include <vector>

namespace {

benchmark::internal::Benchmark *to_cpp(gbench_case *bench) {
    return reinterpret_cast<benchmark::internal::Benchmark *>(bench);
}

benchmark::State *to_cpp(gbench_state *state) {
    return reinterpret_cast<benchmark::State *>(state);
}

const benchmark::State *to_cpp(const gbench_state *state) {
    return reinterpret_cast<const benchmark::State *>(state);
}

} // namespace

gbench_case *gbench_add(const char *name, gbench_body *body) {
    auto run = [body](benchmark::State &state) { body(reinterpret_cast<gbench_state *>(&state)); };
    benchmark::internal::Benchmark *bench = benchmark::RegisterBenchmark(name, run);
    return reinterpret_cast<gbench_case *>(bench->UseRealTime());
}

void gbench_case_arg(gbench_case *bench, int64_t value) {
    to_cpp(bench)->Arg(value);
}

void gbench_case_args(gbench_case *bench, const int64_t *values, size_t count) {
    to_cpp(bench)->Args(std::vector<int64_t>(values, values + count));
}

void gbench_case_threads(gbench_case *bench, int threads) {
    to_cpp(bench)->Threads(threads);
}

void gbench_case_process_time(gbench_case *bench) {
    to_cpp(bench)->MeasureProcessCPUTime();
}

int gbench_main(int argc, char **argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv))
        return 2;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}

int64_t gbench_arg(const gbench_state *state, size_t index) {
    return to_cpp(state)->range(index);
}

int gbench_thread_index(const gbench_state *state) {
    return to_cpp(state)->thread_index();
}

int gbench_thread_count(const gbench_state *state) {
    return to_cpp(state)->threads();
}

int64_t gbench_iterations(const gbench_state *state) {
    return to_cpp(state)->iterations();
}

void gbench_set_items(gbench_state *state, int64_t items) {
    to_cpp(state)->SetItemsProcessed(items);
    to_cpp(state)->counters["items"] = static_cast<double>(items);
}

void gbench_set_bytes(gbench_state *state, int64_t bytes) {
    to_cpp(state)->SetBytesProcessed(bytes);
}

void gbench_set_counter(gbench_state *state, const char *name, double value) {
    to_cpp(state)->counters[name] = value;
}

void gbench_pause(gbench_state *state) {
    to_cpp(state)->PauseTiming();
}

void gbench_resume(gbench_state *state) {
    to_cpp(state)->ResumeTiming();
}

void gbench_skip(gbench_state *state, const char *reason) {
    to_cpp(state)->SkipWithError(reason);
}

bool gbench_next_batch(gbench_state *state, int64_t batch) {
    return to_cpp(state)->KeepRunningBatch(batch);
}
