# Tests: every one prints TAP, "make check" counts the single results.
#
# A new test is one name in one of the lists below; test/lists.sh fails when a
# file is missing from them. SLABMALLOC_CHECK=quick makes long tests skip or
# shorten themselves, SLABMALLOC_CHECK=long makes those with rounds longer.

# Criterion programs, one per layer, with libslabcore linked in.
unit_tests = \
	test/unit/test_api \
	test/unit/test_background \
	test/unit/test_buddy \
	test/unit/test_buddy_history \
	test/unit/test_dma \
	test/unit/test_dma_fork \
	test/unit/test_dma_observe \
	test/unit/test_dma_phys \
	test/unit/test_dma_pool \
	test/unit/test_dma_vfio \
	test/unit/test_fork \
	test/unit/test_fork_steps \
	test/unit/test_heap \
	test/unit/test_hugetlb \
	test/unit/test_inject \
	test/unit/test_kmalloc \
	test/unit/test_kmem_cache \
	test/unit/test_kmem_checks \
	test/unit/test_kmem_reserve \
	test/unit/test_kmem_stress \
	test/unit/test_limits \
	test/unit/test_lock \
	test/unit/test_magazine \
	test/unit/test_mapping \
	test/unit/test_mapping_advice \
	test/unit/test_mapping_refused \
	test/unit/test_meta \
	test/unit/test_nodes \
	test/unit/test_options \
	test/unit/test_owner \
	test/unit/test_page_zones \
	test/unit/test_pageblock \
	test/unit/test_pagemap \
	test/unit/test_pages \
	test/unit/test_reclaim \
	test/unit/test_refill \
	test/unit/test_region \
	test/unit/test_remote \
	test/unit/test_report \
	test/unit/test_run \
	test/unit/test_sizeclass \
	test/unit/test_slab \
	test/unit/test_slob \
	test/unit/test_slob_sized \
	test/unit/test_stats \
	test/unit/test_steal \
	test/unit/test_stress \
	test/unit/test_textbook \
	test/unit/test_zone \
	test/unit/test_zone_purge

# Programs that the preload tests run; they know nothing of slabmalloc.
preload_programs = \
	test/preload/progs/address_space \
	test/preload/progs/after_free \
	test/preload/progs/bad_free \
	test/preload/progs/conf_probe \
	test/preload/progs/confined \
	test/preload/progs/crowd \
	test/preload/progs/cxx_lifetime \
	test/preload/progs/dlopen_plugin \
	test/preload/progs/family \
	test/preload/progs/family_aligned \
	test/preload/progs/family_cxx \
	test/preload/progs/family_extras \
	test/preload/progs/family_rules \
	test/preload/progs/first_call \
	test/preload/progs/fork_busy \
	test/preload/progs/huge_heap \
	test/preload/progs/kmem_plugin \
	test/preload/progs/hugetlb_heap \
	test/preload/progs/late_load \
	test/preload/progs/locked \
	test/preload/progs/overcommit \
	test/preload/progs/own_malloc \
	test/preload/progs/refuse \
	test/preload/progs/report_target \
	test/preload/progs/sandbox \
	test/preload/progs/scarce \
	test/preload/progs/spawn \
	test/preload/progs/stress \
	test/preload/progs/threads_end

# Runs in a virtual machine with several NUMA nodes, and the scripts that boot one.
numa_programs = test/numa/device test/numa/placement
numa_tests = \
	test/numa/devices_reach_pinned_memory.t \
	test/numa/memory_is_local_on_two_nodes.t \
	test/numa/nearest_nodes_serve_first.t \
	test/numa/nodes_without_processors_or_memory.t

