# Two commands on a fresh machine: `make demo` shows edgeswarm at work, `make test` runs all checks.
# Needs python3 (3.11 to 3.13) with venv, and a way to the Python package index; all else is set up here.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?=
SEEDS ?= 1000

.PHONY: setup demo test lint types imports unit nightly bench lock clean

setup: $(VENV)/.ready

# The lock names every dependency by version and hash; pip refuses anything else.
$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and "edgeswarm needs Python 3.11 to 3.13: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV) || { echo "python3 has no venv: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: setup
	$(BIN)/edgeswarm demo $(DEMO)

test: lint types imports unit

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports --no-cache

# Two at a time: many tests wait for real processes.
unit: setup
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

# Longer than a commit should take: the demo and all its variants on real input.
nightly: setup
	$(BIN)/python -m bench.variants

lock:
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install --quiet 'uv>=0.9,<1'
	$(VENV)-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --no-annotate --all-extras --group dev pyproject.toml requirements-build.in -o requirements.lock

clean:
	rm -rf $(VENV) $(VENV)-lock .mypy_cache .pytest_cache .ruff_cache .hypothesis
