#!/bin/bash
# make -j with its job server: all children preloaded, the same results, errors and status.
. "$(dirname "$0")/lib.sh"

need make

same "make -j4 of a few hundred targets" <<'SCRIPT'
cat >Makefile <<'MAKE'
N := $(shell seq 200)
OBJECTS := $(foreach i,$(N),out/$(i).o)
expand = $(foreach a,$(1),$(foreach b,1 2 3 4 5,$(a)-$(b)))
all: total deep
total: $(OBJECTS)
	@cat $(OBJECTS) | sort -n | md5sum
out/%.o: | out
	@seq $* | awk '{ s += $$1 * $$1 } END { print s }' >$@
out:
	@mkdir -p $@
deep: total
	@echo $(words $(call expand,$(call expand,$(call expand,$(N)))))
	@$(MAKE) --no-print-directory -f Makefile inner
inner: $(foreach i,1 2 3 4 5 6,inner-$(i))
	@echo inner done
inner-%: ; @test -e out/$*.o
MAKE
make --no-print-directory -j4 && make -q out/3.o && ls out | wc -l && rm out/17.o && make -j4 --no-print-directory total
SCRIPT
same "make reports an error and its status" <<'SCRIPT'
printf 'all: a b\na:\n\t@exit 3\nb: a\n\t@echo b\n' >Makefile
make -k -j2; echo $?
printf 'all\n\tx\n' >Makefile; make; echo $?
SCRIPT
done_testing
