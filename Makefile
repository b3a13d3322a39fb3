# Two commands on a bare machine (python3 with venv, make): `make demo` and `make test`. Each sets up .venv first.
PYTHON ?= python3
BIN := .venv/bin
# One process more than there are cores: many tests wait for processes of their own.
SPREAD := --numprocesses $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1) --dist loadfile
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-all test-cluster test-browser lint docs clean

demo: .venv/demo.done
	$(BIN)/tilespec demo --out demo

test: .venv/test.done lint
	$(BIN)/pytest -m "not slow" $(SPREAD)

test-all: .venv/test.done lint
	EXAMPLES=100 $(BIN)/pytest $(SPREAD)

# Clusters that are real on one machine: Slurm, network namespaces, Dask, an S3 server. Root installs what is missing; a
# layer whose programs are missing is skipped with its reason.
test-cluster: .venv/test.done
	test $$(id -u) != 0 || ! command -v apt-get || apt-get install -y --no-install-recommends slurm-wlm munge iproute2
	$(PIP) --no-deps dask-kubernetes
	cd tests && ../$(BIN)/pytest cluster faults/test_slurm.py faults/test_slurm_workers.py faults/test_two_hosts.py \
	  faults/test_three_hosts.py faults/test_cluster_loss.py faults/test_joined_runs.py storage/test_buckets.py \
	  storage/test_s3.py storage/test_s3_ingest.py storage/test_s3_models.py storage/test_s3_predict.py storage/test_s3_verbs.py

# The page of `tilespec view` in a real browser. Root installs Chromium where it is missing.
test-browser: .venv/test.done
	test $$(id -u) != 0 || command -v chromium || apt-get install -y --no-install-recommends chromium fonts-dejavu-core
	$(PIP) playwright
	$(BIN)/pytest tests/output/test_view_browser.py

lint: .venv/test.done
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The pages and the reference as a site, of which every link is right: site/index.html.
docs: .venv/test.done
	$(BIN)/sphinx-build -W -q -b html -c docs . site

.venv/demo.done: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --editable .
	touch $@

.venv/test.done: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --editable ".[test,lint,docs]"
	touch $@

clean:
	rm -rf .venv demo site build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
