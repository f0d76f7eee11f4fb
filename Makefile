# Two commands matter: `make run` and `make test`.  Both make the environment first.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: run test lint bench soak docs env clean

run: $(VENV)/.run
	$(BIN)/aup-relay demo $(ARGS)

test: $(VENV)/.dev
	$(BIN)/ruff check relay tests
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check relay tests
	$(BIN)/ruff format --check relay tests
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev
	$(BIN)/python -m tests.bench $(ARGS)

soak: $(VENV)/.dev
	$(BIN)/python -m tests.soak $(ARGS)

# Writes the generated pages of docs/; a test compares them.
docs: $(VENV)/.dev
	$(BIN)/python -m tests.generate_docs

env: $(VENV)/.dev

# python3-venv is a package of its own on Debian and may be missing; virtualenv
# does the same, and failing both the message says what to install.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "aup-relay needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { rm -rf $(VENV); $(PYTHON) -m virtualenv -q $(VENV) 2>/dev/null; } || \
	  { rm -rf $(VENV); echo "No environment could be made: Python's venv module is missing."; \
	    echo "On Debian and Ubuntu:  sudo apt-get install python3-venv"; \
	    echo "or, without root:      $(PYTHON) -m pip install --user --break-system-packages virtualenv"; exit 2; }

$(VENV)/.run: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.run

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
