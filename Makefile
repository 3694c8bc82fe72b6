# Everything sets itself up: a virtual environment, then the three packages, editable, with what the tests need.
# PYTHON=python3.13 chooses another interpreter, VENV another folder, ARGS goes to pytest: make test ARGS='-k lane -x'

VENV ?= .venv
ARGS ?=
ifeq ($(OS),Windows_NT)  # needs the sh of Git for Windows on PATH
PYTHON ?= python
BIN := $(VENV)/Scripts
else
PYTHON ?= python3
BIN := $(VENV)/bin
endif
MEMBERS := packages/rabibridge-core packages/rabibridge-rabbitmq packages/rabibridge-testing
STAMP := $(VENV)/.installed

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

# Runs the tests in another virtual environment, $(1), and says what they ran on; $(2): further variables for make.
test-in = $(MAKE) --no-print-directory pytest VENV=$(1) $(2); status=$$?; \
	$(1)/$(notdir $(BIN))/python -m tools.ran_on; exit $$status

.DEFAULT_GOAL := help
.PHONY: help install demo test check format pytest test-latest test-lowest test-rabbitmq4 chaos soak
.PHONY: bench compare bench-check overload scaling broker build clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

$(STAMP): pyproject.toml tools/dev_requirements.py $(MEMBERS:%=%/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=...")'
	@echo "Setting up $(VENV) ..."
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python tools/dev_requirements.py > $(VENV)/dev-requirements.txt
	@$(BIN)/python -m pip install --quiet -r $(VENV)/dev-requirements.txt $(MEMBERS:%=-e %)
	@touch $@

install: $(STAMP)  ## Make the virtual environment

demo: $(STAMP)  ## Start a RabbitMQ, a server and a client, and watch them talk
	@$(BIN)/python -m tools.demo

test: check pytest  ## Everything that must pass: make check, then the tests

check: $(STAMP)  ## Lint, format check, types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(STAMP)  ## Format the code and mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

pytest: $(STAMP)  ## Only the tests; ARGS='...' are handed to pytest
	@$(BIN)/python -m tools.broker --install --check || test -z "$$CI"
	$(BIN)/python -m pytest $(ARGS)

test-latest:  ## The tests on the newest Python, 3.14 or later where it can be had; LATEST=3.15 asks for that one
	@newest=$$($(PYTHON) -m tools.newest_python $(LATEST)) || exit 1; \
	$(call test-in,.venv-$$(basename $$newest),PYTHON=$$newest)

test-lowest:  ## The tests with the lowest versions of the dependencies, on Python 3.11 if it is installed
	@mkdir -p .venv-lowest && $(PYTHON) tools/lowest_requirements.py > .venv-lowest/constraints.txt
	@oldest=$$(python3.11 -c 'import sys; print(sys.executable)' 2> /dev/null || echo $(PYTHON)); \
	PIP_CONSTRAINT=$(CURDIR)/.venv-lowest/constraints.txt \
	$(MAKE) --no-print-directory install PYTHON=$$oldest VENV=.venv-lowest
	@$(call test-in,.venv-lowest,)

test-rabbitmq4: $(STAMP)  ## The tests of the transport on the newest RabbitMQ; SUITE=trixie, STRICT=1
	@$(BIN)/python -m tools.rabbitmq4 $(if $(SUITE),--suite $(SUITE)) $(if $(STRICT),--strict) $(ARGS)

chaos: $(STAMP)  ## Only the tests that kill, freeze and cut; ARGS='...' are handed to pytest
	@$(BIN)/python -m tools.broker --install --check || test -z "$$CI"
	$(BIN)/python -m pytest tests/chaos $(ARGS)

soak: $(STAMP)  ## Faults at random for ten minutes, or for longer and again: ARGS='3600 --seed 7'
	@$(BIN)/python -m tools.soak $(ARGS)

bench: $(STAMP)  ## Measure the parts; `make compare` measures the whole, beside other libraries
	@$(BIN)/python -m tools.broker --install --check || test -z "$$CI"
	$(BIN)/python -m pytest benchmarks $(ARGS)

compare: $(STAMP)  ## Measure beside other libraries, into docs/performance.md; a quarter of an hour
	@$(BIN)/python -m benchmarks.compare $(ARGS)

bench-check: $(STAMP)  ## Fail if we have fallen behind the ratios that `make compare` has recorded
	@$(BIN)/python -m benchmarks.check $(ARGS)

overload: $(STAMP)  ## Offer a service up to twenty times what it can do, side by side with other libraries: eleven minutes
	@$(BIN)/python -m tools.broker --install --check
	@$(BIN)/python -m benchmarks.overload $(ARGS)

scaling: $(STAMP)  ## Measure throughput against processes, queues and nodes; writes docs/scaling.md
	@$(BIN)/python -m tools.broker --install --check
	@$(BIN)/python -m benchmarks.scaling $(ARGS)

broker: $(STAMP)  ## Start a RabbitMQ, print its URL, keep it until Ctrl-C
	@$(BIN)/python -m tools.broker --install

build: $(STAMP)  ## Build wheels and source distributions into dist/
	@for member in $(MEMBERS); do (cd $$member && $(abspath $(BIN))/python -m hatchling build -d $(CURDIR)/dist) || exit 1; done

clean:  ## Remove everything that make has made
	rm -rf .venv .venv-* .debian .librabbitmq dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
