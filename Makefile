# Everything a user or a developer runs. A bare Debian 12 machine and root are enough: `make demo`.

PYTHON := .venv/bin/python
INSTALLED := .venv/installed
CORE := $(wildcard dataplane/core/*.[ch] bench/native/*.[ch] controller/handlers/native/*.[ch])
CORE += dataplane/build_core.py bench/build_traffic.py controller/handlers/build_spawn.py
CORE_BUILT := .venv/core-built

.DEFAULT_GOAL := help
.PHONY: help demo test check bench install packages clean

help: ## say what each target does
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1|\2/p' Makefile | column -t -s '|'

demo: install ## the main job: FIFO, then EDF, over Open vSwitch and Mininet; ends with a table and a verdict
	@$(PYTHON) -m rtvnic bench experiment2

test: install ## all tests: unit, traces, end to end
	@$(PYTHON) -m pytest -q

check: install ## the gate for a change: formatting, types, warnings, sanitizers, branch coverage of the rules
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy
	@$(MAKE) -s -C tests/native
	@$(PYTHON) -m pytest -q tests/unit --cov=controller --cov-branch --cov-report=term:skip-covered

bench: install ## the commands of docs/results.md, with figures and plots into out/
	@scripts/bench

install: packages $(CORE_BUILT)

packages:
	@scripts/packages

$(INSTALLED): setup.cfg constraints.txt | packages
	@echo "Setting up the virtual environment in .venv"
	@test -x $(PYTHON) || /usr/bin/python3 -m venv .venv
	@$(PYTHON) -m pip install -q -c constraints.txt setuptools cffi wheel
	@$(PYTHON) -m pip install -q -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $@

$(CORE_BUILT): $(CORE) $(INSTALLED)
	@echo "Building the native parts"
	@$(PYTHON) setup.py -q build_ext --inplace
	@touch $@

clean: ## remove what was built, and what a killed run left behind
	@test ! -x $(PYTHON) || $(PYTHON) -m rtvnic down
	@rm -rf .venv build out .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage *.egg-info
	@find . -name __pycache__ -prune -exec rm -rf {} + ; find . -name '*.so' -delete
