# The one entry to everything. `make` alone prints what each target is for.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ENVIRONMENTS := .environments
TRITON := $(ENVIRONMENTS)/triton/installed.sha256
CHROMIUM := $(ENVIRONMENTS)/chromium/installed.sha256
CALLERS := $(ENVIRONMENTS)/callers/installed.sha256
PROMETHEUS := $(ENVIRONMENTS)/prometheus/installed.sha256
TEXT := $(ENVIRONMENTS)/text/installed.sha256
# What a benchmark or a proof can't do without, each in an environment of its own; that of inference
# installs its peers itself, and goes on without one that does not install.
PEERS_false-alarms := drift_peers
PEERS_public-data := drift_peers
PEERS_monitor := evidently chromium
PEERS_registry := mlflow
PEERS := $(PEERS_$(NAME):%=$(ENVIRONMENTS)/%/installed.sha256)
export PATH := $(CURDIR)/$(BIN):$(PATH)
# A process of tests for each core, whole files at a time: most of them wait for servers.
PARALLEL := --numprocesses=logical --dist=loadfile
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo test check lint format up bench soak clean

help: ## Print what each target is for
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make the environment (.venv); fast when it is there

$(READY): pyproject.toml constraints.txt tools/protogen.py $(shell find protos/roundhouse protos/buf -name '*.proto')
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "Roundhouse needs Python 3.11 or later: set PYTHON=... to yours." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# torch first, by its exact version: later packages would bring gigabytes of CUDA otherwise.
	@$(BIN)/python -c 'import torch' 2>/dev/null || { echo "Installing PyTorch ..."; $(BIN)/pip install -q "$$(grep '^torch==' constraints.txt)"; }
	@echo "Installing Roundhouse ..."
	@$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

$(ENVIRONMENTS)/%/installed.sha256: tools/environments/%.txt tools/isolated_env.py | $(READY)
	@$(BIN)/python tools/isolated_env.py $*
$(TRITON): tools/environments/triton.py
$(CHROMIUM): tools/environments/chromium.py tools/environments/debian.py
$(CALLERS): tools/environments/callers.py tools/environments/debian.py
$(PROMETHEUS): tools/environments/prometheus.py tools/environments/debian.py
$(TEXT): tools/environments/text.py

demo: $(READY) ## Run the whole loop on a year of real flights (about 5 minutes)
	@$(BIN)/roundhouse demo $(ARGS)

test: $(READY) $(TRITON) $(CHROMIUM) $(CALLERS) $(PROMETHEUS) $(TEXT) ## Run the whole test suite, real components included
	@$(BIN)/python -m pytest -q $(PARALLEL) $(ARGS)

check: lint ## Check format, lint, types, imports, contracts; run the unit tests
	@$(BIN)/python -m pytest -q -m 'not real' $(PARALLEL) $(ARGS)

lint: $(READY) ## Check format, lint, types, imports and contracts
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@cd protos && $(CURDIR)/$(BIN)/buf format --diff --exit-code && $(CURDIR)/$(BIN)/buf lint
	@tools/buf_breaking.sh

format: $(READY) ## Put code and protos into the one format
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .
	@cd protos && $(CURDIR)/$(BIN)/buf format -w

up: $(READY) ## Start the four services on this machine
	@$(BIN)/roundhouse up $(ARGS)

bench: $(READY) $(TRITON) $(PEERS) ## Measure: NAME=loop, inference, monitor, registry or trainer, QUICK=1 for at most a minute
	@test -n "$(NAME)" || { echo "Which benchmark? NAME=loop, NAME=inference, NAME=monitor, NAME=registry or NAME=trainer" >&2; exit 2; }
	@$(BIN)/python -m benchmarks $(NAME) $(if $(QUICK),--quick)

soak: $(READY) $(TRITON) $(CALLERS) $(PEERS) ## Run a long proof: NAME=kills; without one it names them all
	@$(BIN)/python -m tests.system.soak $(NAME) $(ARGS)

clean: ## Remove environments, generated code and run-time data
	@rm -rf $(VENV) $(ENVIRONMENTS) .roundhouse protos/gen .mypy_cache .ruff_cache .pytest_cache .hypothesis
