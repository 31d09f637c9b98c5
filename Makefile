# Every target installs what it needs by itself. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

BIN := .venv/bin
PYTEST_WORKERS ?= 2

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- installing ----------------------------------------------------------------------------------------------------

.PHONY: install
install: system .venv/.installed native ## install everything: Debian packages that are missing, and .venv

.PHONY: system
system:
	@tools/install.sh python mariadb native softhsm

.PHONY: native
native: system ## build the login plugin for MariaDB (without a compiler, systems run without logins by token)
	@tools/native.sh

.venv/.locked: requirements-dev.lock tools/venv.sh
	@tools/venv.sh .venv requirements-dev.lock
	@touch $@

.venv/.installed: .venv/.locked pyproject.toml
	@$(BIN)/python -m pip install -qq --no-deps --no-build-isolation --editable .
	@touch $@

.demo/.installed: requirements-demo.lock .venv/.installed
	@rm -rf .demo
	@$(BIN)/python -m pip install -qq --no-deps --no-build-isolation --require-hashes \
		--target .demo -r requirements-demo.lock
	@touch $@

.bench-venv/.locked: requirements-bench.lock tools/venv.sh
	@tools/venv.sh .bench-venv requirements-bench.lock --no-deps
	@touch $@

.oidc-venv/.locked: requirements-oidc.lock tools/venv.sh
	@tools/venv.sh .oidc-venv requirements-oidc.lock
	@touch $@

.connector-venv/.locked: requirements-connector.lock tools/venv.sh
	@tools/venv.sh .connector-venv requirements-connector.lock
	@touch $@

.fuzz/.installed: requirements-fuzz.lock .venv/.installed
	@rm -rf .fuzz
	@$(BIN)/python -m pip install -qq --no-deps --require-hashes --target .fuzz -r requirements-fuzz.lock
	@touch $@

.PHONY: bench-tools
bench-tools: .bench-venv/.locked
	@tools/install.sh wrk sysbench

# --- checking ------------------------------------------------------------------------------------------------------

.PHONY: check
check: .venv/.installed ## the quick checks: format, lint, types, import rules, unit tests (under 2 minutes)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/pytest -q -n $(PYTEST_WORKERS) -m "not live and not slow and not bench"

.PHONY: test
test: install .demo/.installed .bench-venv/.locked .oidc-venv/.locked .connector-venv/.locked ## every test, with real servers
	$(BIN)/pytest -n $(PYTEST_WORKERS) --dist loadfile -m "not bench"

.PHONY: test-faults
test-faults: install .bench-venv/.locked ## killed at every write (1,200 trials), bad disks, revocation under load, 1,000 logins
	KEYSTEAD_FAULT_TRIALS=1200 $(BIN)/pytest -s tests/faults/test_kill_vault.py
	$(BIN)/pytest tests/faults/test_damaged_state.py tests/live/test_hot_path.py
	KEYSTEAD_LOGIN_PEOPLE=1000 KEYSTEAD_LOGINS=1000 $(BIN)/pytest -s tests/live/test_many_logins.py

.PHONY: fuzz
fuzz: .venv/.installed .fuzz/.installed ## fuzz every parser of foreign bytes, FUZZ_SECONDS (60) each
	@PYTHONPATH=.fuzz:. $(BIN)/python -m tests.fuzz $(FUZZ_ARGS)
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-60} $(BIN)/pytest -q tests/native

.PHONY: format
format: .venv/.installed ## format the code and mend what can be mended by itself
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

# --- showing and measuring -----------------------------------------------------------------------------------------

.PHONY: demo
demo: install .demo/.installed ## the whole main job on real data, with proofs
	@tools/demo.sh

.PHONY: bench bench-unwrap bench-vault bench-policy bench-revoke bench-tde bench-login bench-timing
bench: bench-vault bench-policy bench-revoke bench-tde bench-login ## every benchmark; JSON lines on standard output

bench-unwrap: .venv/.installed bench-tools ## unwrap of a data key against OpenBao transit
	@$(BIN)/python -m bench.unwrap

bench-vault: .venv/.installed bench-tools ## the vault's hot path: unwrap, RSA, batches, many keys and statements
	@$(BIN)/python -m bench.vault

bench-policy: .venv/.installed ## what a decision costs, by the number of policy statements
	@$(BIN)/python -m bench.policy

bench-revoke: install ## from "disable" to process gone and restart refused; healing
	@$(BIN)/python -m bench.revoke

bench-login: install ## logins to a database with a token against a password
	@$(BIN)/python -m bench.login

bench-timing: .venv/.installed ## whether the time of a refusal tells what was wrong (Welch's t, as dudect)
	@$(BIN)/python -m bench.timing

bench-tde: install bench-tools ## sysbench on an encrypted system against plain MariaDB
	@$(BIN)/python -m bench.tde

# --- tidying -------------------------------------------------------------------------------------------------------

.PHONY: lock
lock: ## write the locks anew from pyproject.toml (uv is installed into .lock-venv)
	@test -x .lock-venv/bin/uv || { python3 -m venv .lock-venv && .lock-venv/bin/pip install --quiet uv; }
	@UV="$(CURDIR)/.lock-venv/bin/uv" tools/lock.sh $(LOCK_ARGS)

.PHONY: clean
clean: ## remove what was installed and built here (not the Debian packages)
	rm -rf .venv .bench-venv .oidc-venv .connector-venv .lock-venv .demo .fuzz tests/fuzz/findings build dist .hypothesis .schemathesis
	rm -rf src/keystead/adapters/mariadb/built
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
