# The task runner. `make demo` and `make test` need Python 3.11+, make and g++, and install the rest.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check
NATIVE := $(shell find native -type f 2>/dev/null)
LINTED := src tests models tools benchmarks

.PHONY: demo test test-full test-js sanitize check fix bench clean

demo: $(VENV)/.demo  ## start the bundled model, stream one answer, stay up (ONCE=1: end after it)
	$(BIN)/headrace demo $(if $(ONCE),--once)

test: $(VENV)/.dev  ## the suite, at most 15 minutes on two cores
	$(BIN)/python -m pytest -m "not full and not gpu" $(ARGS)

test-full: $(VENV)/.dev check test-js  ## everything: lint, types, client packages, browser, full seeds
	$(BIN)/python -m pytest -m "not gpu" --hypothesis-profile full $(ARGS)

test-js: ## the JavaScript clients the contract tests drive
	cd tests/contract/js && npm ci --silent --no-audit --no-fund

sanitize: $(VENV)/.dev  ## the cpu backend's tests under AddressSanitizer, UBSan and ThreadSanitizer
	$(PIP) install cmake ninja nanobind
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tools/sanitize.py address
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tools/sanitize.py thread

check: $(VENV)/.dev  ## lint and types
	$(BIN)/ruff format --check $(LINTED)
	$(BIN)/ruff check $(LINTED)
	$(BIN)/pyright

fix: $(VENV)/.dev  ## format, and apply safe fixes
	$(BIN)/ruff format $(LINTED)
	$(BIN)/ruff check --fix $(LINTED)

bench: $(VENV)/.dev  ## list the benchmarks; each answers one question
	@ls benchmarks/bench_*.py

clean:  ## remove what was built and installed here
	rm -rf $(VENV) build dist

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Headrace needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml $(NATIVE)
	@echo "installing Headrace into $(VENV) (compiles the kernels; about a minute)" >&2
	$(PIP) install --no-compile --editable ".[demo]"
	touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml $(NATIVE)
	@echo "installing Headrace with its test tools into $(VENV) (about a minute)" >&2
	$(PIP) install --no-compile --editable ".[dev]"
	touch $@ $(VENV)/.demo
