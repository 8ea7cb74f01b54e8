# Golden Path. `make help` lists what can be done; every target sets up what it needs.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help check data train score monitor operate backfill rebaseline simulate-year deploy worker janitor quarantine replay accept-batch serve predict bento image models promote rollback shadow reproduce adopt ui test test-platform lint types docs notebook bench bench-ablation bench-quality bench-serving bench-monitoring bench-year bench-scoring drill drill-kill mutate lock setup clean

PYTHON ?= python3
CONFIG = default
ARGS =
REASON =
BATCH =
VERSION =
RUN = latest
DATA =
TARGET =
AS_OF =
FROM =
TO =
RESTATE =
DRIFT =
BIN := .venv/bin

# What is set for other Pythons on this machine is not meant for the project's own.
unexport PYTHONSAFEPATH PYTHONHOME PYTHONPATH PYTHONOPTIMIZE PYTHONWARNINGS PIP_TARGET PIP_PREFIX PIP_USER PIP_CONSTRAINT

# What a person types reaches the commands as it was typed: through the environment, not through the
# recipe's text, where make and the shell would read $, quotes and spaces.
export GP_CONFIG := $(value CONFIG)
export GP_REASON := $(value REASON)
export GP_BATCH := $(value BATCH)
export GP_VERSION := $(value VERSION)
export GP_RUN := $(value RUN)
export GP_DATA := $(value DATA)
export GP_TARGET := $(value TARGET)
export GP_AS_OF := $(value AS_OF)
export GP_FROM := $(value FROM)
export GP_TO := $(value TO)
export GP_RESTATE := $(value RESTATE)
export GP_MONTH := $(value MONTH)
export GP_DRIFT := $(value DRIFT)
PRESET := --config "$$GP_CONFIG"

help: ## list the targets
	@awk -F ':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { n = split($$2, said, "  +"); printf "  make %-16s %s\n", $$1, said[1]; \
	  if (n > 1) printf "  %21s %s\n", "", said[2] }' $(MAKEFILE_LIST)

##@ Use

train: setup ## validate, build features, tune, compare, decide  (CONFIG=preset ARGS="--tuning.trials 10")
	@$(BIN)/python -m flows.commands.train $(PRESET) $(ARGS)

serve: setup ## answer predictions on http://127.0.0.1:3000
	@$(BIN)/python -m serving $(PRESET) $(ARGS)

predict: setup ## send an example of the last run to the service
	@$(BIN)/python -m serving.predict $(PRESET) $(ARGS)

score: setup ## list everybody's score: var/scores/  (AS_OF=2026-05-01; of a table DATA=new.csv)
	@$(BIN)/python -m flows.score $${GP_AS_OF:+--as-of "$$GP_AS_OF"} $${GP_DATA:+--data "$$GP_DATA"} $(PRESET) $(ARGS)

ui: setup ## open MLflow's and Prefect's pages on the state in var/
	@$(BIN)/python -m flows.commands.ui $(PRESET) $(ARGS)

quarantine: setup ## show the rows kept out of the last batch  (REASON=duplicate)
	@$(BIN)/python -m flows.commands.quarantine $${GP_REASON:+"$$GP_REASON"} $(PRESET) $(ARGS)

notebook: setup ## run docs/explore.ipynb on the last run: var/notebook/
	@$(BIN)/python -m flows.commands.notebook $(ARGS)

##@ Bring your own data

data: setup ## download Online Retail II into data/ (needs a network)
	@$(BIN)/python -m flows.commands.data $(ARGS)

adopt: setup ## draft the settings for a labelled table of your own  (DATA=file.csv TARGET=column)
	@$(BIN)/python -m flows.commands.adopt "$$GP_DATA" "$$GP_TARGET" $(ARGS)

replay: setup ## judge the quarantine again after a repair
	@$(BIN)/python -m flows.commands.replay $(PRESET) $(ARGS)

