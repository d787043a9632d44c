# Each of `make demo` and `make test` does all of its own set-up; see README.md.
# PYTHON names the interpreter that .venv is made with, where python3 is not the one to use.

SHELL := /bin/sh
BIN := .venv/bin
RECORDED := ../shared/data/lettuce-2022/GreenhouseClimate.csv
PYTEST_WORKERS ?= 2
PYTEST_ARGS ?=

ifneq ($(PYTHON),)
export PYTHON
endif

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: kits help demo test check faults soak fuzz bench format lock clean tools tools-dev

help:
	@echo 'make demo    run the whole way of a reading, from sensor to checked proof, on this machine'
	@echo 'make test    run every check and every test but those of make faults'
	@echo 'make check   lint, format, types and import layers only'
	@echo 'make faults  run only the tests that kill processes and break disks, brokers and chains'
	@echo 'make fuzz    fuzz every decoder of foreign bytes, RUNS inputs each (50000), from where the last run ended'
	@echo 'make soak    a simulated day of 200 nodes, a fast day of real ones, and a month of 1,000 anchored blocks, with random faults'
	@echo 'make bench   measure everything into tests/bench/report.md, in about an hour (QUICK=1: in a minute, roughly)'
	@echo 'make kits    write the build pages in docs/kits anew, with their pictures'
	@echo 'make format  rewrite the sources as make check wants them'
	@echo 'make lock    resolve the dependencies anew into requirements/ (UPGRADE=1: to their newest versions)'
	@echo 'make clean   delete the environment and all that tools left; downloaded packages stay'

# A recorded greenhouse where there is one, else the modelled one.
demo:
	@tools/setup.sh demo
	@tools/venv.sh run
	@tools/micropython.sh || echo 'earmark: going on without MicroPython: the nodes run under this Python' >&2
	$(BIN)/earmark demo $(if $(wildcard $(RECORDED)),--replay $(RECORDED))

test: tools
	@tools/micropython.sh
	@tools/chains.sh
	@$(MAKE) --no-print-directory check
	$(BIN)/python -m pytest -m "not faults" -n $(PYTEST_WORKERS) $(PYTEST_ARGS)

check: tools-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file tools/mypy-firmware.ini
	$(BIN)/lint-imports

faults: tools
	@tools/micropython.sh
	@tools/chains.sh
	$(BIN)/python -m pytest -m faults -n $(PYTEST_WORKERS) --fault-report tests/bench/faults.json $(PYTEST_ARGS)

soak: tools
	$(BIN)/python tests/soak.py --report tests/bench/faults.json
	@tools/micropython.sh
	$(BIN)/python tests/node_soak.py --report tests/bench/faults.json
	$(BIN)/python tests/anchor_month.py --blocks 1000 --report tests/bench/anchors.json

fuzz: tools
	nice -n 19 $(BIN)/python tests/fuzz/run.py --runs $(or $(RUNS),50000) --seed $(or $(SEED),1)

kits: tools
	$(BIN)/python tools/kits.py

# Nothing else should run on the machine meanwhile.
bench: tools
	cd tests && ../$(BIN)/python -m bench $(if $(QUICK),--quick)

format: tools-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: tools-dev
	tools/lock.sh $(if $(UPGRADE),--upgrade)

clean:
	rm -rf .venv .cache/micropython/64 .cache/micropython/32 .cache/chains dist build
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache htmlcov .coverage .coverage.*
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

tools:
	@tools/setup.sh test
	@tools/venv.sh dev

tools-dev:
	@tools/setup.sh check
	@tools/venv.sh dev
