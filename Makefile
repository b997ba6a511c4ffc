# The task runner. `make demo` and `make test` need Python 3.11+, make and g++, and install the rest.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check
# Leaves the bytecode of what a server imports, so that the first start is as fast as the next.
WARM   := PYTHONDONTWRITEBYTECODE= $(BIN)/python -c \
	'import headrace.api, headrace.cli.chat, headrace.cli.serve, headrace.console, headrace.engine.process, uvloop'
NATIVE := $(shell find native -type f 2>/dev/null)
LINTED := src tests models tools benchmarks

ARM_CXX := aarch64-linux-gnu-g++
ARM_RUN := $(firstword $(foreach name,qemu-aarch64 qemu-aarch64-static,$(shell command -v $(name))))

CUDA_VENV := .venv-cuda

.PHONY: demo test test-full test-cuda test-js test-arm arm-tools sanitize check fix bench clean

demo: $(VENV)/.demo  ## start the bundled model, stream one answer, stay up (ONCE=1: end after it)
	$(BIN)/headrace demo $(if $(ONCE),--once)

test: $(VENV)/.dev  ## the suite, at most 15 minutes on two cores
	$(BIN)/python -m pytest -m "not full and not gpu" $(ARGS)

test-full: $(VENV)/.dev check test-js $(VENV)/.clients  ## everything: lint, types, client packages, browser, full seeds
	$(BIN)/python -m pytest -m "not gpu" --hypothesis-profile full $(ARGS)

test-cuda: $(CUDA_VENV)/.ready  ## the cuda backend: on the GPU if there is one, else under Triton's interpreter
	$(if $(wildcard /dev/nvidia0),,TRITON_INTERPRET=1) \
	  $(CUDA_VENV)/bin/python -m pytest -m gpu -p no:cacheprovider tests/backends/test_cuda*.py $(ARGS)

test-js: ## the JavaScript clients the contract tests drive
	cd tests/contract/js && npm ci --silent --no-audit --no-fund

test-arm: arm-tools $(VENV)/.dev  ## the kernels of AArch64, with and without bf16, under an emulator
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake -S native -B build/arm -G Ninja -DHEADRACE_TESTS=ON \
	  -DHEADRACE_BINDINGS=OFF -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
	  -DCMAKE_CXX_COMPILER=$(ARM_CXX) -DCMAKE_EXE_LINKER_FLAGS=-static
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake --build build/arm
	$(ARM_RUN) -cpu max build/arm/kernels_agree neon neon_bf16
	$(ARM_RUN) -cpu cortex-a53 build/arm/kernels_agree neon

arm-tools:
	@command -v $(ARM_CXX) >/dev/null || \
	  { echo "make test-arm needs $(ARM_CXX) (Debian: g++-aarch64-linux-gnu)" >&2; exit 1; }
	@test -n "$(ARM_RUN)" || { echo "make test-arm needs qemu-aarch64 (Debian: qemu-user)" >&2; exit 1; }

sanitize: $(VENV)/.dev  ## the cpu backend's tests under AddressSanitizer, UBSan and ThreadSanitizer
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
	rm -rf $(VENV) $(CUDA_VENV) build dist

$(VENV)/.clients: $(VENV)/.dev pyproject.toml
	@echo "installing the client libraries and the browser driver that make test-full uses" >&2
	$(PIP) install --no-compile $$($(BIN)/python -c 'import tomllib; e = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; print(*e["clients"], *e["browser"])')
	touch $@

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Headrace needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

# Several GB: PyTorch with CUDA. The interpreter does not know newer NumPy's scalars.
$(CUDA_VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(CUDA_VENV)
	$(CUDA_VENV)/bin/python -m pip install --quiet --no-compile --editable ".[cuda,dev]" "numpy<2.3"
	touch $@

$(VENV)/.demo: $(BIN)/python pyproject.toml $(NATIVE)
	@echo "installing Headrace into $(VENV) (compiles the kernels; about a minute)" >&2
	$(PIP) install --no-compile --editable ".[demo]"
	$(WARM)
	touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml $(NATIVE)
	@echo "installing Headrace with its test tools into $(VENV) (about a minute)" >&2
	$(PIP) install --no-compile --config-settings=cmake.define.HEADRACE_TESTS=ON --editable ".[dev]"
	$(WARM)
	touch $@ $(VENV)/.demo
