# Both `make demo` and `make test` set everything up by themselves on a fresh clone.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
export PIP_ROOT_USER_ACTION := ignore

.PHONY: demo test lint types contract unit format clean

# torch first and alone: any looser request brings gigabytes of CUDA.
$(VENV)/.base: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) "$$(grep -i '^torch==' constraints.txt)"
	$(PIP) --editable ".[cv]"
	touch $@

$(VENV)/.test: $(VENV)/.base
	$(PIP) --editable ".[all,test,lint,oracles]"
	touch $@

# Blender as a Python module, in an environment of its own: the export tests run the scripts in it. Where it cannot be
# had (another Python, no wheel), those tests are skipped and say so.
.venv-blender/.made: tools/blender_venv.py
	-$(PYTHON) tools/blender_venv.py
	mkdir -p .venv-blender && touch $@

# The sample clip, tracked; look at demo-out/.
demo: $(VENV)/.base
	$(BIN)/python examples/demo.py demo-out

test: lint types contract unit

lint: $(VENV)/.test
	$(BIN)/ruff check src tests tools benchmarks examples
	$(BIN)/ruff format --check src tests tools benchmarks examples

types: $(VENV)/.test
	$(BIN)/mypy

contract: $(VENV)/.test
	$(BIN)/lint-imports

unit: $(VENV)/.test .venv-blender/.made
	$(BIN)/python -m pytest -n 2 --doctest-modules src/tapkit tests

format: $(VENV)/.test
	$(BIN)/ruff check --fix src tests tools benchmarks examples
	$(BIN)/ruff format src tests tools benchmarks examples

clean:
	rm -rf demo-out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
