# The two commands are `make demo` and `make test`; each sets up first whatever is missing.

PYTHON ?= python3
VENV := .venv/bin
TOOLCHAIN := $(VENV)/python -m compose.toolchain

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long chaos lint lock clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

setup: ## fetch and build what this machine lacks, into .venv and build
	@$(PYTHON) -m compose.toolchain.bootstrap

demo: setup ## the whole system against a simulated WhatsApp; ONCE=1 runs a scenario, compares all ids and ends
	@$(VENV)/python -m compose.demo $(if $(ONCE),--once)

lint: setup-tests ## ruff, mypy, go vet, staticcheck
	$(VENV)/ruff check .
	$(VENV)/mypy
	$(TOOLCHAIN) go vet ./...
	$(TOOLCHAIN) staticcheck

test: setup-tests lint ## lint, types, and the tests of all languages
	$(TOOLCHAIN) go test ./...
	$(VENV)/pytest -m "not long" tests/unit tests/integration tests/e2e tests/chaos

test-long: setup-tests ## hours: fuzzing, outages of Kafka and whatever else stands in tests/long
	$(VENV)/pytest -m long tests/long tests/integration -s

chaos: setup ## ten minutes of kills, cuts and pauses on a stack of its own; fails if anything is lost, doubled or out of order
	$(VENV)/wharf chaos mix --minutes 10

lock: ## a maintainer's step: requirements.lock and chdb.lock anew (needs uv)
	uv pip compile pyproject.toml --group test --universal --python-version 3.11 --upgrade --generate-hashes \
	    --no-emit-index-url --no-header --quiet --output-file requirements.lock
	echo chdb-core | uv pip compile - --no-deps --universal --python-version 3.11 --upgrade --generate-hashes \
	    --no-emit-index-url --no-header --no-annotate --quiet --output-file compose/toolchain/chdb.lock

clean: ## remove what was built (not .venv, not data)
	rm -rf build

.PHONY: setup-tests
setup-tests:
	@$(PYTHON) -m compose.toolchain.bootstrap --tests
