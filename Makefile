# `make demo` and `make test` need Python 3.10+ and a C++20 compiler; they set up everything else inside this folder.
# Another Python: `make test PYTHON=python3.13 VENV=.venv-313`. What a target did is remembered in $(VENV)/.stamps and
# build/, so a second run does only what changed.

PYTHON ?= python3
VENV ?= .venv
RAY_VENV ?= .venv-ray
RAY_VERSION ?= 2.60.0
CPP_PRESET ?= debug-full
JOBS ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
PYTEST_ARGS ?=
BENCH_ARGS ?=
SOAK_ARGS ?=
LEAKS_ARGS ?=
WHEEL_ARGS ?=
FAULTS_ARGS ?=

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
WHEELS := build/wheels/$(notdir $(VENV))
CPP_BUILD := build/$(CPP_PRESET)

# Folders are listed too: their time changes when a file is removed.
PACKAGE_SOURCES := pyproject.toml CMakeLists.txt \
  $(shell find cpp src -name __pycache__ -prune -o \( -type d -o -type f ! -name '*.pyc' \) -print 2>/dev/null)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: help
help:
	@echo 'make demo             run examples/source_census.py'
	@echo 'make test             C++ tests, then tests/ with pytest (PYTEST_ARGS="-k name --run-slow")'
	@echo 'make bench            python -m benchmarks (BENCH_ARGS=...)'
	@echo 'make faults           every fault at every pass of a program, an hour (FAULTS_ARGS="--most 4 --only spill.")'
	@echo 'make soak             hours of random work and kills (SOAK_ARGS="--kills 20000 --minutes 30 --seed 1")'
	@echo 'make leaks            10,000 actors and 100,000 cancellations leave nothing (LEAKS_ARGS="--actors 1000")'
	@echo 'make killed-driver    the driver of the demo is killed at a hundred random moments (KILLED_ARGS=...)'
	@echo 'make conformance-ray  tests/conformance on a real Ray $(RAY_VERSION)'
	@echo 'make lint types       ruff, clang-format, clang-tidy, layers; mypy'
	@echo 'make format stub      rewrite the sources in style; rewrite src/miniray/_miniray_core.pyi'
	@echo 'make asan tsan        C++ tests under sanitizers'
	@echo 'make install wheel    build into $(VENV); build a wheel'
	@echo 'make clean            remove everything that make made'

# --------------------------------------------------------------------------------------------------------------- environment

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo 'miniray needs Python 3.10 or newer; "$(PYTHON)" is not. Use: make PYTHON=python3.11 ...' >&2; exit 1; }
	@c=$${CXX:-}; for name in c++ g++ clang++; do [ -n "$$c" ] || c=$$(command -v $$name || true); done; \
	  [ -n "$$c" ] || { echo 'miniray needs a C++20 compiler: install g++ (or clang) and the headers of Python.' >&2; exit 1; }
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo '"$(PYTHON) -m venv" failed; on Debian and Ubuntu install the package python3-venv.' >&2; exit 1; }

# Build tools. scikit-build-core itself says whether it needs cmake and ninja from the package index: only where the
# system has none, or one that is too old.
$(STAMPS)/tools: pyproject.toml | $(BIN)/python
	@mkdir -p $(STAMPS)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --group build --group test cloudpickle
	$(BIN)/python -c 'from scikit_build_core import build; print(*build.get_requires_for_build_wheel({}), sep="\n")' \
	  > $(STAMPS)/requires
	@if grep -q . $(STAMPS)/requires; then $(BIN)/python -m pip install --quiet -r $(STAMPS)/requires; fi
	@touch $@

$(STAMPS)/lint-tools: pyproject.toml $(STAMPS)/tools
	$(BIN)/python -m pip install --quiet --group lint
	@touch $@

$(STAMPS)/wheel: $(PACKAGE_SOURCES) $(STAMPS)/tools
	@rm -rf $(WHEELS)
	$(BIN)/python -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir $(WHEELS) $(WHEEL_ARGS) .
	@touch $@

$(STAMPS)/install: $(STAMPS)/wheel
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps $(WHEELS)/miniray-*.whl
	@touch $@

.PHONY: install wheel
install: $(STAMPS)/install
wheel: $(STAMPS)/wheel
	@ls -l $(WHEELS)

# ------------------------------------------------------------------------------------------------------------------------ use

.PHONY: demo test test-cpp test-python bench soak leaks faults killed-driver conformance-ray
demo: install
	$(BIN)/python examples/source_census.py

test: test-cpp
	@$(MAKE) test-python

# Configures when needed, compiles what changed. The module with crash points goes to $(CPP_BUILD)/site for tests/faults.
.PHONY: cpp-build
cpp-build: $(STAMPS)/tools
	@cmake --preset $(CPP_PRESET) -DPython_EXECUTABLE=$(abspath $(BIN))/python > $(STAMPS)/configure.log \
	  || { cat $(STAMPS)/configure.log; exit 1; }
	@cmake --build --preset $(CPP_PRESET) --parallel $(JOBS)