accept-batch: setup ## release a batch held because it differs from the last  (BATCH=name)
	@$(BIN)/python -m flows.commands.accept_batch $${GP_BATCH:+"$$GP_BATCH"} $(PRESET) $(ARGS)

##@ Operate

simulate-year: setup ## operate a simulated year: two to five minutes  (DRIFT=price|unit|missing|mix|none; rate unless given)
	@[ "$$GP_CONFIG" != default ] || GP_CONFIG=year; \
	  $(BIN)/python -m flows.commands.simulate_year $${GP_DRIFT:+--drift "$$GP_DRIFT"} $(PRESET) $(ARGS)

operate: setup ## process every month that is due: score, judge, retrain  (RESTATE=2026-02)
	@$(BIN)/python -m flows.operate $${GP_RESTATE:+--restate "$$GP_RESTATE"} $(PRESET) $(ARGS)

monitor: setup ## judge the last whole month: verdict, alerts, page  (RESTATE= MONTH=)
	@$(BIN)/python -m flows.monitor $${GP_RESTATE:+--restate "$$GP_RESTATE"} $${GP_MONTH:+--month "$$GP_MONTH"} $(PRESET) $(ARGS)

backfill: setup ## score and judge past months; nothing is trained  (FROM=2025-06 TO=2026-03)
	@$(BIN)/python -m flows.commands.backfill $${GP_FROM:+--from "$$GP_FROM"} $${GP_TO:+--to "$$GP_TO"} $(PRESET) $(ARGS)

rebaseline: setup ## freeze a new baseline of the sensors  (REASON="why the months are normal")
	@$(BIN)/python -m flows.commands.rebaseline $${GP_REASON:+--reason "$$GP_REASON"} $(PRESET) $(ARGS)

deploy: setup ## send prefect.yaml to a Prefect server (prefect.api_url)
	@$(BIN)/python -m flows.commands.deploy $(PRESET) $(ARGS)

worker: setup ## run what that server starts, until Ctrl-C
	@$(BIN)/python -m flows.commands.worker $(PRESET) $(ARGS)

janitor: setup ## end flow runs in Prefect whose process is gone
	@$(BIN)/python -m flows.janitor $(PRESET) $(ARGS)

models: setup ## list versions, who is champion, and every decision
	@$(BIN)/python -m flows.commands.models $(PRESET) $(ARGS)

promote: setup ## promote a version manually  (VERSION=3 REASON="why"; ARGS=--despite-ledger)
	@$(BIN)/python -m flows.commands.promote $${GP_VERSION:+"$$GP_VERSION"} $${GP_REASON:+--reason "$$GP_REASON"} $(PRESET) $(ARGS)

rollback: setup ## go back to the champion before this one, or to VERSION=  (REASON="why")
	@$(BIN)/python -m flows.commands.rollback $${GP_VERSION:+"$$GP_VERSION"} $${GP_REASON:+--reason "$$GP_REASON"} $(PRESET) $(ARGS)

shadow: setup ## compare the challenger in shadow with the champion  (ARGS=--promote)
	@$(BIN)/python -m flows.commands.shadow $(PRESET) $(ARGS)

reproduce: setup ## repeat a run and say whether its figures are the same  (RUN=run id)
	@$(BIN)/python -m flows.commands.reproduce "$$GP_RUN" $(ARGS)

bento: setup ## pack the champion with all that serves it
	@$(BIN)/python -m serving.package $(PRESET) $(ARGS)

image: setup ## the same as a container image, by Docker or Podman
	@$(BIN)/python -m serving.image $(PRESET) $(ARGS)

##@ Change the project

check: setup lint types ## lint, import rules, types, fast tests: within a minute
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow" $(ARGS)

test: setup lint types ## lint, types and all tests, end to end ones included
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n 2 --dist loadfile --durations 15 $(ARGS)

test-platform: setup ## deployments on a real Prefect server: six minutes
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n 0 -x --durations 5 tests/platform $(ARGS)

