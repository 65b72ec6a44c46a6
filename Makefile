# Every target sets up its own virtual environment with plain pip; nothing else has to be installed first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OTHER_PYTHONS ?= python3.11 python3.12 python3.13

.PHONY: demo test check docs bench conformance test-pythons test-mcp clean

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

# Frameworks that cannot share an environment have one each: .venv-NAME with what NEEDS_NAME says, for TESTS_NAME.
FRAMEWORKS := verl inspect mcp1 mcp2 openenv ray verifiers nemo-gym
NEEDS_verl := torch==2.13.0 verl==0.9.1 'TransferQueue>=0.1.10' cachetools fastapi uvicorn -e .
TESTS_verl := tests/verl_backend
NEEDS_inspect := openai -e '.[inspect]'
TESTS_inspect := tests/evaluate/test_eval_inspect.py
NEEDS_mcp1 := 'mcp<2' -e '.[mcp]'
TESTS_mcp1 := tests/serve
NEEDS_mcp2 := 'mcp>=2' -e '.[mcp]'
TESTS_mcp2 := tests/serve
NEEDS_openenv := -e '.[openenv]'
TESTS_openenv := tests/serve
NEEDS_ray := -e '.[ray,zst]'
TESTS_ray := tests/cluster
NEEDS_verifiers := verifiers==0.4.0 -e .
TESTS_verifiers := tests/verifiers_backend
NEEDS_nemo-gym := openai==2.44.0 -e .
TESTS_nemo-gym := tests/formats/test_nemo_gym.py
# NeMo Gym's Python floor is higher than ours: only its models are read, out of its wheel.
AFTER_nemo-gym := .venv-nemo-gym/bin/python -m pip download --quiet --no-deps --only-binary :all: \
  --python-version 3.13.14 --dest .venv-nemo-gym nemo-gym==0.7.0 && \
  .venv-nemo-gym/bin/python -m zipfile -e .venv-nemo-gym/nemo_gym-0.7.0-py3-none-any.whl .venv-nemo-gym/wheel

.venv-%/.ready: pyproject.toml
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --upgrade pip
	.venv-$*/bin/python -m pip install --quiet pytest $(NEEDS_$*)
	$(AFTER_$*)
	touch $@

test-mcp: test-mcp1 test-mcp2  ## the MCP server with the official client, both majors

$(FRAMEWORKS:%=test-%): test-%:  ## one framework's own classes, clients and validators on what we give it
	@$(MAKE) --no-print-directory .venv-$*/.ready || { echo "$* cannot be installed here: tests skipped"; exit 0; }; \
	.venv-$*/bin/python -m pytest $(TESTS_$*)

CONFORMANCE := core:$(VENV) trl:$(VENV) verl:.venv-verl verifiers:.venv-verifiers openenv:.venv-openenv \
  inspect:.venv-inspect mcp2:.venv-mcp2 mcp1:.venv-mcp1 nemo-gym:$(VENV)

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
