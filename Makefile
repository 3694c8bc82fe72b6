# Every target sets up what it needs: a virtual environment with the five packages, editable, and the test tools.
# PYTHON=python3.13 selects another interpreter, VENV another folder. ARGS goes to pytest, after our own options:
# make test ARGS='-n0 -k codec -x'

VENV ?= .venv
ARGS ?=
DEV_GROUPS ?= dev checkers
ifeq ($(OS),Windows_NT)  # needs the sh of Git for Windows on PATH
PYTHON ?= python
BIN := $(VENV)/Scripts
else
PYTHON ?= python3
BIN := $(VENV)/bin
endif
MEMBERS := packages/rabibridge-core packages/rabibridge-telemetry packages/rabibridge-rabbitmq packages/rabibridge-redis \
	packages/rabibridge-testing
STAMP := $(VENV)/.installed
# What only tests need, which takes a while to install.
TESTS_STAMP := $(VENV)/.installed-environments
# Several processes, each with nodes of its own. They take whole files in the order of the folders: the longest come first.
PYTEST := $(BIN)/python -m pytest -p no:benchmark -n auto --dist loadfile --no-loadscope-reorder
UNIT := tests/unit tests/conformance tests/packaging/test_imports.py tests/packaging/test_repository.py tests/tools

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
# Where it is set, as in many containers, each of the thousands of processes of the tests compiles all packages anew.
unexport PYTHONDONTWRITEBYTECODE

# Runs the tests in another virtual environment, $(1), and says what they ran on; $(2): further variables for make.
test-in = $(MAKE) --no-print-directory pytest VENV=$(1) $(2); status=$$?; \
	$(1)/$(notdir $(BIN))/python -m tools.ran_on; exit $$status

.DEFAULT_GOAL := help
.PHONY: help install demo test check format pytest unit test-latest test-lowest test-rabbitmq4 test-pytest-asyncio chaos soak stream-memory
.PHONY: bench compare compare-sync compare-streams compare-redis compare-protection compare-tracing bench-check overload adaptive fairness scaling broker build clean docs

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

