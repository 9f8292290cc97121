# Everything a newcomer needs: `make demo` and `make test` set up `.venv` by themselves. See `make help`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed-all
REAL_DATA ?=
DEMO := demo
SHORT ?= --set effort=0.15 --set strategy=multi_task --set new_domain=zero_shot_content # UniMP in six minutes; empty for 26
REAL := $(if $(REAL_DATA),--real-data=$(REAL_DATA))

.PHONY: help setup demo test test-slow lint bench clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv and install everything, once

$(READY): pyproject.toml constraints.txt
	@echo "==> setting up $(VENV) with $$($(PYTHON) --version) (once; a few minutes)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,dev,models,recbole,unimp]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps recbole==1.2.1
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --only-binary=cornac -e '.[parity]' \
	  || echo "==> there is no Cornac for this machine; its tests are skipped"
	@touch $@
	@echo "==> $(VENV) is ready"

demo: $(READY) ## build the small synthetic shop, run floors, BM25 and a short UniMP, print the leaderboard, write the report
	@$(BIN)/unimp-bench --home $(DEMO) build synthetic --size small --noise NT --noise NV
	@$(BIN)/unimp-bench --home $(DEMO) run --model floors,bm25,oracle_history,oracle --task all --dataset synthetic-small
	@$(BIN)/unimp-bench --home $(DEMO) run --model bm25,repeat_last --task all --variant NT-0.2 --dataset synthetic-small
	@$(BIN)/unimp-bench --home $(DEMO) run --model bm25,repeat_last --task all --variant NV-0.2 --dataset synthetic-small
	@$(BIN)/unimp-bench --home $(DEMO) run --model unimp --task all $(SHORT) --dataset synthetic-small
	@$(BIN)/unimp-bench --home $(DEMO) leaderboard --dataset synthetic-small --csv $(DEMO)/leaderboard.csv
	@$(BIN)/unimp-bench --home $(DEMO) report --dataset synthetic-small --out $(DEMO)/report.html
	@echo "==> tasks in $(DEMO)/data/synthetic-small, leaderboard in $(DEMO)/leaderboard.csv, report in $(DEMO)/report.html"

test: $(READY) lint ## lint, types, import contracts and all fast tests (REAL_DATA=DIR adds tests on real files)
	@echo "==> fast tests"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile $(REAL)

test-slow: $(READY) ## the tests that train or generate for longer
	@echo "==> slow tests"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n 2 --dist loadfile $(REAL)

lint: $(READY)
	@echo "==> ruff, mypy, import contracts"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

bench: $(READY) ## measure ingestion, stages of a build, scoring, BM25, and the model, each against a named alternative
	@$(BIN)/python benchmarks/ingest.py
	@$(BIN)/python benchmarks/stages.py
	@$(BIN)/python benchmarks/score.py
	@$(BIN)/python benchmarks/bm25.py
	@$(BIN)/python benchmarks/prefix.py
	@$(BIN)/python benchmarks/decoding.py
	@$(BIN)/python benchmarks/answering.py
	@$(BIN)/python benchmarks/half_products.py
	@$(BIN)/python benchmarks/cross_attention.py
	@$(BIN)/python benchmarks/large_catalogue.py
	@$(BIN)/python benchmarks/neighbours.py
	@$(BIN)/python benchmarks/vision_cache.py

clean: ## remove the environment and the demo
	rm -rf $(VENV) $(DEMO)
