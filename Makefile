# make run: everything a fresh machine needs, then serves on http://127.0.0.1:8000 (ARGS="--port 9000" for another).
# make test: everything a fresh machine needs, then the tests. A second call of either is instant until something
# it depends on changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
MIGRATED := $(VENV)/.migrated
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-input --progress-bar off --quiet
TESTS := $(BIN)/python -m segapp.tests.run

.PHONY: run setup setup-dev test test-slow test-all faults faults-postgres lint lock format clean browser database nginx

run: setup
	@exec $(BIN)/python manage.py serve $(ARGS)

setup: $(INSTALLED) $(MIGRATED)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed. Name one like this: make PYTHON=python3.11" >&2; exit 1; }
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "python3 -m venv failed. On Debian: apt-get install python3-venv" >&2; exit 1; }

# torch has no hashes (machines get different builds of it), so it comes first and by itself.
$(INSTALLED): requirements.txt requirements-torch.txt | $(BIN)/python
	@echo "Installing what running needs (about 1 GB, most of it torch) ..."
	@$(PIP) -r requirements-torch.txt
	@$(PIP) --no-deps --require-hashes -r requirements.txt
	@touch $@

$(INSTALLED_DEV): requirements-dev.txt $(INSTALLED)
	@echo "Installing what the tests need ..."
	@$(PIP) -r requirements-dev.txt
	@touch $@

$(MIGRATED): $(INSTALLED) $(wildcard segapp/migrations/*.py registry/migrations/*.py)
	@$(BIN)/python manage.py migrate --verbosity 0 --skip-checks
	@touch $@

setup-dev: setup $(INSTALLED_DEV)

# $(call debian,COMMAND THAT FINDS IT,PACKAGE,NAME): only root can install it; others see its tests skipped.
define debian
	@if ! { $(1); } >/dev/null 2>&1; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "Installing $(3) ..."; \
			{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
				$(2); } </dev/null >/dev/null || echo "$(3) could not be installed; its tests are skipped." >&2; \
		else \
			echo "There is no $(3); its tests are skipped. On Debian: apt-get install $(2)" >&2; \
		fi; \
	fi
endef

# Browser tests drive the distribution's Chromium; the slow tests also use a second database and the compose file's nginx.
browser:
	$(call debian,command -v chromium || command -v chromium-browser,chromium,Chromium)

database:
	$(call debian,ls /usr/lib/postgresql/*/bin/postgres || command -v postgres,postgresql,PostgreSQL)

nginx:
	$(call debian,command -v nginx || ls /usr/sbin/nginx,nginx-light,nginx)

test: setup-dev browser
	@$(TESTS) fast $(ARGS)

test-slow: setup-dev browser database nginx
	@$(TESTS) slow $(ARGS)

test-all: test test-slow

# The fault list of docs/reliability.md, fast and slow tests of it, and how often each fault was tried and survived.
faults: setup-dev browser database nginx
	@$(TESTS) faults $(ARGS)

# The same with PostgreSQL and Redis instead of SQLite and the embedded broker.
faults-postgres: setup-dev browser database nginx
	@$(TESTS) faults-postgres $(ARGS)

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file clients/python/pyproject.toml clients/python/src
	$(BIN)/lint-imports

# requirements.txt from requirements.in: newer releases only where requirements.in asks for them.
lock: setup-dev
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/python -m piptools compile --quiet --generate-hashes --strip-extras \
		--constraint requirements-torch.txt \
		--unsafe-package torch --unsafe-package torchvision --no-emit-index-url --no-emit-trusted-host \
		--no-emit-find-links --output-file requirements.txt requirements.in

format: setup-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find manage.py segapp registry -name __pycache__ -prune -exec rm -rf {} +
