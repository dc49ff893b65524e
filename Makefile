# Every target does all of its own set-up: it makes .venv and installs the package if need be. Those
# that render look for off-screen OpenGL before anything is downloaded; see system.py for what is
# installed into the operating system, and when.
#   make quickstart ARGS="seed=1"    make test ARGS="-m 'not slow'"    make PYTHON=python3.12 test
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
TYPED := build/typed
CORES := -n auto --dist loadfile # a file's tests share what they train
SITE := NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

.DEFAULT_GOAL := help
.NOTPARALLEL: # nothing is downloaded before `system` has looked
.PHONY: help python system ffmpeg worlds install quickstart test check coverage lint types bench docs clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

quickstart: system $(READY) ## the whole story in minutes; ends by naming the report page
	$(BIN)/worldmodel quickstart $(ARGS)

test: system $(READY) ## the test suite, on all cores
	$(BIN)/python -m pytest $(CORES) $(ARGS)

check: system ffmpeg worlds lint types ## what has to be green: style, types, documents, tests
	$(BIN)/python docs/results/render.py --check
	$(SITE) -d build/site
	$(BIN)/python -m pytest $(CORES) --durations=20 --durations-min=5 $(ARGS)

coverage: system ffmpeg $(READY) ## the tests once more, with the lines that none of them reaches
	$(BIN)/python -m pytest $(CORES) --cov --cov-report=term $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The installed wheel is what gets type-checked: only there do the rooms have their import names.
types: $(READY)
	rm -rf $(TYPED) build/lib build/bdist.*
	$(BIN)/python -m pip wheel -q --no-deps --no-build-isolation -w $(TYPED) .
	cd $(TYPED) && ../../$(BIN)/python -m zipfile -e worldmodel-*.whl . \
	  && ../../$(BIN)/python -m mypy --config-file ../../pyproject.toml -p worldmodel

bench: system $(READY) ## speed of the parts on this machine -> docs/results/speed-*.json
	for part in sigreg pretrain plan render encode; do $(BIN)/python -m benchmarks $$part || exit 1; done

docs: $(READY) ## write the tables of docs/results into the documents, build the site in site/
	$(BIN)/python docs/results/render.py
	$(SITE) -d site

install: $(READY) ## only the set-up

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "worldmodel needs Python 3.11 or newer as $(PYTHON); say which: make PYTHON=python3.12" >&2; \
	  exit 2; }

system: python
	@$(PYTHON) system.py venv opengl

ffmpeg: python # its tests are skipped without
	@$(PYTHON) system.py --optional ffmpeg

worlds: $(READY) # of other people; their tests are skipped without
	$(BIN)/python -m pip install -q -e '.[worlds]'

$(READY): pyproject.toml | python
	@$(PYTHON) system.py venv
	$(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): about 6 GB, most of it PyTorch; minutes on a good line"
	$(BIN)/python -m pip install -e '.[dev,bench]'
	@touch $@

clean: ## remove what make has made; runs/ stays
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .coverage*