# What the soak runs beside them.
soak_programs = \
	test/soak/churn

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
	test/preload/crowds_work.t \
	test/preload/cxx_operators_conform.t \
	test/preload/freed_memory_does_no_harm.t \
	test/preload/gcc_behaves_the_same.t \
	test/preload/git_behaves_the_same.t \
	test/preload/glibc_extras_conform.t \
	test/preload/hugetlb_pools_are_used_and_given_back.t \
	test/preload/java_behaves_the_same.t \
	test/preload/kernel_style_code_compiles_and_runs.t \
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
	test/preload/refused_calls_never_kill_programs.t \
	test/preload/remote_frees_stay_bounded.t \
	test/preload/reports_at_exit.t \
	test/preload/reports_read_running_processes.t \
	test/preload/scarce_memory_is_an_error_not_a_crash.t \
	test/preload/secure_execution_ignores_options.t \
	test/preload/slob_serves_whole_programs.t \
	test/preload/small_programs_map_little.t \
	test/preload/sqlite_behaves_the_same.t \
	test/preload/threads_leave_no_memory_behind.t \
	test/preload/tutorial_shows_what_happens.t

# The programs of doc/tutorial.md, which a preload test runs: linked with the library, as a reader's would be.
tutorial_programs = \
	doc/tutorial/coalesce \
	doc/tutorial/dma \
	doc/tutorial/split \
	doc/tutorial/waste
doc_tutorial_coalesce_LDADD = libslabmalloc.la
doc_tutorial_dma_LDADD = libslabmalloc.la
doc_tutorial_split_LDADD = libslabmalloc.la
doc_tutorial_waste_LDADD = libslabmalloc.la

# Operation sequences against a model of the heap; built under sanitizers too.
fuzz_programs = test/fuzz/fuzz_ops
fuzz_tests = test/fuzz/sequences_match_the_model.t

# Scripts about the model of the concurrent protocol, and the model: see
# test/model/README.md. SLABMALLOC_CHECK=long explores more.
model_tests = \
	test/model/atomics_are_covered.t \
	test/model/protocol_holds.t
model_program = test/model/model
test_model_model_SOURCES = \
	test/model/explore.c \
	test/model/frees.c \
	test/model/litmus.c \
	test/model/memory.c \
	test/model/model.c \
	test/model/owners.c \
	test/model/reclaim.c \
	test/model/run.c \
	test/model/scenario_fork.c \
	test/model/scenario_lock.c \
	test/model/scenario_owners.c \
	test/model/scenario_pagemap.c \
	test/model/scenario_purge.c \
	test/model/state.c \
	test/model/sync.c

# Scripts about the build itself: what is exported, installed and generated.
build_tests = \
	test/abi/exported_symbols.sh \
	test/comparison.sh \
	test/golden/fast_path.sh \
	test/install_layout.sh \
	test/lint.sh \
	test/lists.sh \
	test/man_pages.sh \
	test/soak/soak_notices_faults.sh

test/comparison.log: bench/measure$(EXEEXT)

# Of the preload tests those that "make coverage" runs: with programs of ours that may write down what was counted, which
# needs a writable build folder, a file descriptor and an exit.
coverage_tests = \
	test/preload/address_space_limit_is_an_error_not_a_crash.t \
	test/preload/any_moment_may_allocate.t \
	test/preload/bad_options_are_named_and_ignored.t \
	test/preload/bad_pointers_abort_with_one_line.t \
	test/preload/blocks_keep_their_bytes_under_stress.t \
	test/preload/cxx_operators_conform.t \
	test/preload/glibc_extras_conform.t \
	test/preload/launcher_runs_programs.t \
	test/preload/malloc_family_conforms.t \
	test/preload/reports_at_exit.t \
	test/preload/reports_read_running_processes.t \
	test/preload/threads_leave_no_memory_behind.t

# One line a program: automake knows no patterns.
test_unit_test_api_LDADD = $(UNIT_LIBS)
test_unit_test_background_LDADD = $(UNIT_LIBS)
test_unit_test_buddy_LDADD = $(UNIT_LIBS)
test_unit_test_buddy_history_LDADD = $(UNIT_LIBS)
test_numa_device_LDADD = libslabcore.la
test_unit_test_dma_LDADD = $(UNIT_LIBS)
test_unit_test_dma_fork_LDADD = $(UNIT_LIBS)
test_unit_test_dma_observe_LDADD = $(UNIT_LIBS)
test_unit_test_dma_phys_LDADD = $(UNIT_LIBS)
test_unit_test_dma_pool_LDADD = $(UNIT_LIBS)
test_unit_test_dma_vfio_LDADD = $(UNIT_LIBS)
test_unit_test_dma_vfio_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=ioctl
test_unit_test_fork_LDADD = $(UNIT_LIBS)
test_unit_test_fork_steps_LDADD = $(UNIT_LIBS)
test_unit_test_heap_LDADD = $(UNIT_LIBS)
test_unit_test_hugetlb_LDADD = $(UNIT_LIBS)
test_unit_test_inject_LDADD = $(UNIT_LIBS)
test_unit_test_inject_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=sys_map,--wrap=sys_nodes,--wrap=sys_node,--wrap=ioctl \
	-Wl,--wrap=meta_alloc,--wrap=meta_alloc_dirty,--wrap=meta_free
