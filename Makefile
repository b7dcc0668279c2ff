# Two commands do all set-up on a fresh machine: `make demo` and `make test`.
.PHONY: setup setup-dev demo test test-slow lint bench dev
PYTHON ?= python3
BIN := .venv/bin

setup: .venv/.runtime          ## .venv/ with the `onebook` command
setup-dev: .venv/.dev          ## the same, with the tools for tests, lint and benchmarks

.venv/.runtime: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

.venv/.dev: .venv/.runtime requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.lock
	@touch $@

demo: setup                    ## a live market: channels compete, the screen proves it
	$(BIN)/onebook demo

test: setup-dev                ## everything that runs in CI
	$(BIN)/pytest -m "not slow" -n 3 --dist loadfile

test-slow: setup-dev           ## the long campaigns
	$(BIN)/pytest -m slow

lint: setup-dev                ## style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup-dev               ## Onebook beside a baseline, in one run
	$(BIN)/onebook bench all

dev: setup-dev                 ## a server that restarts when the source changes
	$(BIN)/watchfiles --filter python "$(BIN)/onebook up" src
