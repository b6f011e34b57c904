# Everything a new machine needs is Python 3.10-3.13, make, g++ and the Python package index.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SECONDS ?= 600
CODE := conv_kan models experiments tests cifar.py tiny_imagenet.py imagenet.py segmentation.py tune.py

.PHONY: help install quickstart test slow soak bench bench-full kernels gpu docs lint format clean

help:  ## list these targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

install: $(READY)  ## create the environment .venv with everything installed

$(READY): requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; \
	    sys.exit(None if (3, 10) <= v <= (3, 13) else f"Python {v[0]}.{v[1]} is not supported: type make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install --editable '.[dev,data,segmentation,docs]'
	touch $@

quickstart: install  ## train a small Gram network on digits to 98 % in two minutes
	$(BIN)/accelerate launch --quiet --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
	    cifar.py experiment=quickstart

test: install  ## run all CPU tests (under 15 minutes on two cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not slow' -n auto --dist worksteal

slow: install  ## the checks that take minutes each
	$(BIN)/python -m pytest -m slow

soak: install  ## kills, flipped bits and full disks at random, for SECONDS=600; every run is resumed
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.soak --seconds $(SECONDS)

bench: install  ## measure layers, models, loaders and the trainer: the short form, 4 minutes
	$(BIN)/python -m experiments.benchmarks --short

bench-full: install  ## measure everything anew; the CSV files and pictures are replaced
	$(BIN)/python -m experiments.benchmarks --fresh

kernels: install  ## CUDA kernels without a GPU: compile all, execute all on the CPU, write the tables
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.cuda_on_cpu.tables
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/conv_kan -k cuda

gpu: install  ## CUDA kernels on a GPU: parity, training, speed
	$(BIN)/python -m tests.cuda_on_gpu

docs: install  ## the pages of docs/ as a site in site/; a link that leads nowhere is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: install  ## style, import order and types
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy

format: install  ## rewrite the code in the project's style
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

clean:  ## remove the environment and caches; runs/ and data/ stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache *.egg-info site
