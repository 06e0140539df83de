# Everything a newcomer or CI calls. `make demo` and `make test` set up what they need first.
PYTHON := .venv/bin/python
STAMP := .venv/.ready
TOOLS := .venv/.tested
# If this were set, each test that starts Python would compile torch again.
export PYTHONDONTWRITEBYTECODE :=
# Memory that arrays leave is kept for the next ones: a quarter of the page faults. Idle torch threads sleep.
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive MALLOC_TRIM_THRESHOLD_=536870912 MALLOC_MMAP_THRESHOLD_=33554432 \
	$(PYTHON) -m pytest -n 2 --dist worksteal -q

.PHONY: help setup demo docs test test-board test-all prove soak sanitize before-release fuzz check figures lock release format clean

help:            ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

# A kind of layers that was removed leaves nothing newer, so the list of them is compared.
KINDS := $(sort $(wildcard src/lightmamba/blocks/*/kernels.hpp))
ifneq ($(KINDS),$(shell cat .venv/.kinds 2>/dev/null))
.PHONY: $(STAMP)
endif
$(STAMP): pyproject.toml setup.py uv.lock scripts/setup $(wildcard src/lightmamba/native/*.?pp src/lightmamba/blocks/*/*.hpp) src/lightmamba/native/found.py
	@scripts/setup && echo "$(KINDS)" > .venv/.kinds && touch $(STAMP)

setup: $(STAMP)  ## virtual environment in .venv with all that the project needs

demo: $(STAMP)   ## quantize the bundled model, measure it, let it write
	@.venv/bin/lightmamba demo $(ARGS)

docs: $(STAMP)   ## the docs site, in build/site
	@$(PYTHON) scripts/site.py

# The extra that only tests need: a newcomer's `make demo` does without it.
$(TOOLS): $(STAMP)
	@UV_SYSTEM_CERTS=true VIRTUAL_ENV= .venv/bin/uv sync --quiet --locked --inexact --extra evaluation && touch $(TOOLS)

test: $(TOOLS)   ## all tests but the slow ones; the modules that take longest are listed at the end
	@$(PYTHON) -m tests.simulators
	@$(PYTEST) -m "not slow" $(ARGS)

test-board: $(TOOLS) ## large machines and pages: a token of Mamba2-130m on all 32 lanes of u280, and others (minutes)
	@$(PYTEST) --dist loadscope --no-loadscope-reorder -m board $(ARGS)

test-all: $(TOOLS) ## all tests
	@$(PYTHON) -m tests.simulators
	@$(PYTEST) $(ARGS)

prove: $(TOOLS)   ## properties of the hardware's units, proved for any inputs (minutes; ARGS="UNIT" for one)
	@$(PYTHON) -m bench.proofs $(ARGS)

soak: $(TOOLS)    ## random work on simulated machines, added to what was done before (ARGS="--minutes 600")
	@$(PYTHON) -m bench.soak $(ARGS)

sanitize: $(TOOLS) ## kernels, their threads and the simulator's harness with sanitizers (minutes)
	@$(PYTEST) -m slow tests/sanitize $(ARGS)

before-release: $(TOOLS) ## damaged files, planted faults, then `make release` with all tests (hours)
	@$(MAKE) fuzz && $(PYTHON) -m bench.mutants && $(MAKE) release

fuzz: $(STAMP)   ## damaged models, builds, targets, recipes, checkpoints, templates, requests, 20,000 of each
	@$(PYTHON) -m tests.fuzz $(ARGS)

check: $(STAMP)  ## lint, format, types, import rules, tables of the docs, which must show the stored rows
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && .venv/bin/lint-imports --no-cache
	@$(PYTHON) -m scripts.layout --check && $(PYTHON) -m pytest -q tests/benchmarks/test_pages.py

lock: $(STAMP)   ## uv.lock, with the newest packages that pyproject.toml allows
	@UV_SYSTEM_CERTS=true .venv/bin/uv lock --upgrade

figures: $(STAMP) ## figures of README and docs that are not current, measured again (ARGS=--dry: only list them)
	@$(PYTHON) -m bench.figures $(ARGS)

release: $(STAMP) ## build and check a release, in dist; nothing is uploaded (an hour)
	@$(PYTHON) scripts/release.py $(ARGS)

format: $(STAMP) ## format the code
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .

clean:           ## remove the environment and caches
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .test_cache .import_linter_cache
