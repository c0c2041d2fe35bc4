# Everything a developer or a CI machine runs. Needs Python >= 3.11, g++ and make; the rest comes from PyPI into .venv.
# `make help` lists the targets. Variables: PYTHON (interpreter of the environment), VIDEO, ARGS (for pytest).

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# A second environment on top of .venv, for the libraries that frametap.integrations works with (6 GB, most of it CUDA).
EXTRA  := .venv-integrations
EMULATOR := build/emulator
APT_PACKAGES := libavcodec-dev libffmpeg-nvenc-dev pkg-config
# A third, with nothing but frametap built with sanitizers, on top of .venv.
SANITIZED    := .venv-sanitized
KERNEL_TESTS := $(addprefix tests/test_,isa.py cuda_twin.py kernels_exact.py tone_map.py kernels.py)
# Tests run in one process per core; ARGS="-n 0" keeps them in one, where output and a debugger are at hand.
SPREAD := -n logical --dist worksteal
PIP    := $(BIN)/python -m pip install -qq --disable-pip-version-check
CPP     = $(shell find csrc tests -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh')
NATIVE := pyproject.toml CMakeLists.txt $(shell find csrc cmake -type f 2>/dev/null)

# One job per core, so that a build does not take a small machine down.
export CMAKE_BUILD_PARALLEL_LEVEL ?= $(shell nproc 2>/dev/null || echo 2)

.DEFAULT_GOAL := help
.PHONY: help demo test test-integrations emulator libavcodec lint format bench bench-kernels stubs clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.cli ## sample a clip end to end, print one table, write a contact sheet (VIDEO=path for your own)
	$(BIN)/frametap demo $(if $(VIDEO),"$(VIDEO)") --cache build/demo --sheet build/demo/sheet.png

test: $(VENV)/.dev emulator ## run the tests (ARGS="-k plan" to choose)
	$(BIN)/pytest --ignore=tests/gpu $(SPREAD) $(ARGS)

# What a driver or an allocator says before it ends the process goes to the file descriptor: pytest must not swallow that.
test-cuda: $(VENV)/.dev emulator ## run the tests of device="cuda" on the emulated driver (ARGS as in test)
	LD_LIBRARY_PATH="$(CURDIR)/$(EMULATOR)/lib" FRAMETAP_EMULATED=1 FRAMETAP_EMU_DEVICES=h100,h100 \
	  $(BIN)/pytest tests/gpu --capture=sys $(SPREAD) $(ARGS)

.PHONY: test-cuda-matrix
test-cuda-matrix: $(VENV)/.dev emulator ## samplers x transforms x orders x switches over the corpus, emulated (SECONDS=600 START=0)
	LD_LIBRARY_PATH="$(CURDIR)/$(EMULATOR)/lib" FRAMETAP_EMULATED=1 PYTHONPATH=tests \
	  $(BIN)/python -m gpu.matrix --seconds $(or $(SECONDS),600) --start $(or $(START),0) $(ARGS)

gpu-test: $(VENV)/.dev ## run the tests of device="cuda" on this machine's GPU (no GPU is a failure)
	@echo "Tests only; tests/gpu/run.sh also probes, measures and sanitizes, and works without a network"
	FRAMETAP_REQUIRE_CUDA=1 $(BIN)/pytest tests/gpu $(ARGS)

gpu-bench: $(VENV)/.dev ## frames/s of device="cuda" next to NVDEC alone and other libraries on this machine's GPU (VIDEO=...)
	FRAMETAP_REQUIRE_CUDA=1 $(BIN)/python benchmarks/bench_gpu.py $(if $(VIDEO),"$(VIDEO)") $(ARGS)

test-integrations: $(VENV)/.dev $(EXTRA)/.ready ## run the tests against torch, decord, transformers, ... (ARGS as in test)
	$(EXTRA)/bin/python -m pytest tests/integrations benchmarks/bench_loader.py $(ARGS)

emulator: $(VENV)/.dev $(VENV)/.nvcodec libavcodec ## build the emulated NVIDIA driver that tests of device="cuda" run on (docs/emulator.md)
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake -G Ninja -S tests/emulator -B $(EMULATOR) -DPython_EXECUTABLE="$(CURDIR)/$(BIN)/python" \
	  --log-level=WARNING
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake --build $(EMULATOR)

# A client to try the emulated decoder with. It has wheels for some platforms only; without it its tests are skipped.
$(VENV)/.nvcodec: $(VENV)/.created
	$(PIP) --only-binary :all: 'PyNvVideoCodec>=2.0' || echo "note: no PyNvVideoCodec for this platform" >&2
	touch $@

# Only the emulated video decoder needs it. Where it cannot be installed the tests on that are skipped, and counted.
libavcodec:
	@pkg-config --exists libavcodec ffnvcodec 2> /dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && \
	    { apt-get update && apt-get install -y --no-install-recommends $(APT_PACKAGES); } > /dev/null 2>&1; } || \
	  echo "note: no libavcodec headers, so no emulated video decoder: apt install $(APT_PACKAGES)" >&2

lint: $(VENV)/.dev ## ruff, mypy --strict, clang-format: report, change nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(CPP)

format: $(VENV)/.dev ## let ruff and clang-format rewrite the sources
	$(BIN)/ruff check --fix --exit-zero --quiet .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP)

bench-kernels: $(VENV)/.bench ## the pixel kernels next to swscale and torchvision: one table
	$(BIN)/pytest benchmarks/bench_kernels.py --benchmark-enable --benchmark-only --benchmark-quiet -q $(ARGS)

