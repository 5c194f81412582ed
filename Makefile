# `make mine` and `make test` need Python (3.11 to 3.13) and nothing else; both make .venv when it is missing.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
# Bytecode is kept even where a machine says not to: hundreds of commands start here, each with a hundred of our modules.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: mine test lint pytest cluster-test soak bench install format lock

mine: install
	@# Killed while it wrote dvc.lock or this note of its own, DVC cannot read it. What is lost is in data too.
	@find .dvc -path .dvc/tmp/rwlock -empty -delete
	@$(BIN)/dvc repro || { $(BIN)/dvc status 2>&1 | grep -q "^'./dvc.lock'" && mv -v dvc.lock dvc.lock.torn && $(BIN)/dvc repro; }
	@$(BIN)/gangue summary

test: install
	@$(MAKE) --no-print-directory -j 2 lint pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

pytest: install
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 3 --dist worksteal

# Of `make test`, alone: an S3 server, a scheduler and workers that share nothing with the caller but the store.
cluster-test: install
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/running/test_cluster.py

# Hours, not minutes: killed everywhere, any input, any disaster, many corpora against the oracle.
soak: install
	$(BIN)/python -m benchmarks.kills --output benchmarks/results/kills.json
	$(BIN)/python -m benchmarks.kills --kills 16 --signal SIGTERM --output benchmarks/results/kills_sigterm.json
	$(BIN)/python -m benchmarks.kills --kills 16 --signal SIGINT --output benchmarks/results/kills_sigint.json
	$(BIN)/python -m benchmarks.cluster_kills --output benchmarks/results/cluster_kills.json
	$(BIN)/python -m benchmarks.disasters --output benchmarks/results/disasters.json
	$(BIN)/python -m benchmarks.fuzz --output benchmarks/results/fuzz.json
	GANGUE_CORPORA=20 GANGUE_WHOLE=1 OMP_NUM_THREADS=1 $(BIN)/pytest tests/test_oracle.py tests/contracts tests/retrieval
	GANGUE_WHOLE=1 OMP_NUM_THREADS=1 $(BIN)/pytest -m soak --deselect tests/test_oracle.py --deselect tests/contracts

# Hours too: the figures of docs/benchmarks.md that need no collection, and with BEIR="FOLDER ..." WORK=FOLDER the lines
# and budgets of collections, each judged by a filter fitted on the others. The docs name the commands of all the rest.
bench: install
	$(BIN)/python -m benchmarks.stages --queries 20000 --output
	$(BIN)/python -m benchmarks.products --output
	$(BIN)/python -m benchmarks.candidates --output 20m
	$(BIN)/python -m benchmarks.workers --output
	$(BIN)/python -m benchmarks.approximate --output approximate
	$(BIN)/python -m benchmarks.approximate --documents 200000 --queries 20000 --nprobe 128 --output approximate_quarter
	$(BIN)/python -m benchmarks.approximate --documents 400000 --queries 50000 --dimensions 256 --index PQ64x4fs --refine 10 --output approximate_codes
	$(BIN)/python -m benchmarks.lexical --output
	$(BIN)/python -m benchmarks.growth --documents 100000 1000000 10000000 --output
	$(BIN)/python -m benchmarks.requests --output
	$(BIN)/python -m benchmarks.languages --output made_up
	$(BIN)/python -m benchmarks.cluster_cost --output benchmarks/results/cluster_cost.json
	@if [ -n "$(BEIR)" ]; then \
	  $(BIN)/python -m benchmarks.pretrain --data $(BEIR) --work $(WORK) --leave-out all --write $(WORK)/filters || exit 1; \
	fi
	@for folder in $(BEIR); do \
	  name=$$(basename $$folder); on="--data $$folder --pretrained $(WORK)/filters/$$name.json"; run="$(BIN)/python -m benchmarks"; \
	  half=yes; one="--seeds 1"; come=; told="--known one --labelled random bm25 --splits 3"; \
	  case $$name in cisi|medline) half=; one="--seeds 5";; scifact) one=; come=yes;; nl2bash) come=yes;; squad_sent) half=; one=;; esac; \
	  if [ "$$half" ]; then $$run.frontier $$on --output $$name || exit 1; fi; \
	  if [ "$$one" ]; then $$run.frontier $$on --known one $$one --output $${name}_one || exit 1; fi; \
	  $$run.pairs_truth $$on --labelled random bm25 --output $$name && \
	  $$run.budget $$on --known one 0.1 0.3 half --labelled random bm25 dense worst --output $${name}_regimes && \
	  $$run.budget $$on $$told --labels 200 --output $${name}_labels && \
	  $$run.budget $$on $$told --labels 200 200 --output $${name}_labels_twice || exit 1; \
	  for topics in $$(test $$name = clinc150 && echo 15x1 15x2 15x4 15x10 5x10); do \
	    few=$(WORK)/topics_$$topics; own="--data $$few --pretrained $(WORK)/filters/$$name.json $$told"; \
	    $$run.few_topics --data $$folder --write $$few --topics $${topics%x*} --classes $${topics#*x} || exit 1; \
	    $$run.budget $$own --labels 200 --output topics_$${topics}_labels || exit 1; \
	    $$run.budget $$own --labels 200 200 --output topics_$${topics}_labels_twice || exit 1; \
	  done; \
	  both=$(WORK)/$${name}_and_squad_sent; single=$$(dirname $$folder)/squad_sent; \
	  case $$name in cisi|clinc150|dbpedia_entity_titles) $$run.two_kinds --data $$folder $$single --write $$both && \
	    $$run.budget --data $$both --pretrained $(WORK)/filters/$$name.json --known one --output $${both##*/} || exit 1;; esac; \
	  if [ "$$come" ]; then $$run.budget $$on --known one --labelled random bm25 --output $${name}_as_they_come || exit 1; fi; \
	done
	$(BIN)/python -m benchmarks.pictures

install: .venv/installed stdlib

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	# torch goes first: with its pinned release there, nothing else pulls another build of it
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' requirements.lock)"
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@rm -f stdlib
	@touch $@

# The default source: the standard library of the Python that runs here.
stdlib: | .venv/installed
	@ln -sfn "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" stdlib

format:
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Pin what is installed now; run it after a change of the ranges in pyproject.toml.
lock:
	$(BIN)/python -m pip install --quiet --upgrade --editable ".[models,dev]"
	$(BIN)/python -m pip freeze --exclude-editable | sed -E 's/\+cpu$$//' > requirements.lock
