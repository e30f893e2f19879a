# Everything starts from Python alone: the first target that needs it builds .venv from the hashed lock file.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test unit chaos cluster fuzz mutants check format generate image sbom tools bench lock release-check clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## Build the virtual environment (other targets do it when needed)

# --no-deps: the lock file is complete. Older pips look extras (coverage[toml]) up anew, and fail once there is a newer release.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "worker-agents needs Python 3.11 or newer, and $(PYTHON) is older: make PYTHON=/path/to/python3 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m pip check --disable-pip-version-check
	@touch $@

demo: $(READY) ## Start Kafka, a worker and a few tickets, and show what becomes of them
	$(BIN)/worker-agents demo

test: $(READY) ## Run the tests, on a real Kafka broker
	$(PYTEST) -m "not chaos and not cluster"

unit: $(READY) ## Run the unit tests only
	$(PYTEST) tests/unit

chaos: $(READY) ## Faults of every kind at random times: five minutes, or MINUTES=60 [SEED=7] [BROKERS=1]
	$(if $(MINUTES),$(BIN)/python -m tests.chaos.fire --minutes $(MINUTES) --brokers $(or $(BROKERS),3) $(if $(SEED),--seed $(SEED)),$(PYTEST) -m chaos)

cluster: $(READY) tools ## Install the Helm chart on a real Kubernetes control plane: three minutes, and ten to build it the first time
	tools/install-cluster
	$(PYTEST) tests/cluster

fuzz: $(READY) ## Change kept inputs at random for five minutes, or MINUTES=30 [TARGETS="tickets opa"] [SEED=7]
	$(BIN)/python -m tests.fuzz $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(TARGETS)

check: $(READY) ## Lint, check format, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(READY) ## Mend what can be mended automatically
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

generate: $(READY) ## Write docs/metrics.md, the dashboard, the chart's README and its golden files anew
	$(BIN)/python -m tools.generate
	$(BIN)/python -m tools.generate.chart

mutants: $(READY) ## Change the pure modules in every small way and see which changes no test notices: docs/mutants.md
	rm -rf mutants
	$(BIN)/mutmut run --max-children 2
	$(BIN)/mutmut results

image: ## Build the container image with docker, or BUILDER=podman or buildah
	tools/build-image

sbom: ## Write what the image contains to worker-agents.cdx.json; needs `make tools`
	tools/sbom

tools: ## Install the external programs that tests use into .tools/bin
	tools/install-tools

bench: $(READY) ## Measure throughput, CPU time and memory, and recovery
	$(BIN)/python -m benchmarks

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock"

# The image needs a part of the lock file: what the service needs to run, and what its wheel is built with.
lock: $(READY) ## Resolve all dependencies anew into requirements.lock, and its parts for the image
	$(LOCK) --upgrade --all-extras --output-file requirements.lock pyproject.toml
	$(LOCK) --constraints requirements.lock --output-file requirements-runtime.lock pyproject.toml
	$(LOCK) --constraints requirements.lock --output-file requirements-build.lock --group build

release-check: $(READY) ## Build what a release would be, look into it, install it, and say what is wrong: docs/releasing.md
	$(BIN)/python -m tools.release_check

clean: ## Delete everything that the targets made
	rm -rf $(VENV) .venv-newest .tools mutants build dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find worker_agents tests -name __pycache__ -prune -exec rm -rf {} +
