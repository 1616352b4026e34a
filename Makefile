# relay: `make demo` to talk to it, `make test` to test it. Each target sets up what it needs.
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq
LOCK := $(BIN)/uv pip compile -q --generate-hashes --universal --python-version 3.11 \
        --no-header --no-emit-index-url --no-emit-find-links --no-strip-extras

.PHONY: install demo test check lint bench reach lock clean

install: .venv/.runtime  ## .venv/bin/relay

demo: install  ## the relay and a simulated upstream: no key needed
	$(BIN)/relay demo

test: .cache/debian .venv/.dev .cache/js/.bundled  ## every test: browsers, namespaces, the slow ones
	$(BIN)/python -m pytest -m "" --both-loops-in tests/rtc --durations=10

check: lint  ## what a change must pass: the lint and the fast tests with their coverage
	$(BIN)/python -m pytest --cov=relay --cov-report=term-missing:skip-covered

lint: .venv/.dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.dev  ## the figures of docs/performance.md
	$(BIN)/python -m benchmarks

reach: .cache/debian .venv/.dev  ## the matrix of docs/reach.md: from where a call connects; needs root
	$(BIN)/python -m tests.netns.lab

lock: | .venv/bin/uv  ## the newest versions that pyproject.toml allows; hashes, no addresses
	$(LOCK) --upgrade pyproject.toml -o requirements/runtime.txt
	$(LOCK) --upgrade pyproject.toml --group dev -c requirements/runtime.txt -o requirements/dev.txt
	$(LOCK) --upgrade --group build -c requirements/dev.txt -o requirements/build.txt

clean:
	rm -rf .venv .cache tests/browser/js/node_modules

.venv/bin/python:
	python=$$(scripts/find-python) && "$$python" -m venv .venv

.venv/bin/uv: | .venv/bin/python
	$(PIP) uv

.venv/.runtime: requirements/runtime.txt requirements/build.txt pyproject.toml | .venv/bin/python
	@echo "Installing relay into .venv …"
	$(PIP) --require-hashes -r requirements/runtime.txt -r requirements/build.txt
	$(PIP) --no-build-isolation --no-deps -e .
	@touch $@

.venv/.dev: requirements/dev.txt .venv/.runtime
	@echo "Installing the development tools into .venv …"
	$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@

.cache/debian: scripts/debian-packages
	scripts/debian-packages $@

.cache/js/.bundled: scripts/bundle-clients tests/browser/js/package-lock.json $(wildcard tests/browser/js/*.js)
	scripts/bundle-clients $@
