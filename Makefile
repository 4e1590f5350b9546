# Each target sets up all it needs on a fresh machine with Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: parity test lint bench clean

parity: .venv/toolkit  ## export every neuron and prove it on every runtime of this machine
	$(BIN)/deploy-snn parity input mcculloch-pitts if lif boosted-lif current-lif adaptive-lif diehl-and-cook izhikevich csrm srm0 \
		--stimulus digits --steps 1000 --json parity.json

test: .venv/dev lint  ## lint, type check, tests
	$(BIN)/python -m pytest

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/dev  ## measured comparisons, with the peers beside us in the same run
	$(BIN)/python benchmarks/neurons.py

.venv/toolkit: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[digits]'
	touch $@

# BindsNET is the oracle of the tests and the peer of the benchmarks: only its own code is wanted, not its dependencies.
.venv/dev: .venv/toolkit
	$(BIN)/pip install --quiet --constraint constraints.txt --group dev
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps bindsnet
	touch $@

clean:
	rm -rf .venv parity.json
