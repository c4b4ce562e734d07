# Everything runs out of .venv, which need not be activated.
PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL := pip install --quiet --disable-pip-version-check
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# Integration tests mostly wait, so a few of them at once are faster even on few cores.
WORKERS ?= 2
# For example: make integration ARGS="-k reload -x"
ARGS ?=

# Debian has HAProxy in /usr/sbin, which is not in the PATH of its users.
export PATH := $(PATH):/usr/sbin

.PHONY: help install demo test check format lint types imports unit integration haproxy consul prometheus browser \
	screenshots lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

install: .venv/installed ## Make .venv/bin/dynsrv and everything that it and the tests need

demo: install ## Show dynsrv at work on a HAProxy of its own (installs HAProxy if there is none)
	@command -v haproxy >/dev/null || { \
		echo "There is no HAProxy on this machine: installing Debian's package haproxy."; \
		$(SUDO) apt-get update && $(SUDO) apt-get install -y --no-install-recommends haproxy; }
	$(BIN)/dynsrv demo

test: check integration ## Run every check and every test

check: lint types imports unit ## Run what needs no HAProxy: lint, types, imports, unit tests

format: install ## Bring the code into its usual form
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

lint: install ## Look for mistakes and bad form (ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install ## Check the types (mypy --strict)
	$(BIN)/mypy

imports: install ## Check that imports point one way (import-linter)
	$(BIN)/lint-imports

unit: install ## Run the unit tests, and measure what they cover of the decisions and of the library
	$(BIN)/pytest tests/unit -n $(WORKERS) --cov=dynsrv.planning --cov=dynsrv.runtime --cov-fail-under=95 $(ARGS)

integration: install haproxy consul prometheus browser ## Run the tests against the real programs (WORKERS=2 at once)
	$(BIN)/pytest tests/integration -n $(WORKERS) $(ARGS)

haproxy: install ## Fetch the HAProxy versions that the integration tests run against
	$(BIN)/python -m tools.fetch_haproxy

consul: install ## Fetch the Consul that the integration tests run against
	$(BIN)/python -m tools.fetch_consul

prometheus: install ## Fetch the Prometheus that the integration tests run against
	$(BIN)/python -m tools.fetch_prometheus

browser: ## Install Chromium, if there is none, for the tests of the status page
	@command -v chromium >/dev/null || { \
		echo "There is no Chromium on this machine: installing Debian's package chromium."; \
		$(SUDO) apt-get update && $(SUDO) apt-get install -y --no-install-recommends chromium; }
	@chromium --version 2>/dev/null || { \
		echo "The tests of the status page need a Chromium that runs as: chromium. Install it by hand." >&2; exit 1; }

screenshots: install haproxy browser ## Take the screenshots of the status page in docs/
	$(BIN)/python -m tools.screenshots

lock: .venv/bin/pip ## Renew requirements.lock: the newest version of everything
	$(PYTHON) -m venv --clear .venv/lock
	.venv/lock/bin/$(PIP_INSTALL) ".[dev]"
	@echo "# What dynsrv is tested with. Made by: make lock" >.venv/lock/requirements
	.venv/lock/bin/pip freeze --exclude dynsrv >>.venv/lock/requirements
	mv .venv/lock/requirements requirements.lock
	rm -r .venv/lock

clean: ## Remove what the other targets made
	rm -rf .venv .haproxy .consul .prometheus dist \
		.coverage* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests tools -name __pycache__ -prune -exec rm -r {} +

# A stamp: until one of the two files changes, an installation needs no network.
.venv/installed: requirements.lock pyproject.toml | .venv/bin/pip
	@echo "Installing what requirements.lock names, and dynsrv itself"
	$(BIN)/$(PIP_INSTALL) -r requirements.lock
	$(BIN)/$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		"dynsrv needs Python 3.11 or newer; $(PYTHON) is " + sys.version.split()[0])'
	@$(PYTHON) -c "import ensurepip" 2>/dev/null || { \
		echo "The venv module of $(PYTHON) is missing: installing Debian's package python3-venv."; \
		$(SUDO) apt-get update && $(SUDO) apt-get install -y --no-install-recommends python3-venv; }
	$(PYTHON) -m venv --clear .venv
