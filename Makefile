# Two commands: `make` gives the book, `make test` checks everything. Both need Python 3.11+ and the package registries.
PYTHON ?= python3
UV_VERSION := 0.13.8
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.PHONY: all setup book pdf publish lab test test-browser validate faults soak lock clean help

all: book ## install, reproduce with the embedded digits, build the HTML book and print its path

setup: $(STAMP) ## create .venv and install the locked packages

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; name one: make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --requirement requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

book: $(STAMP) ## execute the notebooks and build the book
	$(BIN)/prune book

pdf: book ## the whole book as one PDF, printed by Chromium
	$(BIN)/python -m prune_lib.book.site.pdf

publish: book ## build the book and add it, checked, to a folder of editions for a static host: PUBLISH="--address https://…"
	$(BIN)/python -m prune_lib.book.site.publish $(PUBLISH)

lab: $(STAMP) ## open the notebooks in JupyterLab
	$(BIN)/jupytext-config set-default-viewer python
	case "$$PRUNE_DATA" in ""|/*) ;; *) export PRUNE_DATA="$$PWD/$$PRUNE_DATA" ;; esac; \
	$(BIN)/jupyter lab notebooks/start_here.py

test: $(STAMP) ## lint, types, tests on all cores; a file's tests share what they train, and so a core
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy prune_lib
	$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

test-browser: $(STAMP) ## the built book and JupyterLab's explorer in a real chromium; leaves results/browser/checks.json
	PRUNE_BROWSER=1 $(BIN)/python -m pytest -rs tests/browser tests/test_browser.py

validate: $(STAMP) .venv-validators/.installed ## what machines read, by the validators of RO-Crate, Croissant, CFF and Binder
	PRUNE_VALIDATORS=.venv-validators/bin $(BIN)/python -m pytest -rs tests/test_machines.py tests/test_publish.py -k "valid or meant"

.venv-validators/.installed: tools/validators.txt $(STAMP)
	$(PYTHON) -m venv --clear .venv-validators
	$(BIN)/uv pip install --quiet --python .venv-validators/bin/python --requirement tools/validators.txt
	@touch $@

faults: $(STAMP) ## the fault campaign of make test alone; leaves its counts for the book
	$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile tests/faults --keep-faults "make faults"
	$(BIN)/python -m prune_lib.book.tables.markdown book/reliability.md

soak: $(STAMP) ## the same at length: 200 kills for each method, 200,000 generated inputs
	$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist load tests/faults --soak --keep-faults "make soak"
	$(BIN)/python -m prune_lib.book.tables.markdown book/reliability.md

lock: $(STAMP) ## resolve pyproject.toml anew into requirements.lock and environment.yml
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 $(addprefix --extra=,book lab export tasks batch dev) --no-header --no-annotate pyproject.toml --output-file requirements.lock
	$(BIN)/python tools/environment.py

clean: ## remove what was built or installed; records, runs, data and published editions stay
	rm -rf .venv .venv-validators build dist book/_build book/notebooks *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find prune_lib tests tools notebooks -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## show these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
