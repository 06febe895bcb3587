# What there is to do, environment included: `make demo`, `make test`, and `make test-android` for
# the apps in android_demo/, which is skipped with a message where Java, Node or Chromium is missing.
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
BIN := $(VENV)/bin
# What one may set, as an environment variable or on the command line:
#   PYTHON  a Python of 3.11 to 3.13      VENV  where the environment is made
#   WORKERS  test processes at a time

.PHONY: demo test test-android lint clean

demo: $(VENV)/.runtime
	$(BIN)/hwkeras demo -o runs/demo --force

test: $(VENV)/.test lint
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile

test-android: $(VENV)/.test
	PYTHON=$(abspath $(BIN))/python android_demo/check.sh

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.runtime: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e .
	touch $@

$(VENV)/.test: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e '.[test]'
	touch $@ $(VENV)/.runtime

clean:
	rm -rf $(VENV) build *.egg-info
