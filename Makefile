# Needs make and Python 3.11 or newer; everything else goes into .venv.
PYTHON ?= python3
ARGS ?=
# A CPU-only machine whose package index offers only the CUDA build of torch: TORCH_INDEX=<URL of an index with CPU builds>
TORCH_INDEX ?=

BIN := .venv/bin
STAMP := .venv/.installed
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt
# Runs a quiet command and prints a dot every 2 seconds while it takes.
WITH_DOTS = dots() { while sleep 2; do printf .; done; }; dots & pid=$$!; trap 'kill $$pid 2>/dev/null; echo' EXIT;

.DEFAULT_GOAL := help
.PHONY: help install demo test check check-image bench bench-imports bench-events bench-soak bench-serve bench-pages bench-train quality docs serve browser screenshots clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

install: $(STAMP) ## Create .venv with everything pinned (about 2 minutes, once)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed. Install it and name it: make PYTHON=python3.11 ..." >&2; exit 1; }
	@echo "Installing into .venv, once: about 2.5 GB on disk; about 2 minutes on a fast network."
	@echo "[1/3] virtual environment"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
	  { echo "Python's venv module is missing. Install it (Debian: python3-venv)." >&2; exit 1; }
	@echo "[2/3] torch, the largest download"
	@$(WITH_DOTS) $(PIP) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	@echo "[3/3] everything else, and this project"
	@$(WITH_DOTS) $(PIP) -e '.[dev]'
	@touch $@
	@echo "Installed."

demo: install ## Real data: load, recommend, train an adapter, hot-swap it (about a minute; ARGS=--help)
	@$(BIN)/transrec demo $(ARGS)

test: install ## All tests against real SQLite, PostgreSQL and Valkey (about 25 minutes on 2 cores; ARGS="-k name")
	@echo "Running all tests; about 25 minutes on two cores; the dots are progress."
	@$(BIN)/python -m pytest $(ARGS)

check: install ## Lint, format, types, import order (about a minute)
	@echo "[1/4] ruff check" && $(BIN)/ruff check .
	@echo "[2/4] ruff format" && $(BIN)/ruff format --check .
	@echo "[3/4] mypy, slow the first time" && $(BIN)/mypy
	@echo "[4/4] import order" && $(BIN)/lint-imports

check-image: ## Build the Dockerfile on a bare Debian and ask it (4 minutes; root, mmdebstrap, buildah; ARGS=cuda)
	@$(PYTHON) deploy/check_image.py $(ARGS)

bench: install ## Print figures of the parts: mixed batches, index, filters, encoding (4 minutes; keep the machine idle)
	@echo "[1/4] mixed batches of adapters" && OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.bank user
	@echo "[2/4] index" && OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.index
	@echo "[3/4] filters" && OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.filters
	@echo "[4/4] encoding" && $(BIN)/python -m tests.benchmarks.encoding

bench-imports: install ## Imports beside COPY and a bare INSERT (5 minutes; keep the machine idle; ARGS=--help)
	@$(BIN)/python -m tests.benchmarks.imports $(ARGS)

bench-events: install ## Events over HTTP, and how soon an answer shows one (2 minutes; keep the machine idle; ARGS=--help)
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.events $(ARGS)

bench-soak: install ## Mixed load, and what memory does (15 minutes; ARGS="--minutes 1")
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.soak $(ARGS)

bench-serve: install ## Drive the real service with load (4 minutes; keep the machine idle; ARGS=--help)
	@$(BIN)/python -m tests.benchmarks.load $(ARGS)

bench-pages: install ## Every page's time, bytes and requests with 500 channels and a big one (6 minutes; ARGS=--help)
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.pages $(ARGS)

bench-train: install ## Training beside the paper's plain loop (9 minutes; keep the machine idle; ARGS="pastry --accuracy")
	@$(BIN)/python -m tests.benchmarks.train $(or $(ARGS),pastry deli)

quality: install ## Print HR@10 and NDCG@10 by method (minutes a channel; ARGS="pastry deli")
	@$(BIN)/python -m tests.benchmarks.quality $(or $(ARGS),pastry deli)

screenshots: install ## Make the pictures in docs/screenshots (about 3 minutes; needs Chromium: make browser)
	@$(BIN)/python -m tests.browser.screenshots

browser: ## Install Chromium, which the tests of the web console drive, by the system's package manager (root)
	@deploy/install_browser.sh

docs: install ## Build the documentation into build/site (ARGS=serve: show it, and follow changes)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs $(or $(ARGS),build --strict --quiet)
	@$(if $(ARGS),,echo "Open build/site/index.html; it needs no server.")

serve: install ## Run the service at http://127.0.0.1:8000 with its worker (ARGS="--port 0")
	@$(BIN)/transrec serve $(ARGS)

clean: ## Remove .venv, caches and build outputs; var/ with its data stays
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find app training migrations tests -name __pycache__ -type d -prune -exec rm -rf {} +
