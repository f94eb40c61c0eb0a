# `make demo` and `make test` work on a fresh machine: each makes .venv, installs what constraints.txt pins,
# and runs. Where the public index is reachable, torch's much smaller CPU build is chosen with
#   make test PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu"
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Never let a runtime look up a telemetry host, not even in a tool that a test starts.
export ORT_DISABLE_TELEMETRY := 1
# Two BLAS threads on two busy cores wait for each other: ten times slower.
export OPENBLAS_NUM_THREADS := 1

PIP_FLAGS ?=
PYTEST_FLAGS ?=
# Tests at once, each worker from its own end, so that what a module's tests share is made once; the long suites of `make accept`, which compare times, run one by one.
JOBS ?= 2
BIN := .venv/bin
# What virtual boards are made of and run by.
VIRTUAL := qemu-system-aarch64 mmdebstrap mkfs.ext4 fakeroot gcc llvm debian-archive-keyring

FIND_PYTHON := for p in python3 python3.13 python3.12 python3.11; do \
	  if command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	  then echo $$p; break; fi; done
PYTHON ?= $(shell $(FIND_PYTHON))

.PHONY: help demo test pytest accept lint clean

help: ## What can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

demo: .venv/installed ## Optimize the bundled CNN on this machine, in a minute or two
	$(BIN)/edgeopt optimize --device local --budget "12 trials" --effort quick --seed 0 --fresh \
	  -o edgeopt-out/demo

# Side by side: types are checked while tests wait for boards.
test: .venv/developing ## Everything that must hold, except the long suites
	@.ci/need git sshd ssh-keygen unshare shellcheck softhsm2 opensc systemd $(VIRTUAL)
	$(MAKE) --no-print-directory -j2 lint pytest

pytest: .venv/developing
	$(BIN)/pytest -n $(JOBS) --dist worksteal -m "not long" $(PYTEST_FLAGS)

lint: .venv/developing
	@.ci/need shellcheck
	shellcheck firmware_scripts/provision/*.sh firmware_scripts/provision/steps/*.sh firmware_scripts/wrap/*.sh
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

accept: test ## Every suite at full length (the four examples too), then the benchmarks, one by one
	@.ci/need mender-artifact rauc mksquashfs
	$(BIN)/pytest -m long -s $(PYTEST_FLAGS)
	export PYTHONPATH=$(CURDIR); \
	for benchmark in benchmarks/*.py; do echo "== $$benchmark"; $(BIN)/python $$benchmark; done

clean: ## Remove what was made here, the virtual environment included
	rm -rf .venv edgeopt-out dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Of twelve thousand files the tests import a tenth, which compiles it: hence --no-compile where they are run.
# The stamps are older than a changed pyproject.toml or constraints.txt, so a change installs again.
.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing what constraints.txt pins; the first time takes a few minutes"
	$(BIN)/python -m pip install -q $(PIP_FLAGS) -c constraints.txt -e .
	touch $@

.venv/developing: pyproject.toml constraints.txt tests/models.txt | .venv/bin/python
	@echo "installing what constraints.txt pins; the first time takes a few minutes"
	$(BIN)/python -m pip install -q --no-compile $(PIP_FLAGS) -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install -q --no-compile --no-deps -r tests/models.txt  # real models in packages
	touch .venv/installed $@

.venv/bin/python:
	@$(if $(PYTHON),,.ci/need python3)
	@python=$(or $(PYTHON),$$($(FIND_PYTHON))); \
	[ -n "$$python" ] || { echo "error: Python 3.11 or newer is needed, and was not found" >&2; exit 1; }; \
	PYTHON=$$python .ci/need python; \
	echo "+ $$python -m venv .venv"; $$python -m venv .venv
