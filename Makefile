# Both `make demo` and `make test` set everything up by themselves on a fresh clone. On Windows: make and Git's bash.
WINDOWS := $(filter Windows_NT,$(OS))
PYTHON ?= $(if $(WINDOWS),python,python3)
VENV ?= .venv
BIN := $(VENV)/$(if $(WINDOWS),Scripts,bin)
# Exact versions, as tested. Where a pinned version has no wheel for a system: `make test CONSTRAINTS=` takes what pip finds.
CONSTRAINTS ?= constraints.txt
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))
TORCH := $(if $(CONSTRAINTS),"$$(grep -i '^torch==' $(CONSTRAINTS))",torch)
CODE := src tests tools benchmarks examples
export PIP_ROOT_USER_ACTION := ignore
export NO_MKDOCS_2_WARNING := 1

.PHONY: demo test lint types contract unit format docs docs-serve dist clean

# torch first and alone: on Linux, any looser request brings gigabytes of CUDA (with PIP_EXTRA_INDEX_URL set to
# https://download.pytorch.org/whl/cpu, this one does not either).
$(VENV)/.base: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH)
	$(PIP) --editable ".[cv]"
	touch $@

$(VENV)/.test: $(VENV)/.base
	$(PIP) --editable ".[all,test,lint,docs,oracles]"
	touch $@

# Blender as a Python module, in an environment of its own: the export tests run the scripts in it. Where it cannot be
# had (another Python, no wheel), those tests are skipped and say so.
.venv-blender/.made: tools/blender_venv.py
	-$(PYTHON) tools/blender_venv.py
	mkdir -p .venv-blender && touch $@

# The sample clip, tracked; look at demo-out/.
demo: $(VENV)/.base
	$(BIN)/python examples/demo.py demo-out

# What runs on one core each goes side by side; the tests then have both cores. (Blender comes from the network meanwhile.)
test:
	$(MAKE) -j 2 .venv-blender/.made lint types contract
	$(MAKE) unit

# The documentation is part of it: a dead link or a page that cannot be generated fails.
lint: $(VENV)/.test
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/python tools/readme_table.py --check
	$(BIN)/python -m mkdocs build --strict --quiet

types: $(VENV)/.test
	$(BIN)/mypy

contract: $(VENV)/.test
	$(BIN)/lint-imports

unit: $(VENV)/.test .venv-blender/.made
	$(BIN)/python -m pytest -n 2 --dist worksteal --doctest-modules src/tapkit tests

format: $(VENV)/.test
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)
	$(BIN)/python tools/readme_table.py

# build/site; open build/site/index.html
docs: $(VENV)/.test
	$(BIN)/python -m mkdocs build --strict

docs-serve: $(VENV)/.test
	$(BIN)/python -m mkdocs serve --watch src --watch tools/docs

# dist/: built, looked into, installed elsewhere and tried (docs/release.md)
dist: $(VENV)/.base
	$(BIN)/python tools/check_dist.py dist

clean:
	rm -rf demo-out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
