# ipfsmon. `make` lists the targets.

GO      ?= go
BIN     := bin/ipfsmon
COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null)$(shell git diff --quiet HEAD 2>/dev/null || echo -dirty)
# The version is the tag's: 0.2.0, or 0.2.0+5.g1a2b3c4d five commits after it. Without a tag it is
# that of internal/release, the one after the last.
VERSION ?= $(or $(shell git describe --tags --match 'v[0-9]*' 2>/dev/null | sed -e 's/^v//' -e 's/-\([0-9]*\)-g\([0-9a-f]*\)$$/+\1.g\2/'),$(shell sed -n 's/^const next = "\(.*\)"/\1/p' internal/release/release.go))
LDFLAGS = -X github.com/ipfsmon/ipfsmon/internal/release.version=$(VERSION) -X github.com/ipfsmon/ipfsmon/internal/release.commit=$(COMMIT)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.8.0
NFPM        := github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.0
SBOM        := github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0

# go test with the program built above. A folder of test/ is behind the build tag
# of its name, except test/e2e and test/repository, which need only Go.
TEST = IPFSMON_BIN=$(abspath $(BIN)) $(GO) test -count=1

# The packages that run under the race detector: all of ours, except the tests in test/, which
# run the program in separate processes, and the demo, which runs many kubo nodes in one
# process: kubo writes variables of its packages while it builds a node, and the reported
# races are kubo's own. And fleet/size, which only computes and would compute for minutes.
RACED = $(shell $(GO) list ./... | grep -v -e /cmd/ -e /test/ -e /internal/demo$$ -e /fleet/size$$)

# Rows of docs/durability.md are tests of these packages too.
FAULTY := ./internal/spool ./influx/delivery

.NOTPARALLEL:
.PHONY: check quick check-generated mutate help programs test-plain test-programs bench-influx bench-queries soak soak-fleet build run demo test test-all race faults bench bench-introspect bench-capture bench-peers bench-watch bench-proxy bench-probe bench-archive bench-stream bench-fleet fuzz corpus lint vulncheck generate plugin release check-release install uninstall packages image clean check-packages check-dashboards check-stack check-page bench-page kubo pictures

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/ipfsmon
	$(GO) build -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/ipfsmon

run: build ## run a monitored node on the public network
	$(BIN) run

demo: build ## run a monitored node in a private swarm on loopback
	$(BIN) demo $(ARGS)

check: ## what CI runs, fast things first
	.ci/run

PKG ?=
quick: ## check one package while you work: gofmt, vet, staticcheck and its tests; PKG=./bus
	@[ -n "$(PKG)" ] || { echo 'name the package: make quick PKG=./bus'; exit 2; }
	@files=$$(gofmt -l $(patsubst %/...,%,$(PKG))); [ -z "$$files" ] || { echo "gofmt: $$files"; exit 1; }
	$(GO) vet -tags all $(PKG)
	$(GO) run $(STATICCHECK) -tags all $(PKG)
	$(GO) test $(PKG)

test: test-plain race ## all tests that need only Go and a C compiler, also under the race detector

# A test runs once: what `make race` or `make faults` runs whole is left to them.
ONCE = $(shell $(GO) list -race -tags poison -f '{{if not .IgnoredGoFiles}}{{.ImportPath}}{{end}}' $(RACED)) $(shell $(GO) list $(FAULTY))
test-plain: build ## those of them without the race detector that make race and make faults leave out
	$(TEST) -timeout 15m $(filter-out $(ONCE),$(shell $(GO) list ./...))

# Arrow, a dependency of the embedded InfluxDB, fails its pointer checks.
# The tag poison: a sink that keeps an event of the bus fails its tests.
race: ## our packages under the race detector
	$(GO) test -race -tags poison -gcflags='github.com/apache/arrow/go/arrow/...=-d=checkptr=0' -timeout 30m $(RACED)

# Other programs that tests need.
programs:
	@echo "installed with apt-get, if missing: influxdb prometheus iproute2 nodejs npm postgresql rabbitmq-server tmux"
	@for p in influxd:influxdb promtool:prometheus ip:iproute2 node:nodejs npm:npm tmux:tmux; do command -v $${p%:*} >/dev/null || \
	  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $${p#*:}; } || exit 1; done
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends postgresql; }
	@ls /usr/lib/rabbitmq/bin/rabbitmq-server >/dev/null 2>&1 || { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends rabbitmq-server; }

