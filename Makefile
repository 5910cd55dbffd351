# make demo: export the default model, verify it, denoise recordings, measure what is gained.   make test: everything CI runs.
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
BIN := $(VENV)/bin
# ONNX Runtime comes in one package for CPUs and one for GPUs; a machine gets one of them.
RUNTIME := $(shell command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
CPP = $(shell find runtime/cpp -name '*.cpp' -o -name '*.h' -o -name '*.c')
PACKAGES := calibration engines exporters runtime
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
DEMO := demo
BASELINE := benchmarks/baseline.json
REGRESSION := build/regression

.PHONY: demo test test-fast lint types regression baseline $(REGRESSION) \
	cpp cpp-test cpp-sanitize cpp-aarch64 bench bench-tables install clean

demo: install
	@mkdir -p $(DEMO)
	$(BIN)/frcrn-export onnx --output $(DEMO)/bundle --force
	$(BIN)/frcrn-export verify $(DEMO)/bundle
	$(BIN)/frcrn-export denoise $(DEMO)/bundle exporters/assets/demo.noisy.flac \
		--output $(DEMO)/denoised.flac --plot --force
	$(BIN)/frcrn-export denoise $(DEMO)/bundle exporters/assets/speech.flac \
		--output $(DEMO)/speech.flac --force
	$(BIN)/frcrn-export evaluate $(DEMO)/bundle --pairs exporters/assets
	@echo "Listen to $(DEMO)/denoised.flac, look at $(DEMO)/denoised.png (before and after)."

# Without a compiler, or what else libfrcrn is built with, its tests are skipped: in CI that is a failure.
test: lint types regression
	@! runtime/cpp/dependencies || runtime/cpp/build release --test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test-fast: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

lint: install
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || (echo "run: $(BIN)/ruff format ." && false)
	@$(BIN)/clang-format --dry-run --Werror $(CPP) || (echo "run: $(BIN)/clang-format -i" '$$(git ls-files "*.cpp" "*.h" "*.c")' && false)

# mypy sees the packages under their import names, and TensorRT's signatures where they are at hand.
types: install
	@rm -rf build/mypy && mkdir -p build/mypy/frcrn_export
	@for part in $(PACKAGES) $(wildcard frcrn_export/*.py); do \
		ln -s ../../../$$part build/mypy/frcrn_export/; done
	@MYPYPATH=build/mypy:$(wildcard ../shared/typing) $(BIN)/python -m mypy --no-error-summary -p frcrn_export

# One thread: the times of the baseline are of one, and numbers do not depend on how many there are.
regression baseline $(REGRESSION): export OMP_NUM_THREADS := 1

# Parity and counters of the default model against the committed baseline (docs/ci.md).
regression: $(REGRESSION)
	@$(BIN)/frcrn-export compare $(BASELINE) $(REGRESSION) --exact || \
		(echo 'if this is meant, run: make baseline REASON="..."' && false)
	@$(BIN)/python benchmarks/baseline.py $(REGRESSION)

baseline: $(REGRESSION)
	@$(BIN)/python benchmarks/baseline.py $(REGRESSION) --reason "$$REASON"

$(REGRESSION): install
	@rm -rf $@
	@$(BIN)/frcrn-export onnx --streaming --output $@

install: $(VENV)/installed

# torch first: whatever build of it is there already stays.
$(VENV)/installed: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade pip
	@$(PIP) install "$(TORCH)"
	@$(PIP) install --editable ".[$(RUNTIME),export,train,plot,bench,rtx,dev]"
	@$(PIP) install --editable ".[quality]" 2>$(VENV)/quality.log || \
		echo "pesq was not compiled (see $(VENV)/quality.log): no frcrn-export evaluate, its tests are skipped"
	@touch $@

# libfrcrn, the C++ runtime, into build/cpp.
cpp:
	@runtime/cpp/dependencies
	@runtime/cpp/build release

cpp-test:
	@runtime/cpp/dependencies
	@runtime/cpp/build release --test

# Its tests with the sanitizers of addresses and undefined behaviour, and of threads.
cpp-sanitize:
	@runtime/cpp/dependencies
	@runtime/cpp/build asan --test
	@runtime/cpp/build tsan --test

# Cross-built for 64-bit ARM and tested under qemu, into build/cpp-aarch64.
cpp-aarch64:
	@runtime/cpp/dependencies
	@runtime/cpp/dependencies-aarch64
	@runtime/cpp/build aarch64 --test

# Everything that one machine measures, about an hour of it alone; then the tables of all pages.
bench: install
	$(BIN)/python benchmarks/run.py $(BENCH)

bench-tables: install
	$(BIN)/python benchmarks/tables.py

clean:
	rm -rf $(VENV) build $(DEMO) *.egg-info
