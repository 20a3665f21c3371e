# The tasks of this project. `make` alone lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Two test files at a time: the tests of one file share a process, and so its fixtures.
PARALLEL ?= -n 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo test test-system deb lint types clean

help: ## what can be done here
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml scripts/make-venv
	@PYTHON=$(PYTHON) scripts/make-venv $(VENV)

demo: $(STAMP) ## ten devices train a model over MQTT on this machine (about 2 minutes)
	@$(BIN)/gossamer demo $(DEMO)

test: $(STAMP) lint types ## everything but the system tests (under 10 minutes on 2 cores)
	@scripts/need mosquitto
	$(BIN)/python -m pytest -q -m "not system" $(PARALLEL)

test-system: $(STAMP) ## whole fleets, emulated links, kill -9: as root for the network namespaces
	@scripts/need mosquitto nats-server rabbitmq-server chromium ip ethtool qemu-aarch64-static qemu-arm-static debootstrap systemd-nspawn
	$(BIN)/python -m pytest -q -m system $(PARALLEL)

deb: $(STAMP) ## the agent's Debian packages for amd64, arm64 and armhf, in dist/
	@scripts/need dpkg-deb
	@$(BIN)/python deploy/deb/build.py --out dist

lint: $(STAMP) ## ruff and the import rule
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(STAMP) ## mypy --strict
	$(BIN)/mypy

clean: ## remove what was built, not the environment
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache gossamer-demo
