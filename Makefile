# Tailgate: every task of a developer, one target each. `make help` lists them.
# Each target sets up what it needs, says what it does, and ends non-zero on failure.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:
MAKEFLAGS += --no-print-directory

# Any Python from 3.11 on; overridden with PYTHON=...
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13 python3.14 python; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv/bin/python
PYTEST_ARGS ?=
# one more than most small machines have cores: many tests wait for a clock
JOBS ?= 3

.PHONY: help setup runtime run test lint bench image emulate stage deploy flash calibrate settings monitor fleet bridge clean distclean

help: ## list the targets
	@echo "Tailgate: make TARGET [VARIABLE=value]"
	grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 14

setup: ## the Python environment in .venv, from pyproject.toml's pins
	@if [ -z "$(PYTHON)" ]; then echo "error: Python 3.11 or newer is needed and none was found on the PATH" >&2; exit 1; fi
	$(PYTHON) -m tools.setup.environment

runtime: setup ## a real MicroPython for this machine, in build/runtime
	@$(VENV) -m tools.runtime.unix

run: setup ## the firmware on real MicroPython against a simulated truck [SCENARIO=name] [SPEED=factor] [ARGS=...]
	@$(VENV) -m tools.simulator.run $(if $(SCENARIO),--scenario "$(SCENARIO)") $(if $(SPEED),--speed "$(SPEED)") $(ARGS)

test: setup ## style, types and all tests: CPython, the unix port, the emulated chip, scenarios [JOBS=1] [PYTEST_ARGS=...]
	@$(VENV) -m tools.lint & lint=$$!
	trap 'kill $$lint 2>/dev/null || true' EXIT
	$(VENV) -m tools.runtime.unix
	$(VENV) -m tools.emulator.prepare
	wait $$lint
	trap - EXIT
	echo "- running the tests" >&2
	$(VENV) -m pytest $(if $(filter-out 1,$(JOBS)),-n $(JOBS) --dist=loadfile --no-loadscope-reorder) $(PYTEST_ARGS)

lint: setup ## style and types, of host code and of firmware
	@$(VENV) -m tools.lint

bench: setup ## the figures of docs/benchmarks.md; writes build/bench.json
	@$(VENV) -m tools.runtime.unix
	$(VENV) -m tools.emulator.prepare
	$(VENV) -m tools.bench $(ARGS)

image: setup ## the firmware image for the Raspberry Pi Pico: build/tailgate-RPI_PICO.uf2
	@$(VENV) -m tools.image.build $(ARGS)

emulate: setup ## that image on an emulated chip with a simulated truck, console in the terminal [ARGS=...]
	@$(VENV) -m tools.emulator $(ARGS)

stage: setup ## the device's file tree in build/device, for boards with a stock MicroPython
	@$(VENV) -m tools.stage $(ARGS)

deploy: setup ## copy the firmware to a board over USB [PORT=/dev/ttyACM0]
	@$(VENV) -m tools.deploy $(if $(PORT),--port "$(PORT)") $(ARGS)

calibrate: setup ## calibrate the sensors with a reference meter [PORT=/dev/ttyACM0] [ARGS=...]
	@$(VENV) -m tools.calibrate $(PORT) $(ARGS)

settings: setup ## a board's settings to a file and back [PORT=/dev/ttyACM0] [ARGS="export FILE"]
	@$(VENV) -m tools.settings $(if $(PORT),--port "$(PORT)") $(ARGS)

monitor: setup ## live view of a board, or of many over MQTT [PORT=/dev/ttyACM0] [ARGS=...]
	@$(VENV) -m tools.monitor $(if $(PORT),"$(PORT)") $(ARGS)

fleet: setup ## many simulated boards at one real broker: rate, latency, loss [N=200] [ARGS=...]
	@$(VENV) -m tools.fleet $(if $(N),--number "$(N)") $(ARGS)

bridge: setup ## boards without a network at an MQTT broker PORT=/dev/ttyACM0 BROKER=host[:port] [ARGS=...]
	@$(VENV) -m tools.bridge $(PORT) $(if $(BROKER),--broker "$(BROKER)") $(ARGS)

flash: setup ## put MicroPython onto a board, or explain how [BOARD=pico|pico_w|esp32] [IMAGE=path]
	@$(VENV) -m tools.flash $(if $(BOARD),--board "$(BOARD)") $(if $(IMAGE),--image "$(IMAGE)") $(ARGS)

clean: ## remove what was built, but not what was fetched
	@echo "- removing build/ (except runtime and toolchain) and caches"
	find build -mindepth 1 -maxdepth 1 ! -name runtime ! -name toolchain -exec rm -rf {} + 2>/dev/null || true
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find tools firmware lib host_tests -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean ## remove everything that is not in the repository
	@echo "- removing build/ and .venv/"
	rm -rf build .venv
