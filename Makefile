# nephos: what a person or CI types. `make help` lists it.
SHELL := /bin/bash
export PATH := $(PATH):/usr/local/go/bin:/usr/sbin:/sbin
export CGO_ENABLED ?= 0

VERSION := $(shell git describe --always --dirty --tags 2>/dev/null || echo unknown)
GUEST   := guest/out/nephos-guest.qcow2

.PHONY: help build guest demo demo-down test unit race sim chaos build-chaos soak e2e bench lint install-deps install-deps-demo clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

build: ## bin/nephos
	go build -trimpath -buildvcs=false -ldflags "-s -w -X nephos/internal/app.Version=$(VERSION)" -o bin/nephos ./cmd/nephos

guest: $(GUEST) ## the demo image, guest/out/nephos-guest.qcow2

$(GUEST): guest/build.sh guest/packages.txt $(shell find guest/rootfs guest/initramfs -type f)
	guest/build.sh
	@touch $@

demo: install-deps-demo ## a cloud, a real server in it, and a log-in to it, from nothing
	@$(MAKE) --no-print-directory build guest
	@scripts/demo.sh up

demo-down: ## ends the demo and takes away everything it made
	@scripts/demo.sh down

test: install-deps ## everything: what is missing, lint, unit tests with the race detector, and the real thing from outside
	@$(MAKE) --no-print-directory lint build guest
	@$(MAKE) --no-print-directory race
	@$(MAKE) --no-print-directory sim
	@$(MAKE) --no-print-directory e2e
	@$(MAKE) --no-print-directory chaos

unit: ## quick tests; need no root
	go test ./...

race: ## the same with the race detector, and QEMU; as root also namespaces
	NEPHOS_REAL=1 CGO_ENABLED=1 go test -race -p 2 -timeout 15m ./...

e2e: build guest ## the built binary from outside, with real clients and real guests; needs root
	@scripts/e2e.sh

sim: ## 200 simulated histories: lost and doubled messages, dying hosts and controllers
	go test ./test/sim -run '^TestSeeds$$' -count 1 -timeout 20m -v -seeds 200

build-chaos: ## bin/nephos-chaos: the binary with fault points
	go build -trimpath -buildvcs=false -pgo=off -tags faultpoints -o bin/nephos-chaos ./cmd/nephos

chaos: build-chaos guest ## kills every process at the points of every workflow: the share of a few minutes; needs root
	@scripts/chaos.sh

soak: build-chaos guest ## the long proofs: every cell of the crash matrix, 10,000 histories; an hour and a half
	NEPHOS_CHAOS_LONG=1 NEPHOS_CHAOS_TIMEOUT=12h scripts/chaos.sh
	go test ./test/sim -run '^TestSeeds$$' -count 1 -timeout 12h -v -seeds $${SEEDS:-10000} -first $${FIRST:-1}

bench: build guest ## figures of this machine
	go run ./test/bench

lint: ## gofmt, go vet, shell syntax
	@bad=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$bad" ] || { echo "gofmt -w is wanted on:"; echo "$$bad"; exit 1; }
	go vet -trimpath ./...
	@for f in $$(git ls-files '*.sh' .ci/run); do bash -n $$f || exit 1; done

install-deps: ## Debian packages that are missing
	@scripts/install-deps.sh build run test

install-deps-demo:
	@scripts/install-deps.sh build run

clean: ## what make made
	rm -rf bin guest/out
