# make            the C library, shared and static, and the command
# make demo       shows the time in C, C++ and Python; SERVERS=... names the servers to follow
# make test       every test of every language; installs what it lacks (tests/tools.sh)
# make test-aws-lc  Network Time Security by aws-lc-rs in place of ring; two minutes
# make bench      our readings beside other clocks, and the cost of an idle clock; five minutes; BENCH_SECONDS=...
# make bench-server  what a reply costs our server, beside a bare responder and chronyd; two minutes; BENCH_ROUNDS=...
# make soak       the simulated scenarios for 20 years (YEARS=...); make test plays them for 30 days
# make live       follows a real chronyd for 10 minutes (MINUTES=...) beside another; make test does for 20 s
# make tree       three strata of servers and clients for 5 minutes (MINUTES=...); make test does for half a minute
# make flood      1 M datagrams of junk in 10 s at a clock's port (JUNK=...); make test sends 200 000
# make sizes      how large the library is, with NTS and without; fails above what is promised; a minute
# make deny       licences, origins and doubles of whom we depend on (deny.toml)
# make fuzz      what comes from outside, by fuzzers; FUZZ_SECONDS=... for each of the targets (60), FUZZ_JOBS=... at a time (2)
# make asan       the Rust tests under the address sanitizer; two minutes
# make tsan       C programs that use the library from many threads, under the thread sanitizer; STRESS_SECONDS=...
# make aarch64    builds for AArch64 and runs the Rust tests and C programs by emulation; as root; ten minutes
# make install    puts them under DESTDIR and PREFIX; builds nothing, so it needs no compiler
# make uninstall  takes them away again

# ---------------------------------------------------------------- library, command, installation

CARGO      ?= cargo
INSTALL    ?= install
DESTDIR    ?=
PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
UNITDIR    ?= $(PREFIX)/lib/systemd/system
DOCDIR     ?= $(PREFIX)/share/doc/ntpclock

