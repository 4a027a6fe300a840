# Two commands to begin with: `make demo` and `make test`. Both make .venv and install into it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check lint slow clean

demo: $(BIN)/python
	$(BIN)/pip install --quiet .
	$(BIN)/tierplan plan llama2-7b --hardware laptop --phase decode --context 4096 --dtype bf16 --planner greedy

test: $(BIN)/python
	$(BIN)/pip install --quiet '.[dev]'
	$(BIN)/python -m pytest -n 2 -m 'not slow'

check: lint test

lint: $(BIN)/python
	$(BIN)/pip install --quiet '.[dev]'
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

slow: $(BIN)/python
	$(BIN)/pip install --quiet '.[dev]'
	$(BIN)/python -m pytest -n 2 -m slow --hypothesis-profile=explore

clean:
	rm -rf $(VENV) build *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "tierplan needs Python 3.11 or newer: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "no venv module: apt-get install python3-venv"; exit 1; }