test-cpp: cpp-build
	@ctest --preset $(CPP_PRESET)
	@grep -hE '^(one kill|a (second|third) kill|sabotaged core|[0-9]+ (scenarios|of [0-9]+ (sections|budgets)))' \
	  $(CPP_BUILD)/Testing/Temporary/LastTest.log || true
	@rm -rf $(CPP_BUILD)/site
	@cmake --install $(CPP_BUILD) --component python > /dev/null

test-python: install
	MINIRAY_FAULTS_SITE=$(if $(wildcard $(CPP_BUILD)/site),$(abspath $(CPP_BUILD)/site)) \
	  $(BIN)/python -m pytest $(PYTEST_ARGS)

bench: install
	$(BIN)/python -m pip install --quiet --group bench
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

soak: install
	$(BIN)/python tests/stress/soak.py $(SOAK_ARGS)

leaks: install
	$(BIN)/python tests/stress/leaks.py $(LEAKS_ARGS)

killed-driver: install
	$(BIN)/python tests/stress/killed_driver.py --moments 100 --limit 1 $(KILLED_ARGS)

faults: install cpp-build
	@rm -rf $(CPP_BUILD)/site
	@cmake --install $(CPP_BUILD) --component python > /dev/null
	MINIRAY_FAULTS_SITE=$(abspath $(CPP_BUILD)/site) $(BIN)/python tests/faults/every_pass.py $(FAULTS_ARGS)

# The same test bodies on a real Ray, in an environment of their own.
$(RAY_VENV)/bin/python: | $(BIN)/python
	@rm -rf $(RAY_VENV)
	@$(PYTHON) -m venv $(RAY_VENV)

$(RAY_VENV)/.stamps/ray: pyproject.toml | $(RAY_VENV)/bin/python $(STAMPS)/tools
	@mkdir -p $(@D)
	$(RAY_VENV)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(RAY_VENV)/bin/python -m pip install --quiet --group test cloudpickle 'ray==$(RAY_VERSION)'
	@touch $@

$(RAY_VENV)/.stamps/install: $(STAMPS)/wheel $(RAY_VENV)/.stamps/ray
	$(RAY_VENV)/bin/python -m pip install --quiet --force-reinstall --no-deps $(WHEELS)/miniray-*.whl
	@touch $@

conformance-ray: $(RAY_VENV)/.stamps/install
	run() { RAY_AUTH_MODE=disabled RAY_USAGE_STATS_ENABLED=0 \
	    $(RAY_VENV)/bin/python -m pytest tests/conformance --backend=ray --run-slow $(PYTEST_ARGS); }; \
	  status=0; run || status=$$?; [ $$status -gt 5 ] || exit $$status; \
	  echo "Ray ended pytest, status $$status: once more"; run

# --------------------------------------------------------------------------------------------------------------------- checks

CPP_FILES = $(shell find cpp tests/cpp -name '*.cpp' -o -name '*.hpp' 2>/dev/null)

.PHONY: lint lint-python lint-format lint-tidy lint-layers types format stub stub-check asan tsan
lint: lint-python lint-layers lint-format lint-tidy

lint-python: $(STAMPS)/lint-tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lint-layers: | $(BIN)/python
	$(BIN)/python tools/check_layers.py

lint-format: $(STAMPS)/lint-tools
	@[ -z "$(CPP_FILES)" ] || $(BIN)/clang-format --dry-run -Werror $(CPP_FILES)

lint-tidy: $(STAMPS)/lint-tools cpp-build
	$(BIN)/python tools/run_clang_tidy.py --build $(CPP_BUILD) --jobs $(JOBS)

types: $(STAMPS)/lint-tools
	$(BIN)/mypy

format: $(STAMPS)/lint-tools
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	@[ -z "$(CPP_FILES)" ] || $(BIN)/clang-format -i $(CPP_FILES)

stub: cpp-build
	@cmake --build $(CPP_BUILD) --target miniray_stub
	cp $(CPP_BUILD)/_miniray_core.pyi src/miniray/_miniray_core.pyi

stub-check: cpp-build
	@cmake --build $(CPP_BUILD) --target miniray_stub
	diff -u src/miniray/_miniray_core.pyi $(CPP_BUILD)/_miniray_core.pyi

asan tsan: $(STAMPS)/tools
	@cmake --preset $@ > $(STAMPS)/configure-$@.log || { cat $(STAMPS)/configure-$@.log; exit 1; }
	@cmake --build --preset $@ --parallel $(JOBS)
	@ctest --preset $@

.PHONY: clean
clean:
	rm -rf build dist .venv .venv-* .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