test_unit_test_kmalloc_LDADD = $(UNIT_LIBS)
test_unit_test_kmem_cache_LDADD = $(UNIT_LIBS)
test_unit_test_kmem_checks_LDADD = $(UNIT_LIBS)
test_unit_test_kmem_reserve_LDADD = $(UNIT_LIBS)
test_unit_test_kmem_stress_LDADD = $(UNIT_LIBS)
test_unit_test_limits_LDADD = $(UNIT_LIBS)
test_unit_test_lock_LDADD = $(UNIT_LIBS)
test_unit_test_magazine_LDADD = $(UNIT_LIBS)
test_unit_test_mapping_LDADD = $(UNIT_LIBS)
test_unit_test_mapping_refused_LDADD = $(UNIT_LIBS)
test_unit_test_mapping_advice_LDADD = $(UNIT_LIBS)
test_unit_test_mapping_advice_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=sys_advise
test_unit_test_meta_LDADD = $(UNIT_LIBS)
test_unit_test_nodes_LDADD = $(UNIT_LIBS)
test_unit_test_options_LDADD = $(UNIT_LIBS)
test_unit_test_owner_LDADD = $(UNIT_LIBS)
test_unit_test_page_zones_LDADD = $(UNIT_LIBS)
test_unit_test_pageblock_LDADD = $(UNIT_LIBS)
test_unit_test_pagemap_LDADD = $(UNIT_LIBS)
test_unit_test_pages_LDADD = $(UNIT_LIBS)
test_unit_test_reclaim_LDADD = $(UNIT_LIBS)
test_unit_test_refill_LDADD = $(UNIT_LIBS)
test_unit_test_region_LDADD = $(UNIT_LIBS)
test_unit_test_remote_LDADD = $(UNIT_LIBS)
test_unit_test_report_LDADD = $(UNIT_LIBS)
test_unit_test_run_LDADD = $(UNIT_LIBS)
test_unit_test_sizeclass_LDADD = $(UNIT_LIBS)
test_unit_test_slab_LDADD = $(UNIT_LIBS)
test_unit_test_slob_LDADD = $(UNIT_LIBS)
test_unit_test_slob_sized_LDADD = $(UNIT_LIBS)
test_unit_test_stats_LDADD = $(UNIT_LIBS)
test_unit_test_steal_LDADD = $(UNIT_LIBS)
test_unit_test_stress_LDADD = $(UNIT_LIBS)
test_unit_test_textbook_LDADD = $(UNIT_LIBS)
test_unit_test_zone_LDADD = $(UNIT_LIBS)
test_unit_test_zone_purge_LDADD = $(UNIT_LIBS)

# Its functions stand where the library asks the kernel about nodes.
test_unit_test_nodes_LDFLAGS = $(AM_LDFLAGS) \
	-Wl,--wrap=sys_nodes,--wrap=sys_node,--wrap=sys_bind \
	-Wl,--wrap=sys_has_policy,--wrap=sys_interleave,--wrap=sys_read_file

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
if COVERAGE
TESTS += $(coverage_tests)
else
check_PROGRAMS += $(preload_programs) $(numa_programs) $(soak_programs) $(model_program) $(tutorial_programs)
TESTS += $(preload_tests) $(numa_tests) $(build_tests) $(model_tests)
endif
endif

