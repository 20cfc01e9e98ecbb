# One command for each thing a person does. A target first makes .venv if it is missing or older
# than the files it is made from. You can set PYTHON, ARGS, TORCH and the other variables below.
# The Python that makes .venv: the first of these that runs. A version manager may put a name on the
# PATH that only says that this version is not chosen, and Debian may leave out venv.
SUPPORTED := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
PYTHON ?= $(shell for python in python3.12 python3.13 python3.14 python3.11 python3; do \
	$$python -c '$(SUPPORTED)' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
# What a sweep needs, and what the tests, the checks and the documentation need besides.
STAMP := $(VENV)/.stamp
DEV := $(VENV)/.stamp-dev
# Without --no-compile pip would compile all modules on one core.
PIP := $(BIN)/pip install -q --disable-pip-version-check --no-compile -c constraints.txt
ARGS ?=
HOST ?= 127.0.0.1
PORT ?= 5000
ROUNDS ?= 10
SEED ?= 0
# pytest keeps the test files that it has rewritten beside their bytecode. Without them it rewrites
# all of them again, four seconds in each worker.
unexport PYTHONDONTWRITEBYTECODE
# The store that `make ui` shows. Without one, it is mlflow.db in GENAE_HOME.
TRACKING_URI ?=
# The torch package to install. For a GPU machine see "With a GPU" in docs/clusters.md.
TORCH ?= torch

.PHONY: setup sweep check test test-faults soak lint docs ui explorer watch up down clean

setup: $(DEV)

COMPILE = $(BIN)/python -m compileall -q -j 0 -x '/tests?/' $(VENV)/lib >/dev/null || true  # some modules are for newer Pythons

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || test -n "$(PYTHON)" || \
		{ echo "setup: no Python 3.11 to 3.14 runs here: install one, or name it with PYTHON=" >&2; exit 2; }
	@echo "setup: making $(VENV) (a few minutes, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "setup: installing torch"
	@$(PIP) $(TORCH)
	@echo "setup: installing genae and its packages"
	@$(PIP) -e '.[sweep]'
	@$(PIP) --no-deps torchvision
	@echo "setup: compiling them"
	@$(COMPILE)
	@touch $@
	@echo "setup: done"

$(DEV): $(STAMP)
	@echo "setup: installing what the tests and the documentation need"
	@$(PIP) -e '.[sweep,dev,docs]'
	@$(COMPILE)
	@touch $@
	@echo "setup: done"

sweep: $(STAMP)
	@echo "sweep: sweeps/latent_dim.py $(ARGS)"
	@$(BIN)/python sweeps/latent_dim.py $(ARGS)

# The workers take one file after the other, in the order of tests/conftest.py. All tests have three
# workers on two cores, because those that start sweeps also wait. mypy runs beside them, because it
# takes a minute of one core.
PYTEST := $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder
BESIDE_MYPY = $(BIN)/mypy & typed=$$!; $(1); tested=$$?; wait $$typed && exit $$tested

# The quick loop while you write: everything but the slow tests, in at most 90 seconds.
check: $(DEV)
	@echo "check: ruff, mypy, the doctests and the fast tests $(ARGS)"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(call BESIDE_MYPY,$(PYTEST) -n 2 -m "not slow and not faults" $(ARGS))

test: $(DEV)
	@echo "test: ruff, mypy, pytest $(ARGS)"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(call BESIDE_MYPY,$(PYTEST) -n 3 -m "not faults" -rs --durations=20 $(ARGS))

test-faults: $(DEV)
	@echo "test-faults: pytest $(ARGS)"
	@$(BIN)/python -m pytest -m faults $(ARGS)

# Small sweeps, of which random processes are killed at random times. A round takes about a minute.
soak: $(DEV)
	@echo "soak: $(ROUNDS) rounds from seed $(SEED)"
	@PYTHONPATH=tests $(BIN)/python tests/soak.py --rounds $(ROUNDS) --seed $(SEED) $(ARGS)

lint: $(DEV)
	@echo "lint: ruff, mypy"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy

docs: $(DEV)
	@$(BIN)/mkdocs build --quiet --strict
	@echo "docs: build/site/index.html"

ui: $(STAMP)
	@$(BIN)/python -m genae_core ui --host $(HOST) --port $(PORT) \
		$(if $(TRACKING_URI),--tracking-uri "$(TRACKING_URI)") $(ARGS)

explorer: $(STAMP)
	@$(BIN)/python -m genae_core explorer $(ARGS)

watch: $(STAMP)
	@$(BIN)/python -m genae_core watch $(ARGS)

up down: $(STAMP)
	@$(BIN)/python -m genae_core node $@ $(ARGS)

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