$(STAMP): pyproject.toml tools/dev_requirements.py $(MEMBERS:%=%/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=...")'
	@echo "Setting up $(VENV) ..."
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python tools/dev_requirements.py $(DEV_GROUPS) > $(VENV)/dev-requirements.txt
	@$(BIN)/python -m pip install --quiet -r $(VENV)/dev-requirements.txt $(MEMBERS:%=-e %)
	@touch $@

$(TESTS_STAMP): $(STAMP)
	@$(BIN)/python tools/dev_requirements.py environments > $(VENV)/environment-requirements.txt
	@$(BIN)/python -m pip install --quiet -r $(VENV)/environment-requirements.txt
	@touch $@

install: $(TESTS_STAMP)  ## Create the virtual environment

demo: $(STAMP)  ## Run a RabbitMQ, a server and a client, and show their calls; ARGS=redis: over Redis
	@$(BIN)/python -m tools.demo $(ARGS)

test: export TYPES_CHECKED := 1
test: check pytest  ## Everything that must pass: make check, then the tests

check: $(TESTS_STAMP)  ## Lint, also for security, format check, types, layers, known vulnerabilities
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	@$(MAKE) --no-print-directory -j2 -k check-mypy check-pyright check-layers check-audit

# Two at once: each of the first two takes a minute or more, on one core.
.PHONY: check-mypy check-pyright check-layers check-audit
check-mypy:
	$(BIN)/mypy

check-pyright:
	$(BIN)/pyright --pythonpath $(BIN)/python

check-layers:
	$(BIN)/lint-imports --no-cache

check-audit:
	$(BIN)/python -m tools.audit

format: $(STAMP)  ## Format the code and apply ruff's fixes
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

pytest: $(TESTS_STAMP)  ## Only the tests; ARGS='...' is passed to pytest
	@$(BIN)/python -m tools.broker --install --check || test -z "$$CI"
	@$(BIN)/python -m tools.chromium --install || test -z "$$CI"
	@$(BIN)/python -m tools.prometheus --install || test -z "$$CI"
	@$(BIN)/python -m tools.redis_server --install --check || test -z "$$CI"
	$(PYTEST) $(ARGS)

unit: $(TESTS_STAMP)  ## The tests that need no RabbitMQ, in about two minutes; ARGS='...' is passed to pytest
	$(PYTEST) $(UNIT) -m 'not rabbitmq' $(ARGS)

test-latest:  ## The tests on the newest Python, 3.14 or later where it can be had; LATEST=3.15 asks for that one
	@newest=$$($(PYTHON) -m tools.newest_python $(LATEST)) || exit 1; \
	$(call test-in,.venv-$$(basename $$newest),PYTHON=$$newest)

test-lowest:  ## The tests with the lowest versions of the dependencies, on Python 3.11 if it is installed
	@mkdir -p .venv-lowest && $(PYTHON) tools/lowest_requirements.py > .venv-lowest/wanted.txt
	@cmp -s .venv-lowest/wanted.txt .venv-lowest/constraints.txt || rm -f .venv-lowest/.installed*
	@mv .venv-lowest/wanted.txt .venv-lowest/constraints.txt
	@oldest=$$(python3.11 -c 'import sys; print(sys.executable)' 2> /dev/null || echo $(PYTHON)); \
	PIP_CONSTRAINT=$(CURDIR)/.venv-lowest/constraints.txt \
	$(MAKE) --no-print-directory install PYTHON=$$oldest VENV=.venv-lowest DEV_GROUPS=dev
	@$(call test-in,.venv-lowest,DEV_GROUPS=dev)

test-rabbitmq4: $(TESTS_STAMP)  ## The tests of the transport on the newest RabbitMQ; SUITE=trixie, STRICT=1
	@$(BIN)/python -m tools.rabbitmq4 $(if $(SUITE),--suite $(SUITE)) $(if $(STRICT),--strict) $(ARGS)

test-pytest-asyncio: $(TESTS_STAMP)  ## The sample project with several versions of pytest-asyncio; ARGS='1.1.0' for one
	@$(BIN)/python -m tools.pytest_asyncio $(ARGS)

.PHONY: test-valkey
test-valkey: $(TESTS_STAMP)  ## The tests of the Redis transport on Valkey; ARGS='...' is passed to pytest
	@$(BIN)/python -m tools.valkey $(ARGS)

chaos: $(TESTS_STAMP)  ## Only the fault tests; ARGS='...' is passed to pytest
	@$(BIN)/python -m tools.broker --install --check || test -z "$$CI"
	CHAOS_FULL=1 $(PYTEST) tests/chaos $(ARGS)

soak: $(STAMP)  ## Random faults for ten minutes, then throughput and memory; longer, with a seed: ARGS='3600 --seed 7'
	@CHAOS_FULL=1 $(BIN)/python -m tools.soak $(ARGS)

.PHONY: soak-rabbitmq4
soak-rabbitmq4: $(STAMP)  ## The same on the newest RabbitMQ; SUITE=trixie, STRICT=1
	@CHAOS_FULL=1 $(BIN)/python -m tools.rabbitmq4 $(if $(SUITE),--suite $(SUITE)) $(if $(STRICT),--strict) soak $(ARGS)

stream-memory: $(STAMP)  ## Stream 1 GiB in four ways, with 32 MiB for each side; ARGS='64 random' for less
	@$(BIN)/python -m tools.stream_memory $(ARGS)

bench: $(STAMP)  ## Measure the parts; `make compare` measures whole calls, against other libraries
	@$(BIN)/python -m tools.broker --install --check || test -z "$$CI"
	$(BIN)/python -m pytest benchmarks $(ARGS)

compare: $(STAMP)  ## Measure against other libraries; writes docs/performance.md; a quarter of an hour
	@$(BIN)/python -m benchmarks.compare $(ARGS)

compare-sync: $(STAMP)  ## Measure synchronous callers alone, against nameko, Celery and kombu; two minutes
	@$(BIN)/python -m benchmarks.synchronous $(ARGS)

compare-streams: $(STAMP)  ## Measure streams alone, against grpc.aio and nats-py; a minute
	@$(BIN)/python -m benchmarks.streams $(ARGS)

compare-redis: $(STAMP)  ## Measure calls over Redis alone, against Celery, arq, taskiq-redis and RabbitMQ; two minutes
	@$(BIN)/python -m tools.redis_server --install --check
	@$(BIN)/python -m benchmarks.compare_redis $(ARGS)

compare-protection: $(STAMP)  ## Measure what users in requests, signatures and encryption cost; a minute
	@$(BIN)/python -m benchmarks.protection $(ARGS)

.PHONY: compare-metrics
compare-metrics: $(STAMP)  ## Measure what metrics cost: calls and scrapes; a minute
	@$(BIN)/python -m benchmarks.metrics $(ARGS)

compare-tracing: $(STAMP)  ## Measure what traces and metrics by OpenTelemetry cost; a minute
	@$(BIN)/python -m benchmarks.tracing $(ARGS)

bench-check: $(STAMP)  ## Fail if the ratios recorded by `make compare` have dropped
	@$(BIN)/python -m benchmarks.check $(ARGS)

overload: $(STAMP)  ## Load a service with up to twenty times its capacity, against other libraries; thirteen minutes
	@$(BIN)/python -m tools.broker --install --check
	@$(BIN)/python -m benchmarks.overload $(ARGS)

.PHONY: hedging
hedging: $(STAMP)  ## Measure second copies of slow calls, with a worker that stands still now and then; seven minutes
	@$(BIN)/python -m tools.broker --install --check
	@$(BIN)/python -m benchmarks.hedging $(ARGS)

fairness: $(STAMP)  ## Load a service with one greedy and nine modest callers; two minutes
	@$(BIN)/python -m tools.broker --install --check
	@$(BIN)/python -m benchmarks.fairness $(ARGS)

adaptive: $(STAMP)  ## Measure fetch_size="auto" with a backend that changes; writes its part of docs/overload.md; five minutes
	@$(BIN)/python -m tools.broker --install --check
	@$(BIN)/python -m benchmarks.adaptive $(ARGS)

scaling: $(STAMP)  ## Measure throughput against processes, queues and nodes; writes docs/scaling.md
	@$(BIN)/python -m tools.broker --install --check
	@$(BIN)/python -m benchmarks.scaling $(ARGS)

.PHONY: shards
shards: $(STAMP)  ## Calls over three brokers, one of them cut off, another one killed; as root; a minute
	@$(BIN)/python -m tools.broker --install --check
	@$(BIN)/python -m benchmarks.shards $(ARGS)

.PHONY: soak-sync
soak-sync: $(STAMP)  ## The synchronous client: 1,000 forks, 100,000 timeouts that race with replies; two minutes
	@$(BIN)/python -m tools.broker --install --check
	SYNC_FORKS=1000 SYNC_RACES=100000 $(BIN)/python -m pytest -p no:benchmark -n0 --timeout 3600 -v --durations=0 \
		tests/rabbitmq/test_sync_races.py tests/rabbitmq/test_sync_forks.py -k 'races or many_forks or beside' $(ARGS)

.PHONY: soak-streams
soak-streams: $(STAMP)  ## Streams and child processes in full sizes: 10,000 left, 100,000 cancelled; hours
	@$(BIN)/python -m tools.broker --install --check
	STREAMS_ABANDONED=10000 STREAMS_CANCELLED=100000 STREAM_ITEMS=1000000 CHILD_BACKLOG=100 CHILD_CALLS=10000 \
		$(BIN)/python -m pytest -p no:benchmark -n0 --timeout 14400 -v -rP --durations=0 \
		tests/rabbitmq/test_stream_sizes.py tests/unit/test_process_calls.py tests/unit/test_process_crashes.py \
		-k 'left_with or swallow or in_flight or middle or recycling' $(ARGS)

.PHONY: soak-transport
soak-transport: $(STAMP)  ## What RabbitMQ keeps: 10,000 messages of garbage, and 200 reloads of services
	@$(BIN)/python -m tools.broker --install --check
	GARBAGE=10000 HOT_RELOADS=200 $(BIN)/python -m pytest -p no:benchmark -n0 --timeout 3600 -v --durations=0 \
		tests/rabbitmq/test_dead_letters.py tests/rabbitmq/test_hot_reload.py -k 'garbage or reloads' $(ARGS)

.PHONY: soak-control
soak-control: $(STAMP)  ## What workers are asked about themselves: 10,000 pings, 1,000 askers that are cut off
	@$(BIN)/python -m tools.broker --install --check
	CONTROL_PINGS=10000 CONTROL_ASKERS=1000 $(BIN)/python -m pytest -p no:benchmark -n0 --timeout 14400 -v --durations=0 \
		tests/rabbitmq/test_introspection.py -k 'ping or askers' $(ARGS)

.PHONY: differential
differential: $(STAMP)  ## The broker in memory beside RabbitMQ and Redis, in 2,000 random sequences each; half an hour
	@$(BIN)/python -m tools.broker --install --check
	@$(BIN)/python -m tools.redis_server --install --check
	DIFFERENTIAL_SEQUENCES=$${DIFFERENTIAL_SEQUENCES:-2000} DIFFERENTIAL_SEED=$${DIFFERENTIAL_SEED:-$$(date +%s)} $(BIN)/python -m pytest -p no:benchmark -n0 -s -v tests/differential $(ARGS)

.PHONY: simulate
simulate: $(STAMP)  ## Random calls and faults in virtual time, over all cores: SEEDS=100000, FIRST=; BROKER=amqp: down to the bytes
	@$(BIN)/python -m tests.simulation --seeds $${SEEDS:-2000} --first $${FIRST:-0} --broker $${BROKER:-memory} $(ARGS)

.PHONY: simulate-planted
simulate-planted: $(STAMP)  ## Plant known mistakes into the engines, and see that the simulator finds each of them; BROKER=amqp
	@$(BIN)/python -m tests.simulation --planted --seeds $${SEEDS:-2000} --broker $${BROKER:-memory} $(ARGS)

.PHONY: simulate-cases
simulate-cases: $(STAMP)  ## Find the situations of kept simulations again, after a change of the engines
	@$(BIN)/python -m tests.simulation.renew

.PHONY: mutants
mutants: $(STAMP)  ## Change the engines in small ways, and see what notices it: ARGS="_client.resend --number 20"; hours without
	@$(BIN)/python -m tools.mutation $(ARGS)

.PHONY: soak-metrics
soak-metrics: $(STAMP)  ## Metrics while 1,000 workers are replaced under load; an hour or more
	@$(BIN)/python -m tools.broker --install --check
	METRICS_RECYCLES=1000 $(BIN)/python -m pytest -p no:benchmark -n0 --timeout 14400 -v -rP --durations=0 \
		tests/workers/test_metrics.py -k recycled $(ARGS)

.PHONY: reload-load
reload-load: $(STAMP)  ## Replace workers ten times under 500 calls/s, none may fail; ARGS='--reloads 100' for more
	@$(BIN)/python -m tools.broker --install --check
	@$(BIN)/python -m tools.reload_load $(ARGS)

broker: $(STAMP)  ## Start a RabbitMQ, print its URL, run until Ctrl-C
	@$(BIN)/python -m tools.broker --install

.PHONY: readme-picture
readme-picture: $(TESTS_STAMP)  ## Record the terminals of README.md anew: docs/assets/terminal.svg
	@$(BIN)/python -m tools.terminal_picture

docs: $(TESTS_STAMP)  ## Build the documentation site into build/site, strictly: a dead link ends it
	@$(BIN)/python -m tools.site.build

build: $(STAMP)  ## Build wheels and source distributions into dist/, with SHA256SUMS and a CycloneDX SBOM
	@rm -rf dist
	@for member in $(MEMBERS); do (cd $$member && $(abspath $(BIN))/python -m hatchling build -d $(CURDIR)/dist) || exit 1; done
	@$(BIN)/python -m tools.sbom dist

.PHONY: check-build
check-build: $(STAMP)  ## Try what `make build` made: PyPI renders it, and each wheel works alone in an empty environment
	@$(BIN)/python -m tools.built dist

clean:  ## Remove everything that make has created
	rm -rf .venv .venv-* .debian .librabbitmq dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
