# Every verb sets up what it needs: a virtual environment from the hash-pinned lock, with progress.
# PYTHON: the interpreter to build it with (3.11 or newer). ARGS: passed to the verb's program.
PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
BIN    := $(VENV)/bin
# Leave a core to the servers under test; more workers than cores only makes timeouts likelier.
JOBS   ?= 2

# Compiled bytecode is what makes start-up fast: let Python keep it wherever make starts Python.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test check bench lock

help:  ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup:  ## the virtual environment, from the lock (every other verb calls it)
	@$(PYTHON) scripts/bootstrap.py $(VENV)

demo: setup  ## two model versions, a registry, real traffic, labels: see it work (ARGS=--exit ends by itself)
	@$(BIN)/pointsman demo $(ARGS)

serve: setup  ## everything on this machine (ARGS passed to `pointsman serve`)
	@$(BIN)/pointsman serve $(ARGS)

check: setup  ## format, lint, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

test: check  ## all checks and all tests, with the real servers they need
	@$(BIN)/pytest -n $(JOBS) --dist loadgroup $(ARGS)

bench: setup  ## figures and ratios against other servers, in one run; writes bench/results/
	@$(BIN)/python -m bench $(ARGS)

lock: setup  ## resolve pyproject.toml anew into the hash-pinned lock
	@$(BIN)/uv pip compile pyproject.toml --extra mlflow --extra otel --group dev --universal \
	  --python-version 3.11 --generate-hashes --no-annotate --no-header --upgrade \
	  --output-file requirements/lock.txt