OUT     := $(or $(CARGO_TARGET_DIR),target)/release
VERSION := $(shell sed -n '/^\[package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
# The number of the binary interface: it changes when an old program would no longer run, and only then.
ABI     := 0
# Copies of functions in their callers, but for the shortest and those that must be, make code larger and nothing faster; nor does
# level 3 make readings faster, but it does the ciphers of a server, for which the command is made.
SHORT   := -C llvm-args=-inline-threshold=25
# The library, of which it matters more, has fewer still; its readings say themselves what is copied.
SHORTER := -C llvm-args=-inline-threshold=15
SMALL   := --config profile.release.opt-level=2
# All that is shipped; with `--all-features` aws-lc-rs would be tested in ring's place.
SHIPPED := capi,cli,header,nts

.PHONY: all lib command install uninstall clean
all: lib command

# The SONAME is set here and not by the build script, which would pass it on to every library that
# depends on the crate. A helper thread may outlive `ntp_stop` in a call it cannot leave, so the code
# stays mapped (nodelete). One run makes both kinds: link arguments mean nothing to a static library.
lib:
	$(CARGO) rustc $(SMALL) --release --lib --features capi,nts --crate-type cdylib,staticlib -- $(SHORTER) \
	  -C link-arg=-Wl,-soname,libntpclock.so.$(ABI) -C link-arg=-Wl,-z,nodelete -C link-arg=-Wl,-z,pack-relative-relocs
	ln -sf libntpclock.so $(OUT)/libntpclock.so.$(ABI)

command:
	$(CARGO) rustc --release --features cli,nts --bin ntpclock -- $(SHORT)

BUILT     := $(addprefix $(OUT)/,libntpclock.so libntpclock.a ntpclock)
INSTALLED := $(LIBDIR)/libntpclock.so.$(VERSION) $(LIBDIR)/libntpclock.so.$(ABI) $(LIBDIR)/libntpclock.so \
  $(LIBDIR)/libntpclock.a $(LIBDIR)/pkgconfig/ntpclock.pc \
  $(INCLUDEDIR)/ntpclock.h $(INCLUDEDIR)/ntpclock.hpp $(BINDIR)/ntpclock \
  $(UNITDIR)/ntpclock.service $(UNITDIR)/ntpclock.socket \
  $(UNITDIR)/ntpclock-cookie-keys.service $(UNITDIR)/ntpclock-cookie-keys.timer $(DOCDIR)/ntpclock.toml

# Does not build: `sudo make install` should never run a compiler as root.
install:
	@for file in $(BUILT); do \
	  test -e $$file || { echo "make install: $$file is missing; run make first" >&2; exit 1; }; \
	done
	$(INSTALL) -d $(addprefix $(DESTDIR),$(sort $(dir $(INSTALLED))))
	$(INSTALL) -m 755 $(OUT)/libntpclock.so $(DESTDIR)$(LIBDIR)/libntpclock.so.$(VERSION)
	ln -sf libntpclock.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libntpclock.so.$(ABI)
	ln -sf libntpclock.so.$(ABI) $(DESTDIR)$(LIBDIR)/libntpclock.so
	$(INSTALL) -m 644 $(OUT)/libntpclock.a $(DESTDIR)$(LIBDIR)/libntpclock.a
	$(INSTALL) -m 644 include/ntpclock.h $(DESTDIR)$(INCLUDEDIR)/ntpclock.h
	$(INSTALL) -m 644 bindings/cpp/ntpclock.hpp $(DESTDIR)$(INCLUDEDIR)/ntpclock.hpp
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@INCLUDEDIR@|$(INCLUDEDIR)|; s|@VERSION@|$(VERSION)|' \
	  bindings/c/ntpclock.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/ntpclock.pc
	chmod 644 $(DESTDIR)$(LIBDIR)/pkgconfig/ntpclock.pc
	$(INSTALL) -m 755 $(OUT)/ntpclock $(DESTDIR)$(BINDIR)/ntpclock
	for unit in ntpclock ntpclock-cookie-keys; do \
	  sed -e 's|@BINDIR@|$(BINDIR)|' bindings/systemd/$$unit.service > $(DESTDIR)$(UNITDIR)/$$unit.service && \
	  chmod 644 $(DESTDIR)$(UNITDIR)/$$unit.service || exit 1; \
	done
	$(INSTALL) -m 644 bindings/systemd/ntpclock.socket $(DESTDIR)$(UNITDIR)/ntpclock.socket
	$(INSTALL) -m 644 bindings/systemd/ntpclock-cookie-keys.timer $(DESTDIR)$(UNITDIR)/ntpclock-cookie-keys.timer
	$(INSTALL) -m 644 bindings/systemd/ntpclock.toml $(DESTDIR)$(DOCDIR)/ntpclock.toml

uninstall:
	rm -f $(addprefix $(DESTDIR),$(INSTALLED))

clean:
	$(CARGO) clean

# ---------------------------------------------------------------- Python, demonstration, tests

include python/python.mk

YEARS   ?= 20
MINUTES ?=
BENCH_ROUNDS ?= 20
JUNK    ?= 1000000

.PHONY: demo test test-aws-lc bench bench-server soak live tree flood fuzz sizes deny asan tsan aarch64 ntpd-rs
# Else what cargo builds for two goals at once would only wait for its lock.
.NOTPARALLEL:

demo: all python
	SERVERS='$(SERVERS)' bindings/demo.sh

# The tools come first: without a linker nothing can be built.
test:
	tests/tools.sh
	$(MAKE) all python
	$(CARGO) test --locked --features $(SHIPPED) --no-fail-fast
	.venv/bin/python -m pytest

# Network Time Security by the other provider of its cryptography.
test-aws-lc:
	tests/tools.sh
	$(CARGO) test --locked --features cli,nts-aws-lc --test nts

# Fails if a floor is missed: ratios within this run. A package of its own holds what is compared with.
bench: all python
	$(CARGO) build --release --locked --manifest-path tests/bench/Cargo.toml --target-dir $(dir $(OUT))
	CARGO_TARGET_DIR=$(dir $(OUT)) tests/bench/bench.sh

# Fails if a floor is missed, as above.
bench-server: command
	tests/tools.sh
	$(CARGO) build --release --locked --manifest-path tests/bench/Cargo.toml --target-dir $(dir $(OUT)) \
	  --bin ntpclock-bench-server
	$(OUT)/ntpclock-bench-server threads $(OUT)/ntpclock
	$(OUT)/ntpclock-bench-server $(OUT)/ntpclock target/peers/usr/sbin/chronyd target/newer/usr $(BENCH_ROUNDS)

# One line a scenario; fails if any of them was violated.
soak:
	NTPCLOCK_SIMULATED_DAYS=$$(($(YEARS) * 1461 / 4)) \
	  $(CARGO) test --locked --release --all-features --lib simulation:: -- --nocapture

# One line a minute; fails if 1 in 100 readings was off by more than 10 µs, or an interval missed the time.
live:
	tests/tools.sh
	NTPCLOCK_LIVE_MINUTES=$(or $(MINUTES),10) \
	  $(CARGO) test --locked --release --all-features --test conversation live:: -- --nocapture

# One line a clock; fails if an interval missed the primary's time, or a reading ran backwards.
tree:
	tests/tools.sh
	NTPCLOCK_TREE_MINUTES=$(or $(MINUTES),5) \
	  $(CARGO) test --locked --release --all-features --test server tree:: -- --nocapture

# Fails unless ntpd-rs' daemon synchronises to us, plain and with NTS. It is built first, which takes minutes, and may set no
# clock.
NTPD_RS ?= 1.9.0
ntpd-rs: command
	test -x target/ntpd-rs/$(NTPD_RS)/bin/ntp-daemon || $(CARGO) install ntpd --locked --version $(NTPD_RS) \
	  --root target/ntpd-rs/$(NTPD_RS) --target-dir target/ntpd-rs/build
	tests/ntpd-rs/run.sh $(OUT)/ntpclock target/ntpd-rs/$(NTPD_RS)

# One line; fails if the next good answer is not accepted, or the flood costs processor or memory.
flood:
	NTPCLOCK_FLOOD=$(JUNK) $(CARGO) test --locked --release --all-features --test flood -- --nocapture

# Built aside, so that what is installed is never the smaller one.
sizes: lib
	$(CARGO) rustc $(SMALL) --release --locked --lib --features capi --crate-type cdylib \
	  --target-dir $(dir $(OUT))small -- $(SHORTER) -C link-arg=-Wl,-z,pack-relative-relocs
	tests/sizes.sh $(OUT)/libntpclock.so $(dir $(OUT))small/release/libntpclock.so

deny:
	tests/tools.sh
	for package in . python; do \
	  target/deny/bin/cargo-deny --locked --config deny.toml --manifest-path $$package/Cargo.toml \
	    check bans licenses sources || exit 1; \
	done

# One line a target; fails if something does not hold, and names the input that shows it.
fuzz:
	tests/tools.sh
	tests/fuzz/fuzz.sh build
	tests/fuzz/fuzz.sh run

asan:
	tests/sanitizers.sh address

tsan:
	tests/sanitizers.sh thread

aarch64:
	tests/aarch64.sh