# Of a build configured with --enable-coverage: runs its tests on counters of zero, then prints lines and branches by
# file. The quick tests: more rounds run no other lines.
coverage:
	find . -name '*.gcda' -delete
	status=0; \
	SLABMALLOC_CHECK=quick $(MAKE) check || status=1; \
	$(top_srcdir)/test/coverage/report $(top_srcdir) . || status=1; \
	exit $$status
.PHONY: coverage

test/unit/%.o: AM_CPPFLAGS += $(CRITERION_CFLAGS)
UNIT_LIBS = libslabcore.la $(CRITERION_LIBS) $(COVERAGE_WRAP)

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
	SLABMALLOC_TESTS='$(unit_tests) $(preload_tests) $(build_tests) $(model_tests) $(preload_programs) $(numa_tests) $(numa_programs) $(soak_programs) $(tutorial_programs) $(fuzz_tests) $(fuzz_programs) $(bench_programs)'; \
	GCOV_ERROR_FILE=/dev/null; \
	export GCOV_ERROR_FILE SLABMALLOC_LIB SLABMALLOC_CMD SLABMALLOC_TESTS \
	  SLABMALLOC_SANITIZE top_srcdir top_builddir CC CXX CFLAGS MAKE PKG_CONFIG;

# Checks too long for "make check"; "make check-long" is that at full length and
# then each of these: a new one is a target and one word here.
long_checks = mutation soak

check-long: all
	SLABMALLOC_CHECK=long $(MAKE) $(AM_MAKEFLAGS) check
	for check in $(long_checks); do $(MAKE) $(AM_MAKEFLAGS) $$check || exit; done

# Breaks the source, one rule at a time, and counts how often a unit test notices.
MUTATION_ARGS =
mutation: all
	$(PYTHON3) $(top_srcdir)/test/mutate/run --build $(abs_top_builddir) $(MUTATION_ARGS)

# What it compiles with.
mutation-settings:
	@printf '%s\n' 'compiler=$(CC)' 'flags=$(CPPFLAGS) $(AM_CFLAGS)' \
	  'library_flags=$(LIBRARY_FLAGS)' 'test_flags=$(CRITERION_CFLAGS)' \
	  'test_libs=$(CRITERION_LIBS)' 'sources=$(libslabcore_la_SOURCES)' \
	  'tests=$(unit_tests)' 'test_nodes=$(test_unit_test_nodes_LDFLAGS)' \
	  'test_inject=$(test_unit_test_inject_LDFLAGS)' \
	  'test_dma_vfio=$(test_unit_test_dma_vfio_LDFLAGS)' \
	  'test_mapping_advice=$(test_unit_test_mapping_advice_LDFLAGS)'

# Real programs and stress under the library, for hours if told so.
SOAK_ARGS = --minutes 10
soak: all $(soak_programs) $(preload_programs)
	$(PYTHON3) $(top_srcdir)/test/soak/soak --build $(abs_top_builddir) $(SOAK_ARGS)

PYTHON3 = python3
.PHONY: check-long mutation mutation-settings soak

lint:
	top_srcdir='$(top_srcdir)' top_builddir='$(top_builddir)' $(top_srcdir)/test/lint.sh
.PHONY: lint

# Never whole folders: "make dist" would take them from the build folder, logs
# and programs included.
EXTRA_DIST += $(preload_tests) $(numa_tests) $(build_tests) $(fuzz_tests) $(model_tests) test/run_test \
	test/fuzz/explore $(wildcard $(srcdir)/test/fuzz/corpus/*) \
	test/abi/symbols.list \
	test/coverage/dump.c test/coverage/report \
	test/golden/fast_path.x86_64.golden \
	test/model/README.md test/model/atomics.list test/model/atomics.sh \
	test/numa/guest test/numa/lib.sh test/numa/setup \
	test/preload/lib.sh test/preload/packages.txt test/preload/check_report.py \
	test/unit/no_criterion.sh test/children.py \
	test/mutate/run test/mutate/operators.py \
	test/mutate/rules.txt test/mutate/equivalents.txt \
	test/soak/soak \
	$(wildcard $(srcdir)/test/*/*.h $(srcdir)/test/*/*/*.h $(srcdir)/test/*/*/*/*.h) \
	$(wildcard $(srcdir)/test/preload/plugins/*)
