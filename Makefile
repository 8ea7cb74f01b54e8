# Golden Path. `make help` lists what can be done; every target sets up what it needs.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help data train quarantine replay accept-batch serve predict bento image models promote rollback reproduce adopt ui test lint types docs notebook bench bench-ablation bench-quality bench-serving drill-kill mutate lock setup clean

PYTHON ?= python3
CONFIG ?= default
ARGS ?=
REASON =
BATCH =
VERSION =
RUN = latest
DATA =
TARGET =
BIN := .venv/bin

# What is set for other Pythons on this machine is not meant for the project's own.
unexport PYTHONSAFEPATH PYTHONHOME

# What a person types reaches the commands as it was typed: through the environment, not through the
# recipe's text, where make and the shell would read $, quotes and spaces.
export GP_CONFIG := $(value CONFIG)
export GP_REASON := $(value REASON)
export GP_BATCH := $(value BATCH)
export GP_VERSION := $(value VERSION)
export GP_RUN := $(value RUN)
export GP_DATA := $(value DATA)
export GP_TARGET := $(value TARGET)
PRESET := --config "$$GP_CONFIG"

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

data: setup ## download the published file of Online Retail II into data/ (the one command that needs a network)
	@$(BIN)/python -m flows.data $(ARGS)

train: setup ## validate, build features, tune, compare, decide  (CONFIG=preset ARGS="--tuning.trials 10")
	@$(BIN)/python -m flows.train $(PRESET) $(ARGS)

quarantine: setup ## show the rows kept out of the last batch, and why  (REASON=duplicate)
	@$(BIN)/python -m flows.quarantine $${GP_REASON:+"$$GP_REASON"} $(PRESET) $(ARGS)

replay: setup ## judge the quarantine again after a rule or the source was mended
	@$(BIN)/python -m flows.replay $(PRESET) $(ARGS)

accept-batch: setup ## release a batch that is held because it is unlike the last one  (BATCH=name)
	@$(BIN)/python -m flows.accept_batch $${GP_BATCH:+"$$GP_BATCH"} $(PRESET) $(ARGS)

serve: setup ## answer predictions of the champion on http://127.0.0.1:3000
	@$(BIN)/python -m serving $(PRESET) $(ARGS)

predict: setup ## send an example from the last run to the service and print the answer
	@$(BIN)/python -m serving.predict $(PRESET) $(ARGS)

bento: setup ## pack the champion with all that serves it, to start anywhere: var/bento/NAME-vN.bento
	@$(BIN)/python -m serving.shipping.bento $(PRESET) $(ARGS)

image: setup ## the same as a container image, where Docker or Podman runs
	@$(BIN)/python -m serving.shipping.image $(PRESET) $(ARGS)

models: setup ## list registered versions, who is champion, and every decision
	@$(BIN)/python -m flows.models $(PRESET) $(ARGS)

promote: setup ## make a version champion by hand, whatever the gate said  (VERSION=3 REASON="why"; on a damaged ledger ARGS=--despite-ledger)
	@$(BIN)/python -m flows.promote $${GP_VERSION:+"$$GP_VERSION"} $${GP_REASON:+--reason "$$GP_REASON"} $(PRESET) $(ARGS)

rollback: setup ## go back to the champion before this one, or to VERSION=  (REASON="why")
	@$(BIN)/python -m flows.rollback $${GP_VERSION:+"$$GP_VERSION"} $${GP_REASON:+--reason "$$GP_REASON"} $(PRESET) $(ARGS)

reproduce: setup ## repeat a run and say whether its figures are the same  (RUN=run id)
	@$(BIN)/python -m flows.reproduce "$$GP_RUN" $(ARGS)

adopt: setup ## draft the settings for a labelled table of your own  (DATA=file.csv TARGET=column)
	@$(BIN)/python -m flows.adopt "$$GP_DATA" "$$GP_TARGET" $(ARGS)

ui: setup ## open MLflow's and Prefect's pages on the state under var/
	@$(BIN)/python -m flows.ui $(PRESET) $(ARGS)

test: setup lint types ## lint, types, and all tests, the whole road included
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: setup ## ruff, and who may import whom
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache

types: setup ## mypy
	@$(BIN)/mypy

docs: setup ## write what is generated: docs/features.md, docs/settings.md, the README's figures
	@$(BIN)/python -m flows.docs

notebook: setup ## run docs/explore.ipynb again on what the last run left in var/
	@$(BIN)/python -m flows.notebook $(ARGS)

bench: setup ## measure the road: seconds and memory beside their limits
	@$(BIN)/python -m tests.bench.road $(ARGS)

bench-ablation: setup ## what each group of features adds: writes docs/ablation.md  (needs the real file)
	@$(BIN)/python -m tests.bench.ablation $(ARGS)

bench-quality: setup ## beside AutoGluon and FLAML on the same table and seconds, in an environment of their own  (needs the real file)
	@$(BIN)/python -m tests.bench.quality $(ARGS)

bench-serving: setup ## the service beside FastAPI, BentoML's and MLflow's own, and ONNX Runtime alone  (ARGS="--soak 10")
	@$(BIN)/python -m tests.bench.serving $(ARGS)

drill-kill: setup ## kill 80 training runs and see whether the next one ends as if nothing had been  (25 minutes; ARGS="--only 5")
	@$(BIN)/python -m tests.drills.kill $(ARGS)

mutate: setup ## change the gate's code in hundreds of ways: does a test notice each?  (an environment of its own, five minutes)
	@$(BIN)/python -m tests.registry.mutate $(ARGS)

setup: ## make .venv from the lock file, if absent or stale
	@{ cmp -s requirements.lock .venv/requirements.lock && $(BIN)/python -c ''; } 2>/dev/null || $(MAKE) --no-print-directory .venv/install

# The copy of the lock file is written last: a set-up that was interrupted is done again.
.PHONY: .venv/install
.venv/install:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || { \
	  echo "Error: $(PYTHON) is $$($(PYTHON) --version 2>&1); Python 3.11, 3.12 or 3.13 is needed" >&2; \
	  echo "  next:  make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Setting up .venv from requirements.lock: about two minutes, once"
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements.lock
	@cp requirements.lock .venv/requirements.lock

# uv does not read pip's sources, so it is handed them. A CPU build is called torch==X+cpu, which
# another machine cannot find, and the GPU build's CUDA packages are pip's to add where only that
# build is offered: the lock names neither.
lock: setup ## resolve pyproject.toml into requirements.lock again
	@mkdir -p var && rm -f var/lock.txt
	@links="$${PIP_FIND_LINKS:-$$($(BIN)/python -m pip config get global.find-links 2>/dev/null || true)}"; \
	  UV_FIND_LINKS="$${UV_FIND_LINKS:-$${links// /,}}" \
	  $(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --quiet \
	    --no-header --no-annotate --no-emit-index-url --no-emit-find-links --output-file var/lock.txt $(ARGS)
	@{ echo "# Written by 'make lock' from pyproject.toml. Do not edit."; \
	   sed -E 's/^torch==([0-9.]+).*/torch==\1/' var/lock.txt \
	   | grep -vE '^(nvidia-(cu|nc|nv)|cuda-|triton==)' | sort -u; } > requirements.lock
	@echo "$$(grep -c == requirements.lock) packages locked"

clean: ## remove everything that runs have made (var/), not .venv
	@rm -rf var
