# A fresh machine needs Python 3.11 or newer and make; everything else is set up here, in .venv.
#   make compare                       compare objectives on the embedded data
#   make compare ARGS="--data digits"  the same with flags
#   make test                          the fast suite, on all cores
#   make test PYTHON=python3.12        with another Python
#   make test-browser                  report and page in headless Chromium: needs chromium, and node for axe-core
#   make bench                         ten minutes of speed and memory beside other libraries
#   make test-distributed              every loss and ranking in two and three processes, beside one

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# One thread in each test process: as many processes as cores share the machine.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

# What a bench is among the files of bench/; bench/README.md says what each asks, and how it is run whole.
BENCHES := losses classes banks engine_memory evaluation samplers estimators loop end_to_end kmeans imports cached \
  processes

.PHONY: help compare test test-all test-distributed test-browser lint check bench

help:
	@sed -n 's/^#   //p' Makefile

compare: $(VENV)/app.installed
	$(BIN)/mimetric compare $(ARGS)

test: $(VENV)/test.installed
	$(PYTEST) -m "not slow" $(ARGS)

test-all: $(VENV)/test.installed
	$(PYTEST) --hypothesis-profile=thorough $(ARGS)

test-distributed: $(VENV)/test.installed
	$(PYTEST) tests/core/test_processes.py tests/core/test_shards.py $(ARGS)

test-browser: $(VENV)/browser.installed
	$(BIN)/python -m pytest tests/report/test_browser.py tests/serve/test_browser.py $(ARGS)

lint: $(VENV)/test.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test

bench: $(VENV)/test.installed
	@set -e; for name in $(BENCHES); do echo "== bench/$$name.py"; $(BIN)/python -W ignore bench/$$name.py --quick $(ARGS); done

# A stamp is older than what it was made from only when something has to be installed again.
$(VENV)/torch.installed: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "mimetric needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) --version 2>&1);" \
	         "name another: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@echo "installing torch and what mimetric needs, once; this can take some minutes"
	$(PIP_INSTALL) "$$(grep '^torch==' constraints.txt)"
	@touch $@

$(VENV)/app.installed: $(VENV)/torch.installed pyproject.toml
	$(PIP_INSTALL) -e ".[app]"
	@touch $@

# Tests and benches compare with other libraries (the extra `peers`).
$(VENV)/test.installed: $(VENV)/torch.installed pyproject.toml
	$(PIP_INSTALL) -e ".[test,peers]"
	@touch $(VENV)/app.installed $@

$(VENV)/browser.installed: $(VENV)/test.installed
	$(PIP_INSTALL) -e ".[browser]"
	npm install --no-save --silent axe-core@4
	@touch $@
