# Two commands from a fresh clone: `make figures` and `make test`. Both set up .venv first, and do nothing twice;
# `make setup` does that alone.
PYTHON ?= python3
N ?= 20
BIN := .venv/bin
OUT ?= results/laptop

.PHONY: setup figures test test-long test-seeds test-processors fuzz torture bench-am bench-uddm bench-gpu docs lint clean

setup: .venv/installed

figures: .venv/installed
	$(BIN)/python -m paper_figures run --preset laptop --out "$(OUT)"

test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not long"

test-long: .venv/installed
	$(BIN)/python -m pytest -m long

# The statistical tests with N other seeds, against the rates of false alarm that they state.
test-seeds: .venv/installed
	$(BIN)/python -m tests.seeds $(N)

# Arguments of every public function and files for every reader, each for a bounded time: 16 minutes on one core.
fuzz: .venv/installed
	$(BIN)/python -m tests.fuzz.arguments --every --examples 50 && $(BIN)/python -m tests.fuzz --seconds 45

test-processors: .venv/installed
	$(BIN)/python -m tests.processors

# Faults of every kind, at points that a seed determines; an hour at most.
torture: .venv/installed
	$(BIN)/python -m tests.torture

bench-am: .venv/installed
	$(BIN)/python -m benchmarks.am

bench-uddm: .venv/installed
	$(BIN)/python -m benchmarks.uddm

bench-gpu: .venv/installed
	$(BIN)/python -m benchmarks.gpu

docs: .venv/installed
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[docs]"
	$(BIN)/python -m sphinx -W -b html docs docs/_build

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

.venv/installed: pyproject.toml constraints.txt
	"$(PYTHON)" -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or later is needed: make PYTHON=python3.11")'
	test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf .venv results
