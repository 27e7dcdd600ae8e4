# Task verbs. Each does its whole set-up on a fresh machine; a second run is quick.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Most tests wait for processes and for time: two at once leave two processors idle for two fifths
# of it, more than three make some waits too short. Such a test runs once more, and is counted.
WORKERS ?= 3

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
# Each process that a test, a benchmark or a demonstration starts would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install server demo governance examples cluster cluster-demo test test-long coverage check fix bench clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make the virtual environment with pinned versions

# pip has dependency groups since 25.1; a fresh venv may bring an older one.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[browser,mcp,postgres]' --group dev
	touch $@

server: $(INSTALLED) ## Install nats-server into movant's cache, if there is none
	$(BIN)/python -m runtime.server.binary install

demo: server ## Run the demonstration
	$(BIN)/python -m examples.civic.demo

governance: server ## Send twenty motions through seven branches, while some are away
	$(BIN)/python -m examples.governance.demo

examples: server ## Play all example workflows against their real services, and print a table
	$(BIN)/python -m examples

cluster: server ## Start three NATS servers as a cluster, for trying; Ctrl-C stops them
	$(BIN)/movant nats cluster

cluster-demo: server ## Run daemons on a cluster, kill daemon and server, show what happens
	$(BIN)/python -m examples.cluster.demo

test: server check ## Install what is needed, check, and run the tests
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadgroup --reruns 1 --durations 25 -m 'not long'

# Whole benchmarks, demonstrations and campaigns, in small. Each has a command of its own as well;
# the tests of `test` prove the same of movant's parts.
test-long: server ## Run the tests that `test` leaves out: whole benchmarks, demonstrations, campaigns
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadgroup --reruns 1 --durations 25 -m long

# Apart from `test`: what folds thousands of histories takes four to eight times as long traced.
coverage: server ## Run all tests, and tell which branches none of them takes
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadgroup --reruns 1 \
		--cov --cov-report term:skip-covered

check: $(INSTALLED) ## Format, lint, types and layers, without changing a file
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(INSTALLED) ## Format, and repair what the linter can repair
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: server ## Run the benchmarks and write docs/benchmarks
	$(BIN)/python -m benchmarks report

clean: ## Remove the environment and everything generated
	rm -rf $(VENV) build dist htmlcov .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf .import_linter_cache .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
