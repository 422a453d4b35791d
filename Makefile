# make demo   run the demo, headless, in about 90 s       -> out/demo/   (BACKEND=sim: on the RTL)
# make test   linter, type checker, every test            (make lint, make pytest: parts of it)
# make hw-test     the accelerator's tests alone          make hw-report   resources, cycles
# make bench  the benchmark, over an hour, resumable    make bench-quick   3 to 4 minutes, once set up
# make faults  the fault campaign, about 10 minutes      make soak   2,000 retrainings
# make fuzz   the decoders, guided by coverage, for ten minutes (x86-64, Python 3.11 and later)
# make flood  four cameras and 10,000 corrections a second, for a minute
# make test-aarch64   the core's tests on AArch64, emulated (Debian or Ubuntu)
# make build  set up the environment and build            (make clean: throw both away)
#
# Each sets up what it needs. With a ROS 2 environment sourced that one is used.

.PHONY: bench bench-quick flood fuzz faults soak demo test test-aarch64 build lint pytest hw-model hw-test hw-report clean
.DELETE_ON_ERROR:

PYTHON ?= python3
BACKEND ?= cpu
WORKSPACE := .env/ws
BUILT := $(WORKSPACE)/install/.built
BUILD_FILES := $(wildcard msg/* srv/* action/* cmake/*) CMakeLists.txt package.xml $(wildcard native/* hw/rtl/* hw/sim/*)

demo: $(if $(filter sim,$(BACKEND)),hw-model,build)
	scripts/in_env python -m instantft_ros.demo.run --backend $(BACKEND)

test: lint pytest hw-test

lint: build
	scripts/in_env ruff check .
	scripts/in_env mypy

pytest: hw-model
	scripts/in_env python -m pytest

# compiled before any test, so that no test waits for it
hw-model: build
	scripts/in_env python hw/sim/build.py

hw-test: hw-model
	scripts/in_env python hw/generate.py --check
	scripts/in_env python -m pytest hw/test

test-aarch64:
	$(PYTHON) scripts/test_aarch64.py

hw-report: hw-model
	scripts/in_env python hw/report.py

bench: hw-model
	scripts/in_env python -m benchmark.run

bench-quick: hw-model
	scripts/in_env python -m benchmark.run --quick

faults: build
	scripts/in_env python -m benchmark.faults

soak: build
	scripts/in_env python -m benchmark.soak

fuzz: build
	scripts/in_fuzz_env python scripts/fuzz.py

flood: build
	scripts/in_env python -m benchmark.flood

build:
	@$(PYTHON) scripts/bootstrap.py
	@find instantft_ros launch config rviz -type f -not -name '*.pyc' | sort > .env/files.new
	@cmp -s .env/files.new .env/files || mv .env/files.new .env/files
	@$(MAKE) --no-print-directory $(BUILT)

# The modules are installed as links: only a changed interface or list of files needs a build.
# In a workspace of its own: CMake refuses include folders (NumPy's, in .env/venv) that lie inside
# the source folder of the package that uses them.
$(BUILT): $(BUILD_FILES) .env/ready .env/files
	@mkdir -p $(WORKSPACE)/src
	@ln -sfn ../../.. $(WORKSPACE)/src/instantft_ros
	cd $(WORKSPACE) && ../../scripts/in_env colcon build --symlink-install
	@touch $@

clean:
	rm -rf .env out build install log
