# Every target sets up its own virtual environment with plain pip; nothing else has to be installed first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OTHER_PYTHONS ?= python3.11 python3.12 python3.13

.PHONY: demo test check bench docs test-pythons test-verl test-inspect test-mcp test-openenv test-verifiers test-nemo-gym conformance clean

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet torch==2.13.0  # first and alone: what follows then takes it as it is
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@

demo: $(VENV)/.ready  ## the whole path on two cores: build, audit, execute, prove, play, score, train
	$(BIN)/toolfoundry demo -o demo-out

test: $(VENV)/.ready  ## all tests not marked slow or gpu
	$(BIN)/python -m pytest -n 2 -m "not slow and not gpu"

check: $(VENV)/.ready  ## formatting, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

bench: $(VENV)/.ready  ## the benchmarks behind docs/benchmarks.md (FTRL=path of published rows, optional)
	$(BIN)/python benchmarks/rollout.py
	$(BIN)/python benchmarks/sandbox.py $(if $(FTRL),--ftrl $(FTRL))
	$(if $(FTRL),$(BIN)/python benchmarks/prover.py ftrl $(FTRL))

DOCS := .venv-docs
$(DOCS)/.ready: pyproject.toml
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --upgrade pip
	$(DOCS)/bin/python -m pip install --quiet -e '.[docs]'
	touch $@

docs: $(DOCS)/.ready  ## the documentation as a site in docs/out; a warning is an error; no network
	$(DOCS)/bin/sphinx-build -W --keep-going -q -E docs docs/out
	@! grep -rnEo '(<script[^>]* src|<link[^>]* href|<img[^>]* src|@import|url\()[="( ]+https?:[^">)]*' docs/out --include=*.html --include=*.css
	@echo docs/out/index.html

test-pythons:  ## the sandbox's tests on every other supported Python that is installed
	@for python in $(OTHER_PYTHONS); do sh .ci/on-python $$python || exit 1; done

VERL := .venv-verl
$(VERL)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VERL)
	$(VERL)/bin/python -m pip install --quiet --upgrade pip
	$(VERL)/bin/python -m pip install --quiet 'torch==2.13.0' verl==0.9.1 'TransferQueue>=0.1.10' cachetools fastapi uvicorn pytest -e .
	touch $@

test-verl:  ## the verl backend against verl's own classes, in a virtual environment of its own, on the CPU
	@$(MAKE) --no-print-directory $(VERL)/.ready || { echo "verl cannot be installed here: tests skipped"; exit 0; }; \
	$(VERL)/bin/python -m pytest tests/verl_backend

INSPECT := .venv-inspect
$(INSPECT)/.ready: pyproject.toml
	$(PYTHON) -m venv $(INSPECT)
	$(INSPECT)/bin/python -m pip install --quiet --upgrade pip
	$(INSPECT)/bin/python -m pip install --quiet pytest -e '.[inspect]'
	touch $@

test-inspect:  ## the tasks for inspect_ai, in a virtual environment of its own
	@$(MAKE) --no-print-directory $(INSPECT)/.ready || { echo "inspect_ai cannot be installed here: tests skipped"; exit 0; }; \
	$(INSPECT)/bin/python -m pytest tests/evaluate/test_eval_inspect.py

MCP1 := .venv-mcp1
$(MCP1)/.ready: pyproject.toml
	$(PYTHON) -m venv $(MCP1)
	$(MCP1)/bin/python -m pip install --quiet --upgrade pip
	$(MCP1)/bin/python -m pip install --quiet pytest 'mcp<2' -e '.[mcp]'
	touch $@

MCP2 := .venv-mcp2
$(MCP2)/.ready: pyproject.toml
	$(PYTHON) -m venv $(MCP2)
	$(MCP2)/bin/python -m pip install --quiet --upgrade pip
	$(MCP2)/bin/python -m pip install --quiet pytest 'mcp>=2' -e '.[mcp]'
	touch $@

test-mcp:  ## the MCP server with the official client, both majors, in virtual environments of their own
	@for venv in $(MCP1) $(MCP2); do \
	  $(MAKE) --no-print-directory $$venv/.ready || { echo "mcp cannot be installed in $$venv: tests skipped"; continue; }; \
	  $$venv/bin/python -m pytest tests/serve || exit 1; done

