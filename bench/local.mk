# Benchmarks, built by "make bench" only. bench/compare runs them.

# C programs that bench/compare runs under each library.
bench_workloads = \
	bench/workloads/alloc_test \
	bench/workloads/bignum \
	bench/workloads/cache_scratch \
	bench/workloads/cache_thrash \
	bench/workloads/cubes \
	bench/workloads/large \
	bench/workloads/larson \
	bench/workloads/mstress \
	bench/workloads/rbtree \
	bench/workloads/sh6 \
	bench/workloads/sh8 \
	bench/workloads/simple_pairs \
	bench/workloads/symbolic \
	bench/workloads/thread_set \
	bench/workloads/vectors \
	bench/workloads/xmalloc

# Programs about memory and latency, which bench/compare runs with --run.
bench_probes = \
	bench/after_peak \
	bench/chase \
	bench/consumer \
	bench/huge_blocks \
	bench/huge_churn \
	bench/huge_coverage \
	bench/idle_threads \
	bench/latency
bench_after_peak_SOURCES = bench/after_peak.c bench/memory_probe.h
bench_after_peak_LDADD = -lm
bench_chase_SOURCES = bench/chase.c bench/memory_probe.h
bench_consumer_SOURCES = bench/consumer.c bench/memory_probe.h
bench_huge_blocks_SOURCES = bench/huge_blocks.c bench/memory_probe.h
bench_huge_churn_SOURCES = bench/huge_churn.c bench/memory_probe.h
bench_huge_coverage_SOURCES = bench/huge_coverage.c bench/memory_probe.h
bench_idle_threads_SOURCES = bench/idle_threads.c bench/memory_probe.h

# What a preloaded library costs a small program.
bench_startup_SOURCES = bench/startup.c bench/memory_probe.h
# What SLOB is for: the footprint of whole programs, and overhead on traces.
bench_footprint_SOURCES = bench/footprint.c bench/memory_probe.h
bench_slob_trace_SOURCES = bench/slob_trace.c bench/memory_probe.h
bench_slob_trace_LDADD = libslabcore.la -lm
# fork beside busy threads.
bench_fork_SOURCES = bench/fork.c
bench_programs = bench/measure bench/startup bench/hello bench/fork bench/footprint bench/slob_trace $(bench_probes) \
	$(bench_workloads)

# libempty.so is preloaded, so it must be a shared object: -rpath says so.
EXTRA_LTLIBRARIES = bench/libempty.la
bench_libempty_la_SOURCES = bench/empty.c
bench_libempty_la_LDFLAGS = -module -avoid-version -shared -rpath /nowhere

# Micro-benchmarks in C over Google Benchmark's C++.
if HAVE_BENCHMARK
bench_programs += bench/micro
endif
bench_micro_SOURCES = \
	bench/gbench_shim.cc bench/gbench_shim.h \
	bench/micro.h \
	bench/micro_batches.c \
	bench/micro_churn.c \
	bench/micro_cross.c \
	bench/micro_kmem.c \
	bench/micro_large.c \
	bench/micro_main.c \
	bench/micro_pages.c \
	bench/micro_pairs.c \
	bench/micro_realloc.c \
	bench/micro_special.c \
	bench/micro_threads.c
bench_micro_CXXFLAGS = $(AM_CXXFLAGS) $(BENCHMARK_CFLAGS)
bench_micro_LDADD = $(BENCHMARK_LIBS)

# Programs that link the library, for what malloc has no name for. Without what they need configure says that they are
# left out.
if HAVE_LIBURING
bench_programs += bench/dma/uring_file
endif
bench_dma_uring_file_CFLAGS = $(AM_CFLAGS) $(URING_CFLAGS)
bench_dma_uring_file_LDADD = libslabmalloc.la $(URING_LIBS)
if HAVE_CUDA
bench_programs += bench/dma/cuda_copy
endif
bench_dma_cuda_copy_CFLAGS = $(AM_CFLAGS) $(CUDA_CFLAGS)
bench_dma_cuda_copy_LDADD = libslabmalloc.la $(CUDA_LIBS)

EXTRA_PROGRAMS += $(bench_programs)
CLEANFILES += $(bench_programs) bench/libempty.la

bench: all $(bench_programs) bench/libempty.la
.PHONY: bench

# Scripts and headers; the programs' sources are distributed as such. Never
# whole folders, which "make dist" would take from the build folder.
EXTRA_DIST += bench/compare $(wildcard $(srcdir)/bench/*.md) \
	$(wildcard $(srcdir)/bench/harness/*.py) \
	$(wildcard $(addprefix $(srcdir)/bench/workloads/*., h js lua md pl py sh))