lint: setup ## ruff, and who may import whom
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache

types: setup ## mypy
	@$(BIN)/mypy

docs: setup ## write the pages and figures that come from the code
	@$(BIN)/python -m flows.docs

lock: setup ## resolve pyproject.toml into the lock files again  (ARGS=--upgrade)
	@$(BIN)/python -m flows.commands.requirements $(ARGS)

setup: ## make .venv from the lock file, if absent or out of date
	@{ cmp -s requirements.lock .venv/requirements.lock && $(BIN)/python -c ''; } 2>/dev/null || $(MAKE) --no-print-directory .venv/install

# The copy of the lock file is written last: a set-up that was interrupted is done again.
.PHONY: .venv/install
.venv/install:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || { \
	  echo "Error: $(PYTHON) is $$($(PYTHON) --version 2>&1); Python 3.11, 3.12 or 3.13 is needed" >&2; \
	  echo "  next:  make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@packages=$$(grep -c == requirements.lock); \
	  echo "Setting up .venv: $$packages packages of requirements.lock, 2.7 GB on disk, once"; \
	  $(PYTHON) -m venv --clear .venv; mkdir .venv/parts; \
	  pip="$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps"; \
	  torch=$$(grep -oE '^torch==[0-9.]+' requirements.lock); cpu=; \
	  if $$pip --dry-run "$$torch+cpu" > /dev/null 2>&1; then cpu=+cpu; else \
	    echo "  No CPU build of PyTorch is offered (see the README): on Linux 4 GB more"; fi; \
	  grep == requirements.lock | sed "s/^$$torch /$$torch$$cpu /" | split -l 30 - .venv/parts/; \
	  [ "$$cpu" ] || grep == requirements-cuda.lock > .venv/parts/cuda; \
	  for part in .venv/parts/*; do \
	    $$pip --require-hashes -r "$$part" || { echo "Error: the packages of requirements.lock could not" \
	      "be installed; its first lines say what to do about a hash of torch" >&2; exit 1; }; \
	    done=$$(( $${done:-0} + $$(wc -l < "$$part") )); echo "  $$done installed"; \
	  done
	@rm -r .venv/parts && cp requirements.lock .venv/requirements.lock

clean: ## remove everything that runs have made (var/), not .venv
	@rm -rf var

##@ Measure

bench: setup ## seconds, memory, scores beside their limits and peers
	@$(BIN)/python -m tests.bench.pipeline $(ARGS)

bench-ablation: setup ## what each group of features adds: docs/ablation.md  (needs make data)
	@$(BIN)/python -m tests.bench.ablation $(ARGS)

bench-quality: setup ## beside AutoGluon, FLAML on the same table and seconds  (needs make data)
	@$(BIN)/python -m tests.bench.quality $(ARGS)

bench-serving: setup ## the service beside FastAPI, BentoML's and MLflow's own  (ARGS="--soak 10")
	@$(BIN)/python -m tests.bench.serving $(ARGS)

bench-monitoring: setup ## false alarms and power of the sensors
	@$(BIN)/python -m tests.bench.monitoring $(ARGS)

bench-year: setup ## two simulated years, one without drift: ten minutes
	@$(BIN)/python -m tests.bench.year $(ARGS)

bench-scoring: setup ## a million customers scored, beside Polars
	@$(BIN)/python -m tests.bench.scoring $(ARGS)

drill: setup ## kill make operate at every step, then the servers
	@$(BIN)/python -m tests.drills.operate $(ARGS)
	@$(MAKE) --no-print-directory test-platform ARGS=  # it kills each of them once

drill-kill: setup ## kill 80 training runs: does the next one end well?  (ARGS="--only 5")
	@$(BIN)/python -m tests.drills.kill $(ARGS)

mutate: setup ## change gate, splits, folds, judge: do tests notice?
	@$(BIN)/python -m tests.mutate $(ARGS)
