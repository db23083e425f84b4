# Tests: every one prints TAP, "make check" counts the single results.
#
# A new test is one name in one of the lists below; test/lists.sh fails when a
# file is missing from them. SLABMALLOC_CHECK=quick makes long tests skip or
# shorten themselves.

# Criterion programs, one per layer, with libslabcore linked in.
unit_tests = \
	test/unit/test_api \
	test/unit/test_buddy \
	test/unit/test_buddy_history \
	test/unit/test_fork \
	test/unit/test_heap \
	test/unit/test_limits \
	test/unit/test_lock \
	test/unit/test_magazine \
	test/unit/test_mapping \
	test/unit/test_meta \
	test/unit/test_options \
	test/unit/test_owner \
	test/unit/test_pagemap \
	test/unit/test_region \
	test/unit/test_remote \
	test/unit/test_run \
	test/unit/test_sizeclass \
	test/unit/test_slab \
	test/unit/test_stats \
	test/unit/test_stress \
	test/unit/test_zone \
	test/unit/test_zone_purge

# Programs that the preload tests run; they know nothing of slabmalloc.
preload_programs = \
	test/preload/progs/address_space \
	test/preload/progs/bad_free \
	test/preload/progs/conf_probe \
	test/preload/progs/confined \
	test/preload/progs/cxx_lifetime \
	test/preload/progs/dlopen_plugin \
	test/preload/progs/family \
	test/preload/progs/family_aligned \
	test/preload/progs/family_cxx \
	test/preload/progs/family_extras \
	test/preload/progs/first_call \
	test/preload/progs/fork_busy \
	test/preload/progs/huge_heap \
	test/preload/progs/late_load \
	test/preload/progs/locked \
	test/preload/progs/overcommit \
	test/preload/progs/own_malloc \
	test/preload/progs/spawn \
	test/preload/progs/stress \
	test/preload/progs/threads_end

# Scripts that run programs under the library.
preload_tests = \
	test/preload/address_space_limit_is_an_error_not_a_crash.t \
	test/preload/any_moment_may_allocate.t \
	test/preload/bad_options_are_named_and_ignored.t \
	test/preload/bad_pointers_abort_with_one_line.t \
	test/preload/bash_and_coreutils_behave_the_same.t \
	test/preload/big_heaps_are_huge_small_ones_are_not.t \
	test/preload/blocks_keep_their_bytes_under_stress.t \
	test/preload/children_of_busy_parents_work.t \
	test/preload/confined_processes_work.t \
	test/preload/cxx_operators_conform.t \
	test/preload/gcc_behaves_the_same.t \
	test/preload/git_behaves_the_same.t \
	test/preload/glibc_extras_conform.t \
	test/preload/java_behaves_the_same.t \
	test/preload/launcher_runs_programs.t \
	test/preload/library_needs_only_libc.t \
	test/preload/loaders_and_plugins_work.t \
	test/preload/locked_memory_works.t \
	test/preload/make_behaves_the_same.t \
	test/preload/malloc_family_conforms.t \
	test/preload/node_behaves_the_same.t \
	test/preload/overcommit_never_works.t \
	test/preload/perl_behaves_the_same.t \
	test/preload/python_behaves_the_same.t \
	test/preload/python_own_tests_pass.t \
	test/preload/redis_behaves_the_same.t \
	test/preload/remote_frees_stay_bounded.t \
	test/preload/secure_execution_ignores_options.t \
	test/preload/sqlite_behaves_the_same.t \
	test/preload/threads_leave_no_memory_behind.t

# Operation sequences against a model of the heap; built under sanitizers too.
fuzz_programs = test/fuzz/fuzz_ops
fuzz_tests = test/fuzz/sequences_match_the_model.t

# Scripts about the build itself: what is exported, installed and generated.
build_tests = \
	test/abi/exported_symbols.sh \
	test/golden/fast_path.sh \
	test/install_layout.sh \
	test/lint.sh \
	test/lists.sh

# One line a program: automake knows no patterns.
test_unit_test_api_LDADD = $(UNIT_LIBS)
test_unit_test_buddy_LDADD = $(UNIT_LIBS)
test_unit_test_buddy_history_LDADD = $(UNIT_LIBS)
test_unit_test_fork_LDADD = $(UNIT_LIBS)
test_unit_test_heap_LDADD = $(UNIT_LIBS)
test_unit_test_limits_LDADD = $(UNIT_LIBS)
test_unit_test_lock_LDADD = $(UNIT_LIBS)
test_unit_test_magazine_LDADD = $(UNIT_LIBS)
test_unit_test_mapping_LDADD = $(UNIT_LIBS)
test_unit_test_meta_LDADD = $(UNIT_LIBS)
test_unit_test_options_LDADD = $(UNIT_LIBS)
test_unit_test_owner_LDADD = $(UNIT_LIBS)
test_unit_test_pagemap_LDADD = $(UNIT_LIBS)
test_unit_test_region_LDADD = $(UNIT_LIBS)
test_unit_test_remote_LDADD = $(UNIT_LIBS)
test_unit_test_run_LDADD = $(UNIT_LIBS)
test_unit_test_sizeclass_LDADD = $(UNIT_LIBS)
test_unit_test_slab_LDADD = $(UNIT_LIBS)
test_unit_test_stats_LDADD = $(UNIT_LIBS)
test_unit_test_stress_LDADD = $(UNIT_LIBS)
test_unit_test_zone_LDADD = $(UNIT_LIBS)
test_unit_test_zone_purge_LDADD = $(UNIT_LIBS)