OPENENV := .venv-openenv
$(OPENENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(OPENENV)
	$(OPENENV)/bin/python -m pip install --quiet --upgrade pip
	$(OPENENV)/bin/python -m pip install --quiet pytest -e '.[openenv]'
	touch $@

test-openenv:  ## the OpenEnv server and folder with its own client and validator, in a virtual environment of its own
	@$(MAKE) --no-print-directory $(OPENENV)/.ready || { echo "openenv cannot be installed here: tests skipped"; exit 0; }; \
	$(OPENENV)/bin/python -m pytest tests/serve

RAY := .venv-ray
$(RAY)/.ready: pyproject.toml
	$(PYTHON) -m venv $(RAY)
	$(RAY)/bin/python -m pip install --quiet --upgrade pip
	$(RAY)/bin/python -m pip install --quiet pytest -e '.[ray,zst]'
	touch $@

test-ray:  ## a cluster of two nodes on this machine, one of which dies, in a virtual environment of its own
	@$(MAKE) --no-print-directory $(RAY)/.ready || { echo "Ray cannot be installed here: tests skipped"; exit 0; }; \
	$(RAY)/bin/python -m pytest tests/cluster

VERIFIERS := .venv-verifiers
$(VERIFIERS)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VERIFIERS)
	$(VERIFIERS)/bin/python -m pip install --quiet --upgrade pip
	$(VERIFIERS)/bin/python -m pip install --quiet verifiers==0.4.0 pytest -e .
	touch $@

test-verifiers:  ## the exported taskset in verifiers itself, in a virtual environment of its own
	@$(MAKE) --no-print-directory $(VERIFIERS)/.ready || { echo "verifiers cannot be installed here: tests skipped"; exit 0; }; \
	$(VERIFIERS)/bin/python -m pytest tests/verifiers_backend

NEMO_GYM := .venv-nemo-gym
$(NEMO_GYM)/.ready: pyproject.toml
	$(PYTHON) -m venv $(NEMO_GYM)
	$(NEMO_GYM)/bin/python -m pip install --quiet --upgrade pip
	$(NEMO_GYM)/bin/python -m pip install --quiet openai==2.44.0 pytest -e .
	$(NEMO_GYM)/bin/python -m pip download --quiet --no-deps --only-binary :all: --python-version 3.13.14 \
	  --dest $(NEMO_GYM) nemo-gym==0.7.0  # its Python floor is higher than ours: only its models are read
	$(NEMO_GYM)/bin/python -m zipfile -e $(NEMO_GYM)/nemo_gym-0.7.0-py3-none-any.whl $(NEMO_GYM)/wheel
	touch $@

test-nemo-gym:  ## the exported rows by NeMo Gym's own models
	@$(MAKE) --no-print-directory $(NEMO_GYM)/.ready || { echo "NeMo Gym cannot be had here: tests skipped"; exit 0; }; \
	$(NEMO_GYM)/bin/python -m pytest tests/formats/test_nemo_gym.py

CONFORMANCE := core:$(VENV) trl:$(VENV) verl:$(VERL) verifiers:$(VERIFIERS) openenv:$(OPENENV) inspect:$(INSPECT) \
  mcp2:$(MCP2) mcp1:$(MCP1) nemo-gym:$(VENV)

conformance: $(VENV)/.ready  ## recorded episodes through every framework, each in its own virtual environment; the support matrix
	@failed=0; for pair in $(CONFORMANCE); do \
	  name=$${pair%%:*}; venv=$${pair#*:}; \
	  $(MAKE) --no-print-directory $$venv/.ready > /dev/null \
	    || { echo "$$name: cannot be installed here: skipped"; continue; }; \
	  $$venv/bin/python tests/conformance/run.py $$name 2> $$venv/conformance.log \
	    || { failed=1; echo "  see $$venv/conformance.log"; }; \
	done; $(BIN)/python tests/conformance/matrix.py; exit $$failed

clean:
	rm -rf $(VENV) .venv-* demo-out .pytest_cache .ruff_cache .hypothesis
