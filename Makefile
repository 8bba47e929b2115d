# Two commands matter: `make run` and `make test`. Each makes what it needs on a fresh machine
# that has Python 3.11 or newer; nothing is installed outside of .venv, save the servers that the
# tests start (see .ci/need).

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet
REL ?= observatory.rel
WORKERS ?= 4
PYTEST_ARGS ?=
BENCH_ARGS ?=

.PHONY: help run test check lint types bench soak fmt clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

# `exec` leaves no shell in between: a signal to make reaches the container, which drains.
run: $(VENV)/run.stamp ## start a container that does something to see
	@exec $(BIN)/ioncc $(REL)

# Types are checked beside the first tests: that keeps one core busy for the better part of a minute.
test: lint ## check, and run every test on real servers that the tests start themselves
	@.ci/need rabbitmq redis postgresql librabbitmq cc
	@status=0; $(BIN)/mypy >$(VENV)/types.out 2>&1 & types=$$!; \
	.ci/tests $(BIN)/python $(WORKERS) $(PYTEST_ARGS) || status=$$?; \
	wait $$types || status=1; cat $(VENV)/types.out; exit $$status

check: lint types ## lint, format and types

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev.stamp
	$(BIN)/mypy

bench: $(VENV)/dev.stamp ## measure ION and its peers in one run; writes the tables of the docs
	@.ci/need rabbitmq redis postgresql librabbitmq cc
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

soak: $(VENV)/dev.stamp ## a million calls must leave nothing behind; the fault journeys, the long way
	@.ci/need rabbitmq
	$(BIN)/python -m benchmarks.soak $(BENCH_ARGS)
	ION_SOAK=1 $(BIN)/python -m pytest tests/journeys/faults tests/journeys/test_failover_kills.py \
		--deselect tests/journeys/faults/test_t8_leaks.py $(PYTEST_ARGS)

fmt: $(VENV)/dev.stamp ## format, and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove what was built, the virtual environment included
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf benchmarks/build benchmarks/.venv-peers
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/run.stamp: pyproject.toml .ci/venv
	@.ci/venv $(VENV)
	$(PIP) --editable '.[shell,services]'
	@touch $@

$(VENV)/dev.stamp: pyproject.toml .ci/venv
	@.ci/venv $(VENV)
	$(PIP) --editable '.[dev]'
	@touch $(VENV)/run.stamp $@
