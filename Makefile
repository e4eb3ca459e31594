# Conex. `make run` is the main job, `make test` passes every test; both set up what they need.

export CGO_ENABLED := 0
GO      ?= go
PREFIX  ?= /usr/local
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
ENTRY   := $(LDFLAGS) -E conex_entry
BINARIES := conex conexd conex-shim conex-runtime

.PHONY: all build hello run test test-v2 check fuzz bench crash install uninstall clean generate

all: build

build: hello
	@mkdir -p bin
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -ldflags='./cmd/conexd=$(ENTRY)' -ldflags='./cmd/conex-shim=$(ENTRY)' \
		-ldflags='./cmd/conex-runtime=$(LDFLAGS) -E conex_sealed_entry' -o bin/ $(addprefix ./cmd/,$(BINARIES))
	ln -sf conex-shim bin/containerd-shim-conex-v2

# The embedded image is built from our own source: one static program in a layer.
hello:
	$(GO) generate ./manager/image/hello

# The first command of the README: build, start the engine if none answers, run a container.
run: build
	bin/conex run --rm hello

# The second: all tests, on a fresh machine, as root.
test: build
	test/setup
	$(GO) test -timeout 10m ./api/... ./base/... ./cli/... ./client/... ./daemon/... ./engine/... ./linux/... ./manager/... ./network/... ./runtime/... ./server/... ./shim/... ./test/house/... ./test/rig/...
	$(GO) test -timeout 40m -count=1 -p 1 ./test/integration/... ./test/conformance/... ./test/security/... ./test/crash/...
	$(MAKE) test-v2

# In a virtual machine with Debian's kernel: control groups v2 alone, AppArmor, checkpoint and restore by Debian's CRIU.
test-v2: build
	test/setup v2
	$(GO) test -timeout 16m -count=1 ./test/vm/...

# The daemon is killed 1,000 times under the load of containers, 200 times under that of images (make test: 25 and 20 times).
crash: build
	test/setup
	CONEX_CRASH_KILLS=1000 $(GO) test -timeout 60m -count=1 -v -run TestRandomKills ./test/crash/...
	CONEX_CRASH_KILLS=200 $(GO) test -timeout 60m -count=1 -v -run 'TestImageKills|TestDiskFull' ./test/crash/...

check:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo 'run gofmt -w'; exit 1; }
	$(GO) vet ./...
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.7.0 ./...
	$(GO) run github.com/kisielk/errcheck@v1.30.0 -ignoretests ./...

# Each fuzzer of the house for a while: make fuzz FUZZTIME=10m
FUZZTIME ?= 10s
fuzz:
	@set -e; for f in $$(git grep -l '^func Fuzz' -- '*_test.go'); do for n in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' $$f); do \
		echo "$$f $$n"; $(GO) test -run '^$$' -fuzz "^$$n\$$" -fuzztime $(FUZZTIME) ./$$(dirname $$f); done; done

# Side by side with Debian's dockerd, containerd and podman; nothing else should run meanwhile.
# BENCH=oci,exec selects rows and kinds of rows: engine, oci, probes, idle.
bench: build
	test/setup bench
	$(GO) run ./test/bench -rows "$(BENCH)"

install: build
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/systemd/system
	install -m 0755 $(addprefix bin/,$(BINARIES)) $(DESTDIR)$(PREFIX)/bin/
	ln -sf conex-shim $(DESTDIR)$(PREFIX)/bin/containerd-shim-conex-v2
	install -m 0644 packaging/*.service packaging/*.socket $(DESTDIR)$(PREFIX)/lib/systemd/system/
	sed -i 's|=/usr/bin/conexd|=$(PREFIX)/bin/conexd|' $(DESTDIR)$(PREFIX)/lib/systemd/system/conex.service

uninstall:
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/bin/,$(BINARIES) containerd-shim-conex-v2) $(addprefix $(DESTDIR)$(PREFIX)/lib/systemd/system/,conex.service conex.socket)

clean:
	rm -rf bin manager/image/hello/image/hello.tar
