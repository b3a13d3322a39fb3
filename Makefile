# Two commands on a bare machine (python3 with venv, make): `make demo` and `make test`. Each sets up .venv first.
PYTHON ?= python3
BIN := .venv/bin
# One process more than there are cores: many tests wait for processes of their own.
SPREAD := --numprocesses $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1) --dist loadfile
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-all lint clean

demo: .venv/demo.done
	$(BIN)/tilespec demo --out demo

test: .venv/test.done lint
	$(BIN)/pytest -m "not slow" $(SPREAD)

test-all: .venv/test.done lint
	EXAMPLES=100 $(BIN)/pytest $(SPREAD)

lint: .venv/test.done
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

.venv/demo.done: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --editable .
	touch $@

.venv/test.done: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --editable ".[test,lint]"
	touch $@

clean:
	rm -rf .venv demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