fuzz_sources = \
	test/fuzz/model.c test/fuzz/model.h \
	test/fuzz/ops.c test/fuzz/ops.h \
	test/fuzz/sequence.c test/fuzz/sequence.h
test_fuzz_fuzz_ops_SOURCES = test/fuzz/fuzz_ops.c $(fuzz_sources)
test_fuzz_fuzz_ops_LDADD = libslabcore.la

# Only in a build with clang and --enable-sanitize=fuzzer-no-link: see
# test/fuzz/explore.
EXTRA_PROGRAMS += test/fuzz/libfuzzer_ops
test_fuzz_libfuzzer_ops_SOURCES = test/fuzz/libfuzzer.c $(fuzz_sources)
test_fuzz_libfuzzer_ops_LDADD = libslabcore.la
test_fuzz_libfuzzer_ops_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer

# C++ ones; the others are NAME.c.
test_preload_progs_cxx_lifetime_SOURCES = test/preload/progs/cxx_lifetime.cc
test_preload_progs_family_cxx_SOURCES = test/preload/progs/family_cxx.cc

if HAVE_CRITERION
check_PROGRAMS += $(unit_tests)
TESTS += $(unit_tests)
else
TESTS += test/unit/no_criterion.sh
endif

check_PROGRAMS += $(fuzz_programs)
TESTS += $(fuzz_tests)

if !INSTRUMENTED
check_PROGRAMS += $(preload_programs)
TESTS += $(preload_tests) $(build_tests)
endif

test/unit/%.o: AM_CPPFLAGS += $(CRITERION_CFLAGS)
UNIT_LIBS = libslabcore.la $(CRITERION_LIBS)

TEST_EXTENSIONS = .sh .t
RUN_TEST = $(top_srcdir)/test/run_test
LOG_COMPILER = $(RUN_TEST)
SH_LOG_COMPILER = $(RUN_TEST)
T_LOG_COMPILER = $(RUN_TEST)
TAP_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) $(top_srcdir)/build-aux/tap-driver.sh
LOG_DRIVER = $(TAP_DRIVER)
SH_LOG_DRIVER = $(TAP_DRIVER)
T_LOG_DRIVER = $(TAP_DRIVER)

AM_TESTS_ENVIRONMENT = \
	SLABMALLOC_LIB='$(abs_top_builddir)/.libs/libslabmalloc.so'; \
	SLABMALLOC_CMD='$(abs_top_builddir)/slabmalloc'; \
	top_srcdir='$(abs_top_srcdir)'; top_builddir='$(abs_top_builddir)'; \
	CC='$(CC)'; CXX='$(CXX)'; CFLAGS='$(CFLAGS)'; \
	SLABMALLOC_SANITIZE='$(SANITIZE)'; \
	MAKE='$(MAKE)'; PKG_CONFIG='$(PKG_CONFIG)'; \
	SLABMALLOC_TESTS='$(unit_tests) $(preload_tests) $(build_tests) $(preload_programs) $(fuzz_tests) $(fuzz_programs) $(bench_programs)'; \
	export SLABMALLOC_LIB SLABMALLOC_CMD SLABMALLOC_TESTS \
	  SLABMALLOC_SANITIZE top_srcdir top_builddir CC CXX CFLAGS MAKE PKG_CONFIG;

lint:
	top_srcdir='$(top_srcdir)' top_builddir='$(top_builddir)' $(top_srcdir)/test/lint.sh
.PHONY: lint

# Never whole folders: "make dist" would take them from the build folder, logs
# and programs included.
EXTRA_DIST += $(preload_tests) $(build_tests) $(fuzz_tests) test/run_test \
	test/fuzz/explore $(wildcard $(srcdir)/test/fuzz/corpus/*) \
	test/abi/symbols.list \
	test/golden/fast_path.x86_64.golden \
	test/preload/lib.sh test/preload/packages.txt \
	test/unit/no_criterion.sh \
	$(wildcard $(srcdir)/test/*/*.h $(srcdir)/test/*/*/*.h $(srcdir)/test/*/*/*/*.h) \
	$(wildcard $(srcdir)/test/preload/plugins/*)
