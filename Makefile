# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SHARED_TESTS := $(addprefix tests/test_,backend.py losses.py layers.py features.py optimizers.py augment.py training.py presets.py public.py regions.py transfer.py boxes.py attribution.py near.py inspect.py dream.py filters.py)
TRAJECTORIES := $(addprefix tests/test_,presets.py optimizers.py crowson.py transfer.py)
# Tests run side by side, a process for each core but not more than this; each takes about 2 GB.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal
SOURCES := kstyle tests examples benchmarks docs cli.py

.PHONY: demo test parity processors lint format reference docs man wheel lock clean

demo: $(VENV)/.torch
	mkdir -p out
	$(BIN)/kstyle stylize examples/chelsea.jpg examples/night.jpg -o out/demo.png
	@echo "Look at out/demo.png"

test: $(VENV)/.dev
	$(PYTEST)

# The tests of what is written once, on the other two backends; a process each, since Keras settles on one at import.
# (tests/parity, part of `make test`, compares whole runs on all three.)
parity: $(VENV)/.dev
	KERAS_BACKEND=tensorflow $(PYTEST) $(SHARED_TESTS)
	KERAS_BACKEND=jax $(PYTEST) $(SHARED_TESTS) tests/test_tiles.py

# The tests that follow an optimiser, on what other processors have: shorter vectors, one core.
processors: $(VENV)/.dev
	ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 $(PYTEST) $(TRAJECTORIES)
	OMP_NUM_THREADS=1 ONEDNN_MAX_CPU_ISA=SSE41 ATEN_CPU_CAPABILITY=default $(PYTEST) $(TRAJECTORIES)

lint: $(VENV)/.dev
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/python -m mypy
	$(BIN)/hadolint Dockerfile Dockerfile.cuda

format: $(VENV)/.dev
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

$(VENV)/.torch: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[torch]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[torch,tensorflow,jax,dev]'
	touch $@ $(VENV)/.torch

# The page of all settings, from the code; a test compares it.
reference: $(VENV)/.dev
	$(BIN)/python docs/reference.py

# The documentation's site; a link that leads nowhere is an error, and so is a file that a page would load from elsewhere.
docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	! grep -rnoE '<(script|img|link|iframe)[^>]+(src|href)="?https?://[^" >]*' out/site --include='*.html'

# A man page for each command: `man -M out/man kstyle-stylize`.
man: $(VENV)/.dev
	$(BIN)/kstyle man -o out/man/man1

# The wheel, painting in an environment of its own.
wheel: $(VENV)/.dev
	.ci/wheel $(VENV)

lock: $(VENV)/.dev
	(head -2 constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu//') > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf out build dist .pytest_cache .ruff_cache .mypy_cache
