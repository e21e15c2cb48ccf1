# Needs GNU make and Python 3.10 or newer; everything else is put into .venv.
#
#   make serve    run the server on http://127.0.0.1:8000 (ARGS="--port 8001")
#   make test     run the tests, several at once (ARGS="tests/unit -k token"; one at a time: ARGS="-n 0")
#   make check    format, lint, types, import direction, documentation
#   make format   let ruff rewrite the files
#   make docs     build the documentation as a site into build/site
#   make dist     build the wheel and the source distribution into dist
#   make image    run the Dockerfile's install steps without a container engine
#   make bench    first figures of accuracy and throughput
#   make torture  the long experiments of docs/reliability.md: kills, hostile input, restarts, replicas, soak
#                 (about three hours)
#   make lock     resolve the dependencies anew and write the locks
#   make clean    remove what these made; state in AIPFACE_HOME stays

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
UV := .cache/uv
PYTHON_SOURCES := service models alembic benchmarks examples tests deploy

.DEFAULT_GOAL := serve
.PHONY: serve test check format docs dist image bench torture lock clean runtime dev

serve: runtime
	@$(BIN)/aipface serve $(ARGS)

test: dev
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile $(ARGS)

check: dev
	$(BIN)/ruff format --check $(PYTHON_SOURCES)
	$(BIN)/ruff check $(PYTHON_SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/yamllint --strict docker-compose.yml
	$(BIN)/hadolint Dockerfile
	$(BIN)/python -m pytest -q tests/unit/test_docs.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	$(BIN)/python deploy/inventory.py --check
	deploy/audit-dependencies $(PYTHON) .cache/pip-audit

format: dev
	$(BIN)/ruff format $(PYTHON_SOURCES)
	$(BIN)/ruff check --fix $(PYTHON_SOURCES)

docs: dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict $(ARGS)

# The backend is the one of the lock, so that building needs no network.
dist: dev
	rm -rf dist
	$(BIN)/python -m hatchling build -d dist

image:
	deploy/check-dockerfile

bench: dev
	$(BIN)/python -m benchmarks.throughput $(ARGS)
	$(BIN)/python -m benchmarks.accuracy $(ARGS)

torture: dev
	$(BIN)/python -m pytest tests/torture tests/integration/images tests/congruence tests/e2e/test_replicas.py --torture $(ARGS)
	$(BIN)/python -m benchmarks.soak

lock: $(UV)/bin/uv
	$(UV)/bin/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-header --no-annotate \
	  --extra build --extra x86 --output-file requirements.lock pyproject.toml
	$(UV)/bin/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-header --no-annotate \
	  --extra build --extra x86 --extra milvus --constraint requirements.lock --output-file requirements-milvus.lock pyproject.toml
	$(UV)/bin/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-header --no-annotate \
	  --extra build --extra x86 --extra dev --extra milvus --extra otel --constraint requirements-milvus.lock --output-file requirements-dev.lock pyproject.toml

clean:
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find $(PYTHON_SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

# --- environments -----------------------------------------------------------------------------------------------------
# The development lock holds everything of the runtime lock in the same versions, so it satisfies both.

runtime: $(VENV)/.runtime
dev: $(VENV)/.dev

$(VENV)/.runtime: requirements.lock pyproject.toml deploy/make-venv
	deploy/make-venv $(PYTHON) $(VENV) requirements.lock
	@touch $@

# Added to what is there and nothing taken away: a server may be running out of it.
$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	@echo "aipface-server: adding $< to $(VENV)" >&2
	@$(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet --require-hashes --requirement $<
	@touch $@

$(UV)/bin/uv:
	$(PYTHON) -m venv $(UV)
	$(UV)/bin/python -m pip install --quiet --disable-pip-version-check uv