bench: $(VENV)/.bench ## time the main jobs on this machine
	$(BIN)/pytest benchmarks --benchmark-enable --benchmark-only --benchmark-columns=min,median,stddev,rounds $(ARGS)

.PHONY: fuzz sanitize valgrind
FUZZ = PATH="$(CURDIR)/$(BIN):$$PATH" cmake -G Ninja -S tests/fuzz
fuzz: $(VENV)/.build ## libFuzzer over the pixel kernels, ASan and UBSan on (SECONDS=60; needs clang)
	$(FUZZ) -B build/fuzz -DCMAKE_CXX_COMPILER=$(or $(CLANGXX),$(shell command -v clang++ || ls /usr/bin/clang++-* | tail -1))
	$(BIN)/cmake --build build/fuzz
	mkdir -p build/fuzz/inputs
	build/fuzz/kernels_fuzz -max_total_time=$(or $(SECONDS),60) -max_len=160 -len_control=0 -print_final_stats=1 build/fuzz/inputs

sanitize: $(SANITIZED)/.ready ## the pixel kernels' tests, extension and twin built with ASan and UBSan
	LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \
	  UBSAN_OPTIONS=print_stacktrace=1 FRAMETAP_SANITIZE=1 PATH="$(CURDIR)/$(BIN):$$PATH" $(SANITIZED)/bin/python -m pytest -p no:cacheprovider $(KERNEL_TESTS) $(ARGS)

valgrind: $(VENV)/.build ## 300 random conversions under Valgrind (which knows no AVX-512)
	$(FUZZ) -B build/valgrind -DCMAKE_CXX_COMPILER=g++
	$(BIN)/cmake --build build/valgrind
	valgrind --error-exitcode=1 --leak-check=full build/valgrind/kernels_fuzz 300

stubs: $(VENV)/.dev ## write python/frametap/_core.pyi from the built extension
	$(BIN)/pybind11-stubgen frametap._core --output-dir build/stubs --exit-code
	cp build/stubs/frametap/_core.pyi python/frametap/_core.pyi

clean: ## remove what was built; the environment stays
	rm -rf build dist .benchmarks .hypothesis .mypy_cache .pytest_cache .ruff_cache $(addprefix $(VENV)/.,cli dev bench)
	find python tests benchmarks csrc -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean ## remove the environments too
	rm -rf $(VENV) $(EXTRA) $(SANITIZED)

# The files below only say when a step was last done; Make redoes it when what it depends on is newer.

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "frametap needs Python >= 3.11 and $(PYTHON) is older (or absent): make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || \
	  { echo "$(PYTHON) has no working venv module: apt install python3-venv, or use another PYTHON=" >&2; exit 1; }
	touch $@

# What pyproject.toml names as build requirements, plus cmake and ninja, which scikit-build-core asks for on demand only.
# They live in .venv and builds run without isolation: an isolated build would fetch them again (nvcc is 100 MB) each time.
$(VENV)/.build: $(VENV)/.created pyproject.toml
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
	  > $(VENV)/build-requires.txt
	$(PIP) --upgrade pip
	$(PIP) -r $(VENV)/build-requires.txt 'cmake>=3.26' ninja
	touch $@

$(VENV)/.cli: $(VENV)/.build $(NATIVE)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PIP) --no-build-isolation --editable '.[cli]'
	touch $@

# dev and bench hold all of cli, so one build serves: touching the smaller stamps saves the next target a rebuild.
$(VENV)/.dev: $(VENV)/.build $(NATIVE)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PIP) --no-build-isolation --editable '.[dev]'
	touch $(VENV)/.cli $@

$(VENV)/.bench: $(VENV)/.dev
	$(PIP) --no-build-isolation --editable '.[dev,bench]'
	touch $(VENV)/.cli $(VENV)/.dev $@

# What it lacks, frametap itself and pytest included, it finds in .venv: nothing is built or fetched twice.
$(EXTRA)/.ready: pyproject.toml | $(VENV)/.dev
	$(BIN)/python -m venv --without-pip --clear $(EXTRA)
	$(BIN)/python -c 'import sysconfig as s; base = s.get_path("purelib"); print(f"import site; site.addsitedir({base!r})")' \
	  > "$$($(EXTRA)/bin/python -c 'import sysconfig as s; print(s.get_path("purelib"))')/frametap_base.pth"
	$(BIN)/python -m pip --python $(EXTRA)/bin/python install -qq --disable-pip-version-check --no-compile --group integrations
	$(BIN)/python -m pip --python $(EXTRA)/bin/python install -qq --disable-pip-version-check --no-compile --no-deps --group integrations-alone
	touch $@

# The folder of .venv's packages, but not its .pth files: they would bring the ordinary build of frametap.
$(SANITIZED)/.ready: $(VENV)/.dev
	$(BIN)/python -m venv --without-pip --clear $(SANITIZED)
	$(BIN)/python -c 'import sysconfig as s; print(s.get_path("purelib"))' \
	  > "$$($(SANITIZED)/bin/python -c 'import sysconfig as s; print(s.get_path("purelib"))')/frametap_base.pth"
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pip --python $(SANITIZED)/bin/python install -qq --disable-pip-version-check \
	  --no-build-isolation --no-deps --ignore-installed -C build-dir=build/sanitized -C cmake.build-type=RelWithDebInfo \
	  -C cmake.define.FRAMETAP_SANITIZE=ON -C cmake.define.FRAMETAP_CUDA=OFF .
	touch $@
