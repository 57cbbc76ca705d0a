# Every target first makes the environment it needs in .venv, once for each state of pyproject.toml and constraints.txt.
# PYTHON=… chooses the interpreter. TORCH_INDEX=… is where torch comes from, if not from pip's own index.

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3.11)
TORCH_INDEX ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt
STATE := $(shell cat pyproject.toml constraints.txt | cksum | cut -d ' ' -f 1)
FOR_USE := .venv/for-use-$(STATE)
FOR_WORK := .venv/for-work-$(STATE)
EXAMPLE := examples/support-triage

.DEFAULT_GOAL := help
.PHONY: help demo test check bench bench-data bench-finetuning bench-headline bench-distillation docs constraints clean

help:  ## say what there is
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## /make \1	/' | expand -t 20

demo: $(FOR_USE)  ## teach, distil, shrink and prove the example; the second time it finds everything made
	@cd $(EXAMPLE) && ../../$(BIN)/slmops run
	@$(BIN)/python scripts/where.py $(EXAMPLE)/slmops.yaml

test: check  ## all checks and all tests, one file of them on each core
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

check: $(FOR_WORK)  ## style, types, and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(FOR_WORK)  ## measure ourselves, and others beside us, into benchmarks/results
	$(PIP) --editable '.[bench]'
	$(BIN)/python -m benchmarks.main

bench-data: $(FOR_WORK)  ## measure what is done with data, and every task type on its public set (SLMOPS_BENCH_DATA)
	$(PIP) --editable '.[bench]'
	status=0; for name in data label_errors privacy fuzz tasks "packing --only validation_loss"; do \
		$(BIN)/python -m benchmarks.$$name || status=1; done; exit $$status

bench-finetuning: $(FOR_WORK)  ## measure fine-tuning, TRL beside it (SLMOPS_BENCH_DATA)
	$(PIP) --editable '.[bench]'
	status=0; for name in finetuning adapters diagnosis; do $(BIN)/python -m benchmarks.$$name || status=1; done; exit $$status

bench-headline: $(FOR_WORK)  ## measure what distillation makes of 30 intents, under an hour (SLMOPS_BENCH_DATA)
	$(BIN)/python -m benchmarks.headline

bench-distillation: $(FOR_WORK)  ## measure the parts of distillation, one by one (SLMOPS_BENCH_DATA)
	$(BIN)/python -m benchmarks.distillation

docs: $(FOR_WORK)  ## generate the reference pages and build the site into site/
	$(BIN)/python scripts/reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

constraints: $(FOR_WORK)  ## pin what is installed now
	{ head -n 1 constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//'; } > .venv/constraints.txt
	mv .venv/constraints.txt constraints.txt

clean:  ## remove what make made, but not downloaded models
	rm -rf .venv site build dist .*_cache .hypothesis $(EXAMPLE)/.slmops
	find . -name __pycache__ -prune -exec rm -rf {} +

$(FOR_USE): .venv/made
	$(PIP) --editable '.[all]'
	@touch $@

$(FOR_WORK): .venv/made
	$(PIP) --editable '.[dev,docs]'
	@touch $@

.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=…")'
	$(PYTHON) -m venv .venv
	$(if $(TORCH_INDEX),$(PIP) --no-deps --index-url $(TORCH_INDEX) torch)
	@touch $@
