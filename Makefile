# Everything runs out of .venv, which need not be activated.
PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL := pip install --quiet --disable-pip-version-check
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# Integration tests mostly wait, so a few of them at once are faster even on few cores.
WORKERS ?= 3
PYTEST := $(BIN)/pytest -n $(WORKERS) --dist worksteal
# For example: make integration ARGS="-k reload -x"
ARGS ?=

# Of `make image`.
IMAGE ?= dynsrv
BASE_IMAGE ?= python:3.13-slim
EXTRAS ?= ec2

# Debian has HAProxy in /usr/sbin, which is not in the PATH of its users.
export PATH := $(PATH):/usr/sbin

.PHONY: help install demo test test-all check format lint types imports rooms docs docs-check unit coverage integration \
	haproxy consul prometheus kubectl browser systemd dist image images engine bench bench-whole bench-quick screenshots lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

install: .venv/installed ## Make .venv/bin/dynsrv and everything that it and the tests need

demo: install ## Show dynsrv at work on a HAProxy of its own (installs HAProxy if there is none)
	@command -v haproxy >/dev/null || { \
		echo "There is no HAProxy on this machine: installing Debian's package haproxy."; \
		$(SUDO) apt-get update && $(SUDO) apt-get install -y --no-install-recommends haproxy; }
	$(BIN)/dynsrv demo

test: check integration ## Run every check and every test, on every HAProxy version what depends on it

test-all: PYTEST += --all-versions --hypothesis-profile=thorough
test-all: lint types imports docs-check coverage integration ## The same with every test on every version, and more of what Hypothesis tries

check: lint types imports docs-check unit ## Run what needs no HAProxy: lint, types, imports, docs, unit tests

format: install ## Bring the code into its usual form
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

lint: install ## Check the code (ruff) and the language of texts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m tools.check_prose

types: install ## Check the types (mypy --strict)
	$(BIN)/mypy

imports: install ## Check that imports point one way (import-linter)
	$(BIN)/lint-imports

docs: install ## Write the tables of docs/ that describe keys, metrics and requests, from the code
	$(BIN)/python -m tools.generate_docs

docs-check: install ## Check that the tables of docs/ are up to date
	$(BIN)/python -m tools.generate_docs --check

rooms: install ## Count packages, the imports between them, and the longest chain of imports
	$(BIN)/python -m tools.rooms

unit: install ## Run the unit tests, and those of what every kind of source promises
	$(PYTEST) tests/unit tests/contract $(ARGS)

coverage: install ## Run the unit tests, and measure what they cover of the decisions and of the library
	$(PYTEST) tests/unit tests/contract --cov=dynsrv.planning --cov=dynsrv.runtime --cov-fail-under=95 $(ARGS)

integration: install haproxy consul images prometheus kubectl browser systemd .wheels/downloaded ## Run the tests against the real programs (WORKERS=3 at once)
	$(PYTEST) tests/integration $(ARGS)

haproxy: install ## Fetch the HAProxy versions that the integration tests run against
	$(BIN)/python -m tools.fetch_haproxy

consul: install ## Fetch the Consul that the integration tests run against
	$(BIN)/python -m tools.fetch_consul

image: ## Build the image of deploy/Dockerfile (IMAGE=dynsrv BASE_IMAGE=python:3.13-slim EXTRAS=ec2)
	@docker image inspect $(BASE_IMAGE) >/dev/null 2>&1 || docker pull $(BASE_IMAGE)
	docker build -f deploy/Dockerfile -t $(IMAGE) --build-arg BASE_IMAGE=$(BASE_IMAGE) --build-arg EXTRAS=$(EXTRAS) \
		--build-arg VERSION=$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' src/dynsrv/__init__.py) \
		--build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null) .
	@docker image inspect --format '{{.Size}}' $(IMAGE) $(BASE_IMAGE) | paste -s | \
		awk '{printf "%.0f MB, %.0f MB over its base\n", $$1 / 1e6, ($$1 - $$2) / 1e6}'

images: haproxy consul ## Make the images that the tests of containers use, where a Docker engine answers
	$(BIN)/python -m tools.images

engine: install ## Start a Docker engine if none answers (as root; installs the distribution's if there is none)
	$(BIN)/python -m tools.engine

prometheus: install ## Fetch the Prometheus that the integration tests run against
	$(BIN)/python -m tools.fetch_prometheus

kubectl: install ## Fetch the kubectl that the integration tests render the manifests with
	$(BIN)/python -m tools.fetch_kubectl

browser: ## Install Chromium, if there is none, for the tests of the status page
	@command -v chromium >/dev/null || { \
		echo "There is no Chromium on this machine: installing Debian's package chromium."; \
		$(SUDO) apt-get update && $(SUDO) apt-get install -y --no-install-recommends chromium; }
	@chromium --version 2>/dev/null || { \
		echo "The tests of the status page need a Chromium that runs as: chromium. Install it by hand." >&2; exit 1; }

systemd: ## Install systemd, if there is none, for the tests of its unit
	@command -v systemd-analyze >/dev/null || { \
		echo "There is no systemd on this machine: installing Debian's package systemd."; \
		$(SUDO) apt-get update && $(SUDO) apt-get install -y --no-install-recommends systemd; }

dist: install ## Build the wheel and the sdist into dist/
	rm -rf dist
	$(BIN)/python -m hatchling build -d dist

bench: install haproxy consul ## Measure dynsrv beside HAProxy's own limit, on every version (ARGS="--only fill --versions 3.2")
	$(BIN)/python -m bench $(ARGS)

bench-whole: install haproxy consul ## The same in half an hour: all rounds, and 30,000 servers
	$(BIN)/python -m bench --whole $(ARGS)

bench-quick: install haproxy consul ## The same in under a minute: a few scenarios once, on one version
	$(BIN)/python -m bench --quick --versions 3.2 $(ARGS)

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
	rm -rf .venv .haproxy .consul .docker-compose .python .kubectl .prometheus .wheels dist \
		bench/results .coverage* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find bench src tests tools -name __pycache__ -prune -exec rm -r {} +

# What dynsrv depends on, for the test that installs it into an empty environment. As below, a stamp.
.wheels/downloaded: requirements.lock pyproject.toml | install
	rm -rf .wheels
	$(BIN)/pip download --quiet --disable-pip-version-check --no-build-isolation --only-binary :all: \
		--constraint requirements.lock --dest .wheels .
	@touch $@

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