test-all: test-programs check-page check-stack check-packages faults ## the tests that make test leaves out: with other real programs, which it installs

test-programs: build plugin programs ## the tests with other nodes, InfluxDBs, PostgreSQL, RabbitMQ, telegraf
	$(TEST) -tags programs -timeout 30m ./test/programs

# The other dependencies of the page's tests are installed in bin/page; their screenshots are
# there too.
bin/page/node_modules: test/page/package.json test/page/package-lock.json
	command -v chromium >/dev/null || { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends chromium; }
	mkdir -p bin/page && cp test/page/package.json test/page/package-lock.json bin/page/
	cd bin/page && npm ci --no-audit --no-fund && touch node_modules

check-page: build programs bin/page/node_modules ## the live page: unit tests with Node, the whole page in Chromium against the demo; screenshots in bin/page
	node --test introspect/ui/test/*.test.mjs
	$(GO) test -count=1 ./introspect/ui/gen
	$(TEST) -tags page -timeout 30m ./test/page

pictures: check-page ## the README's pictures, docs/images/live-page-*.png, from the tests of the page; look at them before you commit them
	for name in overview bitswap; do cp bin/page/readme-$$name.png docs/images/live-page-$$name.png; done

bench-page: programs bin/page/node_modules ## CPU use of the live page in a browser with 5,000 connections, sampled once a second
	$(GO) build -o bin/page/feed ./test/page/feed
	PAGE_FEED=$(abspath bin/page/feed) PAGE_ROOT=$(CURDIR) PAGE_OUT=$(abspath bin/page) node test/page/bench.mjs

check-dashboards: build programs ## the dashboards, alerts and questions: files, lint, types, and each query on real InfluxDBs
	$(GO) test -count=1 ./grafana
	$(TEST) -tags dashboards -timeout 30m ./test/dashboards

STACK_PROGRAMS := docker.io iptables debootstrap nginx libnginx-mod-stream shellcheck curl
STACK_SCRIPTS  := packaging/*.sh docker/*.sh docker/test/*.sh docker/test/influx nginx/start.sh test/influxdb/build.sh
check-stack: check-dashboards ## the containers' stack: its files, nginx before real servers, the whole stack on a separate Docker engine (as root)
	@echo "installed with apt-get, if missing: $(STACK_PROGRAMS)"
	@for p in $(STACK_PROGRAMS); do dpkg -s $$p >/dev/null 2>&1 || \
	  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $(STACK_PROGRAMS); } || exit 1; done
	shellcheck $(STACK_SCRIPTS)
	cd docker/check && $(GO) vet ./... && $(GO) test -count=1 ./...
	$(TEST) -tags stack -v -timeout 40m ./test/stack

PACKAGE_PROGRAMS := debootstrap rpm
check-packages: build ## the packages, in a Debian with systemd: installed, started, upgraded, removed; the unit (as root)
	@for p in $(PACKAGE_PROGRAMS); do dpkg -s $$p >/dev/null 2>&1 || \
	  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $(PACKAGE_PROGRAMS); } || exit 1; done
	$(TEST) -tags packages -v -timeout 20m ./test/packages

# The rows of docs/durability.md. FAULTS=1 runs them at full length: ten minutes without a
# server, 200 kills, 50 restarts.
FAULTS ?=
faults: build programs ## faults of disks, servers and networks; ends with "N passed, N failed"; FAULTS=1: at full length
	@FAULTS=$(FAULTS) $(TEST) -tags faults -v -timeout 60m $(FAULTY) ./test/faults > bin/faults.log 2>&1; code=$$?; \
	grep -E '^ *--- (PASS|FAIL)|^(FAIL|ok)' bin/faults.log; \
	p=$$(grep -c -- '^--- PASS' bin/faults.log); f=$$(grep -c -- '^--- FAIL' bin/faults.log); \
	[ $$code = 0 ] || tail -n 60 bin/faults.log; echo "$$p passed, $$f failed"; exit $$code

bench: ## benchmarks, each against the code that it replaces, in the same run
	$(GO) test -run '^$$' -bench . -benchmem ./bus ./capture ./stream ./influx/lineproto ./influx/delivery ./metrics

bench-introspect: ## the cost of a snapshot of 100, 1,000 and 10,000 connections, and of the page in a browser; fails when a gate is missed
	$(GO) test -count=1 -bench Snapshot -benchtime 20x -v ./introspect ./introspect/nodestate
	$(GO) test -run '^$$' -bench 'Taps|Event' -benchmem ./introspect ./introspect/nodestate
	$(MAKE) --no-print-directory bench-page

bench-stream: ## the stream against the old exporter's design, with gates
	$(GO) run ./bench/stream

bench-fleet: ## events of several monitors, unified, and the matcher against one with queues; fails when a gate is missed
	$(GO) run ./bench/fleet

# SOAK=8h sets the duration; SOAK_RATE is points per second.
SOAK ?= 3m
soak: build ## a monitored node under load for SOAK=3m: growth of memory and other figures, CSV and plot in bin/soak
	SOAK=$(SOAK) SOAK_DIR=$(abspath bin/soak) $(TEST) -tags soak -run '^$$' -bench Soak -benchtime 1x -timeout 0 ./test/soak

soak-fleet: build ## a collector of three monitors at 5,000 messages a second for ten minutes, with gates; IPFSMON_BENCH_TIME=1m
	$(TEST) -tags soak -run '^$$' -bench Fleet -benchtime 1x -timeout 0 ./test/soak

BENCH_INFLUX ?=
bench-influx: build programs ## delivery to InfluxDB against its own client, with gates; BENCH_INFLUX=-short
	$(GO) run ./bench/influx -bin $(BIN) $(BENCH_INFLUX); code=$$?; \
	$(if $(findstring -short,$(BENCH_INFLUX)),IPFSMON_BENCH_TIME=30s) \
	  $(TEST) -tags soak -run '^$$' -bench Sustained -benchtime 1x -timeout 40m ./test/soak && exit $$code

bench-queries: build ## every query of the dashboards and every question over seven days; fails when a gate is missed; BENCH_QUERIES="-rate 50 -history 168h"
	$(GO) run ./bench/queries -bin $(BIN) $(BENCH_QUERIES)

bench-proxy: ## the proxy's cost against a direct connection; fails when a gate is missed; BENCH_PROXY="-rounds 3 -mib 32", -apart: on its own core
	$(GO) run ./bench/proxy $(BENCH_PROXY)

bench-capture: build ## the cost of capture relative to Bitswap; fails when a gate is missed
	$(GO) test -run '^$$' -bench 'Capture|Hostile|Sample' -benchtime 1x ./capture
	$(TEST) -tags soak -run '^$$' -bench EndToEnd -benchtime 1x -timeout 30m ./test/soak

bench-peers: build ## what a monitor costs a node with 1,000, 3,000 and 5,000 real peers; fails when a gate is missed; IPFSMON_BENCH_PEERS=1000
	$(TEST) -tags soak -run '^$$' -bench Peers -benchtime 1x -timeout 60m ./test/soak

bench-watch: build ## a light node against a monitored kubo with 1,000, 5,000 and 10,000 real peers; fails when a gate is missed; IPFSMON_BENCH_PEERS=1000
	$(TEST) -tags soak -run '^$$' -bench Watch -benchtime 1x -timeout 90m ./test/soak

bin/archive/node_modules: test/programs/duckdb/package.json test/programs/duckdb/package-lock.json
	mkdir -p bin/archive && cp test/programs/duckdb/* bin/archive/
	cd bin/archive && npm ci --no-audit --no-fund && touch node_modules

bench-archive: bin/archive/node_modules ## Parquet against recordings and line protocol: bytes, speed, DuckDB's answers; fails when a gate is missed; BENCH_ARCHIVE="-entries 1000000"
	$(GO) run ./bench/archive -duckdb $(abspath bin/archive) $(BENCH_ARCHIVE)

bench-probe: ## the cost of watching a lookup; fails above 5 %
	$(GO) test ./probe/lab -run '^$$' -bench Overhead -benchtime 1x

MUTATE ?= bus event capture derive privacy influx/schema influx/lineproto influx/client influx/query influx/delivery internal/spool stream httpapi introspect introspect/nodestate monitor proxy proxy/wire fleet/unify fleet/size
mutate: ## mutation tests: whether our tests notice single faults; takes hours; MUTATE="bus event" for some packages
	GO='$(GO)' ./test/mutate.sh $(MUTATE)

FUZZ     ?= ./...
FUZZTIME ?= 30s
# Inputs that earlier runs found to reach other code; go test begins with them and adds its own.
CORPUS   = $(shell $(GO) env GOCACHE)/fuzz/$(shell $(GO) list -m)
fuzz: ## every fuzz target for 30 s; FUZZ="./capture ./event" for some packages, FUZZTIME=10m
	@mkdir -p $(CORPUS) && tar -C $(CORPUS) -xzf test/corpus.tar.gz
	@for p in $$($(GO) list $(FUZZ)); do for f in $$($(GO) test -list '^Fuzz' $$p | grep ^Fuzz); do \
	  echo "== $$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$p || exit 1; done; done

corpus: ## keep what fuzz targets have found worth trying in test/corpus.tar.gz
	tar -C $(CORPUS) --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - . | gzip -9n > test/corpus.tar.gz

lint: ## gofmt, vet, staticcheck, modules tidy and verified, imports, documents and words
	@files=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$files" ] || { echo "gofmt: $$files"; exit 1; }
	$(GO) vet -tags all ./...
	$(GO) run $(STATICCHECK) -tags all ./...
	$(GO) mod tidy -diff
	$(GO) mod verify
	$(GO) test ./test/repository

vulncheck: ## known vulnerabilities in code that the program calls; asks vuln.go.dev
	$(GO) run $(GOVULNCHECK) ./...

generate: ## everything generated from the code: documents of settings, schema, queries and metrics, dashboards, protobuf, the page's schema
	$(GO) generate ./...

check-generated: ## check that make generate changes nothing
	@state() { git status --porcelain; git diff; }; before=$$(state | sha256sum); $(MAKE) --no-print-directory generate || exit 1; \
	[ "$$(state | sha256sum)" = "$$before" ] || { git status --short; echo "make generate has changed files: commit them with what they are made from"; exit 1; }

plugin: ## build bin/ipfsmon.so for a stock ipfs of the same kubo, Go and modules
	$(GO) build -buildmode=plugin -ldflags '$(LDFLAGS)' -o bin/ipfsmon.so ./cmd/plugin
	chmod 0755 bin/ipfsmon.so

# Built as in docker/Dockerfile: the same sources and Go produce the same bytes.
PREFIX ?= /usr/local
DESTDIR ?=
ZSH     ?= share/zsh/site-functions
# The program that is installed, and one that runs here and prints the manual and the completions.
PROGRAM ?= $(BIN)
RUNS    ?= $(PROGRAM)
$(BIN):
	$(MAKE) --no-print-directory build

install: | $(BIN) ## install bin/ipfsmon, manual, completions, documents and the systemd unit; PREFIX=/usr/local DESTDIR=
	@set -e; to='$(DESTDIR)$(PREFIX)'; umask 022; \
	  install -D -m 0755 $(PROGRAM) "$$to/bin/ipfsmon"; \
	  $(RUNS) man "$$to/share/man/man1"; \
	  mkdir -p "$$to/share/bash-completion/completions" "$$to/$(ZSH)" "$$to/share/fish/vendor_completions.d"; \
	  $(RUNS) completion bash > "$$to/share/bash-completion/completions/ipfsmon"; \
	  $(RUNS) completion zsh > "$$to/$(ZSH)/_ipfsmon"; \
	  $(RUNS) completion fish > "$$to/share/fish/vendor_completions.d/ipfsmon.fish"; \
	  mkdir -p "$$to/share/doc/ipfsmon" "$$to/lib/systemd/system"; \
	  cp -R $(RELEASE_DOCS) "$$to/share/doc/ipfsmon/"; \
	  sed 's|/usr/bin/|$(PREFIX)/bin/|' packaging/ipfsmon.service > "$$to/lib/systemd/system/ipfsmon.service"; \
	  echo "installed ipfsmon $(VERSION) in $$to"

uninstall: ## remove what make install has put in place; PREFIX=/usr/local DESTDIR=
	@to='$(DESTDIR)$(PREFIX)'; rm -rf "$$to/share/doc/ipfsmon" "$$to/bin/ipfsmon" "$$to/share/man/man1/ipfsmon.1" "$$to"/share/man/man1/ipfsmon-*.1 \
	  "$$to/share/bash-completion/completions/ipfsmon" "$$to/$(ZSH)/_ipfsmon" "$$to/share/fish/vendor_completions.d/ipfsmon.fish" "$$to/lib/systemd/system/ipfsmon.service"

# nfpm writes $(OUT)/ipfsmon_VERSION_ARCH.deb and the .rpm of a program for linux.
OUT  ?= bin/release
ARCH ?= $(shell $(GO) env GOARCH)
packages: | $(BIN) ## the .deb and the .rpm of bin/ipfsmon in bin/release
	@set -e; mkdir -p $(OUT); stage=$$(mktemp -d); trap 'rm -rf "$$stage"' EXIT; \
	  for kind in deb:share/zsh/vendor-completions rpm:share/zsh/site-functions; do \
	    $(MAKE) --no-print-directory -s install DESTDIR="$$stage/$${kind%%:*}" PREFIX=/usr ZSH=$${kind#*:} PROGRAM=$(PROGRAM) RUNS=$(RUNS) VERSION='$(VERSION)' >/dev/null; \
	    STAGE="$$stage/$${kind%%:*}" ARCH=$(ARCH) VERSION='$(VERSION)' $(GO) run $(NFPM) package -f packaging/nfpm.yaml -p $${kind%%:*} -t $(OUT); done

RELEASE      ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64
RELEASE_DOCS := README.md CHANGELOG.md SECURITY.md LICENSE dashboards.json docs
RELEASE_DIR  ?= bin/release
export SOURCE_DATE_EPOCH ?= $(or $(shell git log -1 --format=%ct 2>/dev/null),0)
release: ## a dry run of a release in bin/release: archives, packages, SBOMs, checksums; publishes nothing; RELEASE=linux/amd64 for one system
	VERSION='$(VERSION)' COMMIT='$(COMMIT)' LDFLAGS='$(LDFLAGS)' DOCS='$(RELEASE_DOCS)' SBOM='$(SBOM)' GO='$(GO)' packaging/release.sh $(RELEASE_DIR) $(RELEASE)

check-release: ## make one system's release here and in a copy of the last commit elsewhere, and compare, byte by byte; RELEASE=linux/amd64
	rm -rf bin/copy && mkdir -p bin/copy && git archive HEAD | tar -x -C bin/copy
	$(MAKE) --no-print-directory -C bin/copy release RELEASE='$(firstword $(RELEASE))' VERSION='$(VERSION)' COMMIT='$(COMMIT)' SOURCE_DATE_EPOCH='$(SOURCE_DATE_EPOCH)'
	$(MAKE) --no-print-directory release RELEASE='$(firstword $(RELEASE))'
	diff bin/copy/bin/release/SHA256SUMS bin/release/SHA256SUMS && rm -r bin/copy && echo "both releases are the same"

# The image's name is the chart's.
IMAGE      = $(shell sed -n 's/^  repository: //p' docker/helm/ipfsmon/values.yaml)
PLATFORMS ?= linux/amd64,linux/arm64
image: ## build the container image for linux/amd64 and linux/arm64 with buildx; PLATFORMS=linux/amd64
	docker buildx build -f docker/Dockerfile --platform $(PLATFORMS) --build-arg VERSION='$(VERSION)' --build-arg COMMIT='$(COMMIT)' -t $(IMAGE):$(subst +,-,$(VERSION)) .

KUBO ?=
kubo: ## try another kubo in a copy under bin/kubo: build, quick tests; KUBO=v0.43.0, or KUBO=github.com/someone/kubo@v0.44.0 for a fork
	@[ -n "$(KUBO)" ] || { echo 'name the version: make kubo KUBO=v0.43.0'; exit 2; }
	$(GO) run ./test/otherkubo -dir bin/kubo $(KUBO)

clean: ## remove build results
	rm -rf bin
