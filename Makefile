# make demo    set up, then run the main job on digits that ship inside a package (about 3 minutes)
# make test    set up, then everything that CI checks
# make check   format, lint, types, import directions, tests
# make test-devices    tests on emulated boards; needs root, qemu-user-static, mmdebstrap, nftables
# make test-images     the images of docker/, built and run; needs buildah besides
# make test-browser    pages of reports in Chromium, and axe-core where AXE_JS names its axe.min.js
# make slow    the tests that need minutes or data that is not in a package
# make benchmark    speed, as ratios
# make docs    the site, in site/
# make benchmark-peers RUNS="runs/NAME ..."    int8 by us and by other tools, each in its own environment

PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: demo test test-devices test-images test-browser check lint slow benchmark benchmark-peers docs clean

demo: .venv/host
	$(BIN)/edgeticket run pipeline/recipes/demo.yaml

test: check

# Two processes: tests of one file stay together, because they share what takes long to make.
WORKERS ?= 2

check: lint
	$(BIN)/python -m pytest -m "not slow and not devices and not images and not browser" -n $(WORKERS) --dist loadfile

lint: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy benchmarks tests/package/typed_use.py
	$(BIN)/lint-imports
	$(BIN)/hadolint docker/*.Dockerfile
	$(BIN)/shellcheck .ci/*

slow: .venv/dev
	$(BIN)/python -m pytest -m slow

test-devices: .venv/dev
	$(BIN)/python -m pytest -m devices tests/devices/emulated

test-images: .venv/dev
	$(BIN)/python -m pytest -m images tests/devices/emulated

test-browser: .venv/dev
	$(BIN)/python -m pytest -m browser tests/page

benchmark: .venv/dev
	$(BIN)/edgeticket run demo
	$(BIN)/python benchmarks/runner_overhead.py runs/demo/bundle
	$(BIN)/python benchmarks/watch_cost.py runs/demo/bundle
	$(BIN)/python benchmarks/gate_overhead.py
	$(BIN)/python benchmarks/slim_latency.py
	$(BIN)/python benchmarks/conversion.py

RUNS ?= runs/cifar10_resnet20_ptq runs/cifar10_resnet56_ptq

benchmark-peers: .venv/dev
	for run in $(RUNS); do $(BIN)/python benchmarks/peers/compare.py $$run || exit 1; done

docs: .venv/docs
	$(BIN)/mkdocs build --quiet

# The stamps say which extra is installed; dev contains host.
.venv/dev .venv/host .venv/docs: .venv/%: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$*]"
	touch $@

clean:
	rm -rf .venv .venv-peers build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
