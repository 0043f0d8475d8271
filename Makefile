# Two commands for a fresh machine: `make demo` and `make test`. Both set up .venv when it is not there.

PYTHON ?= python3
BIN := .venv/bin
PIP := PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet --no-warn-script-location
# One thread for each of two test processes: two-threaded tests on two cores would only wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
ARGS ?=

.PHONY: help demo test check soak bench docs clean

help:
	@echo "make demo    align a real 135M model from preference data, on a CPU (about 20 minutes; ARGS=--quick: about 3)"
	@echo "make test    the whole test suite"
	@echo "make check   ruff, mypy, the layers of the house, the docs"
	@echo "make soak    long tests, not part of make test"
	@echo "make bench   speed and memory against TRL, about half an hour; once more to go on (ARGS=--all: everything)"
	@echo "make docs    write the generated pages of docs/ anew"

demo: .venv/installed
	$(BIN)/python -m examples.harbor $(ARGS)

test: .venv/installed-dev
	$(PYTEST) -n 2 --dist worksteal $(ARGS)

check: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) tests/test_imports.py tests/test_docs.py

soak: .venv/installed-dev
	$(PYTEST) -m soak $(ARGS)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.training.battery --kills 500 --out bench/results/kills.json

bench: .venv/installed-dev
	$(BIN)/python -m bench.against_trl $(ARGS)

docs: .venv/installed-dev
	$(BIN)/python -m tests.pages

clean:
	rm -rf .venv out

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "python3 cannot make virtual environments here: install the package python3-venv"; exit 3; }
	@echo "setting up .venv (once; a few hundred megabytes)"
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	@touch $@

.venv/installed-dev: .venv/installed
	$(PIP) --editable '.[dev]'
	@touch $@
