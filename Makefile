# Needs Python 3.11 or newer and make; everything else goes into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Where Linux has no NVIDIA card torch comes from an index of its publisher's whose wheels are without
# CUDA libraries (0.75 GB instead of 5.9 GB), if that answers; else, and with TORCH_INDEX= (empty),
# from where everything else comes.
NVIDIA := $(shell command -v nvidia-smi 2> /dev/null)$(wildcard /proc/driver/nvidia)
TORCH_INDEX ?= $(if $(NVIDIA)$(filter-out Linux,$(shell uname -s)),,https://download.pytorch.org/whl/cpu)
# The alarm ends a look-up of the name that hangs, too.
ANSWERS := import signal, sys, urllib.request as r; \
	signal.alarm(8); r.urlopen(sys.argv[1] + "/torch/", timeout=4)

# More flags for the tools behind the targets: make test-unit PYTEST_ARGS="-k undo".
WORKBENCH_ARGS ?=
PYTEST_ARGS ?=
BENCH_ARGS ?=
FAULT_ARGS ?=
LOWEST_ARGS ?=
# Files of tests that run at a time. Each has a model of its own, and one thread to compute with:
# more threads than cores wait for each other.
WORKERS ?= auto
PARALLEL := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=$(WORKERS) --maxprocesses=4 \
	--dist=loadfile

# A browser is opened where there is a screen, or where BROWSER names one; BROWSER=no opens none.
# answer_yes: Ctrl-C ends the server without a question.
SCREEN := $(filter Darwin,$(shell uname -s))$(DISPLAY)$(WAYLAND_DISPLAY)
NO_BROWSER := $(if $(filter no,$(BROWSER)),--no-browser,$(if $(SCREEN)$(BROWSER),,--no-browser))
# Settings of our own: messages of more than 10 MiB may pass, and no question about news is asked.
# They come before the user's, to whom JUPYTER_CONFIG_PATH may point already.
JUPYTER := JUPYTER_CONFIG_PATH="$(CURDIR)/tools/jupyter$${JUPYTER_CONFIG_PATH:+:$$JUPYTER_CONFIG_PATH}"
ALLOW_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help install fetch statistics workbench app test test-quick test-unit test-notebooks test-browser \
	fault-test screenshots lint docs bench lowest clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## make .venv with the versions of constraints.txt

fetch: $(INSTALLED) ## fetch the default model and text into the cache
	$(BIN)/alphaedit fetch

workbench: fetch ## open the workbench in JupyterLab (BROWSER=no: print the address only)
	$(JUPYTER) $(BIN)/jupyter-lab --LabApp.default_url=/lab/tree/notebooks/workbench.ipynb --ip=127.0.0.1 \
		--ServerApp.port_retries=50 --ServerApp.answer_yes=True \
		$(NO_BROWSER) $(ALLOW_ROOT) $(WORKBENCH_ARGS)

app: fetch ## serve the workbench as a page of its own, without cells (Voila)
	$(JUPYTER) JUPYTER_PATH=tools/jupyter $(BIN)/voila notebooks/workbench.ipynb --template=offline \
		--Voila.ip=127.0.0.1 --token \
		$(NO_BROWSER) $(WORKBENCH_ARGS)

test: test-unit test-notebooks test-browser ## run all tests

# Once, with every core, before tests that run side by side would each collect them.
statistics: fetch ## collect key statistics and spectra of the default model into the cache
	$(BIN)/alphaedit spectrum > /dev/null

# Data, null space, closed forms and figures: what a change of the method breaks first.
QUICK := tests/data tests/display tests/nullspace tests/editing/test_closed_form.py \
	tests/editing/test_editor_formulas.py tests/editing/test_editor_choice.py \
	tests/editing/test_hyperparameters.py tests/model/test_packed_rows.py tests/project/test_layout.py

test-quick: $(INSTALLED) ## run the tests of data, null space, closed forms and figures (a minute)
	$(PARALLEL) -m "not model" $(QUICK) $(PYTEST_ARGS)

test-unit: statistics ## run the tests of the packages
	$(PARALLEL) --ignore=tests/browser $(PYTEST_ARGS)

test-notebooks: statistics ## run the notebooks and compare their outputs with the stored ones
	$(PARALLEL) notebooks --nbval --nbval-current-env --nbval-cell-timeout=900 \
		--nbval-sanitize-with tests/nbval_sanitize.cfg $(PYTEST_ARGS)

# One file at a time: a page and a kernel that share a core are slow enough for figures not to load.
test-browser: statistics ## drive the workbench in a headless Chromium, where there is one
	$(BIN)/python -m pytest tests/browser $(PYTEST_ARGS)

fault-test: fetch ## break the core in one place at a time; a notebook must notice (ten minutes)
	$(BIN)/python tools/fault_test.py $(FAULT_ARGS)

screenshots: fetch ## take the pictures of the README anew (needs a Chromium)
	SHOTS=docs $(BIN)/python -m pytest tests/browser/test_pictures.py $(PYTEST_ARGS)

lint: $(INSTALLED) ## check style, types, imports and notebooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tools/clean_notebooks.py --check notebooks

# From nothing each time: what an earlier build has read it warns of no more.
docs: $(INSTALLED) ## build the site in build/docs: README, notebooks as stored, API (a minute)
	rm -rf build/docs build/doctrees
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -c docs/site \
		-d build/doctrees . build/docs
	@echo build/docs/index.html

bench: fetch ## measure speed and memory
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

lowest: $(INSTALLED) ## edit a fact with the lowest versions that pyproject.toml allows
	$(BIN)/python tools/lowest_versions.py $(LOWEST_ARGS)

clean: ## remove .venv and everything built here; the model cache stays
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find . -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

# A .venv that is missing or was left half made is made anew; an older one is brought up to date.
$(INSTALLED): pyproject.toml constraints.txt
	@command -v "$(PYTHON)" > /dev/null || { \
		echo "$(PYTHON) not found: install Python 3.11 or newer, or name one: make PYTHON=python3.12"; \
		exit 1; } >&2
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is $$("$(PYTHON)" --version 2>&1), Python 3.11 or newer is needed:" \
			"install it, or name one: make PYTHON=python3.12"; \
		exit 1; } >&2
	$(BIN)/python -m pip --version > /dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(VENV)
	$(BIN)/python -m pip install --upgrade --constraint constraints.txt pip
	@if [ -n "$(TORCH_INDEX)" ]; then \
		{ $(BIN)/python -c '$(ANSWERS)' "$(TORCH_INDEX)" > /dev/null 2>&1 && \
			$(BIN)/python -m pip install --no-deps --retries=1 --timeout=10 \
				--index-url="$(TORCH_INDEX)" "$$(grep '^torch==' constraints.txt)"; } || \
			echo "no torch at $(TORCH_INDEX); installing it from the default index"; \
	fi
	$(BIN)/python -m pip install --constraint constraints.txt \
		--build-constraint constraints.txt --editable '.[dev]'
	@touch $@
