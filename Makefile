# One command for each thing to do; `make` alone lists them. Only Python 3.11+ with venv is needed.

PYTHON ?= python3
CORES ?= all
CONFIG ?=
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PINS := envs/requirements.txt
SNAKEFILES := Snakefile workflow
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Without bytecode each of the many jobs would compile torch and transformers again while importing.
unexport PYTHONDONTWRITEBYTECODE

ifneq ($(CONFIG),)
  $(if $(wildcard $(CONFIG)),,$(error CONFIG=$(CONFIG): expected a file such as config/small.yaml, got none of that name))
endif

# The target stands first: --configfile takes every word that follows it.
snakemake = $(BIN)/snakemake $(1) --cores $(CORES) $(if $(CONFIG),--configfile $(CONFIG)) $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help setup reproduce figures report bench browser test test-slurm test-faults lint format lock clean

help: ## list the commands
	@echo "usage: make COMMAND [PYTHON=python3.12] [CORES=4] [CONFIG=config/small.yaml] [ARGS=...]"
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F'\t' '{printf "  %-12s %s\n", $$1, $$2}'

setup: $(READY) ## make .venv with the pinned packages (TORCH_INDEX=... for another torch build)

$(READY): envs/install.sh envs/overrides.txt envs/uv.txt $(PINS) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "expected Python 3.11 or newer, got $$($(PYTHON) --version): try PYTHON=python3.11" >&2; \
	  exit 1; }
	$(PYTHON) -m venv $(VENV)
	envs/install.sh $(BIN)/python
	@touch $@

reproduce: setup ## train everything of the configuration and make its tables and figures
	$(call snakemake,all)

figures: setup ## make the figures of the configuration
	$(call snakemake,figures)

# From published records, or after `make reproduce`: nothing is trained.
report: setup ## make report.html: every table and figure of the configuration on one page
	$(call snakemake,tables figures)
	$(BIN)/snakemake tables figures $(if $(CONFIG),--configfile $(CONFIG)) --report report.html

bench: setup ## time training and inference beside the field's usual build, on an idle machine
	$(call snakemake,bench --forcerun bench)

browser: ## install Chromium for the tests of the report, where no browser is (Debian, as root)
	@for name in chromium chromium-browser google-chrome google-chrome-stable; do \
	  ! command -v $$name || exit 0; done; \
	  apt-get update --quiet && apt-get install --quiet --yes --no-install-recommends chromium

# By files, since the slow ones share a run of the workflow among their tests.
test: lint ## style, types and all tests but Slurm's (ARGS go to pytest)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(ARGS)

# No thread of a library competes with the jobs, of which several run at once.
test-slurm: export OMP_NUM_THREADS = 1
test-slurm: setup ## the workflow on a Slurm that is unpacked, started and stopped for it (Debian, root)
	$(BIN)/python tests/slurm/cluster.py
	$(BIN)/python -m pytest tests/slurm $(ARGS)

test-faults: setup ## kill training 20 times at random moments, on real rows: same bytes or an error
	$(BIN)/snakemake work/embedded/corpora/mr --cores $(CORES)
	$(BIN)/python -m tests.faults --kills 20 --corpus work/embedded/corpora/mr $(ARGS)

lint: setup ## style, types, the rooms' imports and the workflow's format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check $(SNAKEFILES)

format: setup ## mend what lint can mend
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	$(BIN)/snakefmt $(SNAKEFILES)

# torch brings the CUDA packages that its build needs, so none of them is pinned.
lock: setup ## pin anew after a change of dependencies (ARGS="--upgrade-package NAME" for newer ones)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header \
	  --annotation-style line --extra workflow --extra cluster --group dev --override envs/overrides.txt \
	  $(ARGS) --output-file $(PINS) pyproject.toml
	sed -E -i.old '/^(cuda|nvidia|triton)[-=]/d' $(PINS)
	digest=$$($(BIN)/python -c 'import hashlib; print(hashlib.sha256(open("$(PINS)", "rb").read()).hexdigest())') \
	  && sed -E -i.old "s|^# $(PINS) .*|# $(PINS) $$digest|" envs/spikebert.post-deploy.sh
	rm envs/*.old

clean: ## remove .venv and caches; work/ and results/ stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find spikebert tests -name __pycache__ -prune -exec rm -rf {} +
