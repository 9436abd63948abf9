# The Python face, built and installed into .venv; included by the Makefile.
#
#   make python        the package, in .venv
#   make python-test   its tests

VENV        := .venv
VENV_PYTHON := $(VENV)/bin/python
PYTHON      ?= python3

PYTHON_SOURCES := pyproject.toml Cargo.toml build.rs python/Cargo.toml python/Cargo.lock \
	$(wildcard src/*.rs src/*/*.rs src/*/*/*.rs python/src/*.rs python/ntpclock/*.py python/ntpclock/*.pyi) \
	python/ntpclock/py.typed

.PHONY: python python-test

python: $(VENV)/.installed

python-test: python
	$(VENV_PYTHON) -m pytest python/tests

$(VENV_PYTHON):
	$(PYTHON) -m venv $(VENV)

# Stamps, because what they stand for is many files.
$(VENV)/.tools: python/requirements-dev.txt | $(VENV_PYTHON)
	$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check -r python/requirements-dev.txt
	touch $@

# With the tools already there no second environment has to be made for the build.
$(VENV)/.installed: $(VENV)/.tools $(PYTHON_SOURCES)
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check \
		--no-build-isolation --no-deps --force-reinstall .
	touch $@
