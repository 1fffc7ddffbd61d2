# `make` alone lists what there is.
PYTHON ?= python3
VENV ?= .venv
PYTEST_FLAGS ?=
BENCH_FLAGS ?=
# One BLAS thread per test process: two processes that each start threads for all cores fight.
TEST_THREADS ?= 1
WORKERS ?= 2

# What the tests need beside the groups of pyproject.toml.
EXTRAS := fast,forest,onnx,parquet,root,slurm,tensorboard
LOWEST := .venv-lowest

BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo baseline test test-slow test-all test-lowest lint format docs bench wheel clean

help:  ## this list
	@echo "make TARGET [PYTHON=python3.12] [VENV=.venv]"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 14

setup: $(READY)  ## make .venv with everything, versions as in constraints.txt

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is older than 3.11: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "pip>=25.1"  # knows dependency groups
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[$(EXTRAS)]" --group dev
	@touch $@

# What demo and baseline share: showers that judge, real ones for the truth row, two classifiers.
DEMO := outputs/demo
JUDGED := reference=$(DEMO)/reference.hdf5 truth=$(DEMO)/truth.hdf5 evaluation.classifier.modes=[low,high,trees]

demo: $(READY)  ## train, sample and score a small flagship on built-in showers: three to six minutes
	$(BIN)/caloman train experiment=demo output=$(DEMO)
	$(BIN)/caloman data generate dataset=builtin_photons n=5000 seed=2 out=$(DEMO)/reference.hdf5 overwrite=true
	$(BIN)/caloman data generate dataset=builtin_photons n=5000 seed=3 out=$(DEMO)/truth.hdf5 overwrite=true
	$(BIN)/caloman sample run=$(DEMO) energies=$(DEMO)/reference.hdf5 overwrite=true
	$(BIN)/caloman evaluate run=$(DEMO) $(JUDGED) overwrite=true
	@echo "for comparison: the system published in 2022 scores AUC low 0.92, high 0.98 on these showers" \
	  "(make baseline trains and scores it)"

baseline: $(READY)  ## the published system on the demo's showers (after make demo)
	$(BIN)/caloman train experiment=caloman_photons dataset=builtin_photons \
	  trainer=quick output=outputs/baseline
	$(BIN)/caloman evaluate run=outputs/baseline $(JUDGED) overwrite=true

test: $(READY)  ## the tests that take minutes together
	OMP_NUM_THREADS=$(TEST_THREADS) $(BIN)/python -m pytest -n $(WORKERS) \
	  -m "not slow and not gpu" $(PYTEST_FLAGS)

test-slow: $(READY)  ## the tests that take minutes each; a third: PYTEST_FLAGS="--shard 2/3"
	OMP_NUM_THREADS=$(TEST_THREADS) $(BIN)/python -m pytest -n $(WORKERS) -p tests.slow_shards \
	  -m "slow and not gpu" $(PYTEST_FLAGS)

test-all: test test-slow  ## all tests that need no GPU

test-lowest:  ## the default tests with the lowest versions that pyproject.toml allows
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet "pip>=25.1"
	$(LOWEST)/bin/python scripts/tools/lowest.py test fast forest onnx parquet root slurm tensorboard > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip install --quiet -c $(LOWEST)/constraints.txt -e ".[$(EXTRAS)]" --group test
	# -W default: old versions warn of what newer ones beside them will no longer have.
	OMP_NUM_THREADS=$(TEST_THREADS) $(LOWEST)/bin/python -m pytest -n $(WORKERS) -W default \
	  -m "not slow and not gpu" $(PYTEST_FLAGS)

lint: $(READY)  ## ruff, formatting, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## put the formatting right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)  ## the pages of docs/ as HTML in build/docs
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs build/docs

bench: $(READY)  ## speeds of flagships and published models here: outputs/bench/speed.md; BENCH_FLAGS="RUN --sizes 1 10000"
	$(BIN)/python scripts/benchmarks/speed.py $(BENCH_FLAGS)

wheel: $(READY)  ## dist/*.whl and dist/*.tar.gz
	$(BIN)/python -m build --no-isolation --outdir dist .

clean:  ## remove caches and builds; keep .venv and outputs
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
