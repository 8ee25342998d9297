# confsec. Needs Debian 12 with `apt-get install make python3-venv`, or any Linux with GNU make and Python >= 3.11.
#
#   make demo            start every role on this machine, send one private prompt through, show who saw what
#   make demo PROMPT=…   the same with a prompt of yours; ARGS=… for other options of `confsec demo`
#   make test            run every test that this machine can run, and say why the others are skipped
#   make lint | docs | vectors | interop | bench | dist | clean
#
# All set-up happens in .venv, once; it is redone when pyproject.toml changes.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
TPM_PACKAGES := libtss2-dev pkg-config gcc python3-dev swtpm swtpm-tools
NOX    := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m nox --no-venv --error-on-missing-interpreters -s

JOBS   := 2 # test files at a time

MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:
.PHONY: help demo test setup lint docs vectors interop bench dist clean

help:
	@sed -n '3,7s/^# \{0,1\}//p' Makefile

demo: $(VENV)/.demo $(VENV)/.tpm
	@$(BIN)/confsec demo $${CONFSEC_PROMPT:+"--prompt=$$CONFSEC_PROMPT"} $(ARGS)

test: $(VENV)/.test $(VENV)/.tpm
	@$(BIN)/python -m pytest -rs -n $(JOBS) --dist loadfile $(ARGS)

setup: $(VENV)/.test $(VENV)/.tpm

lint: $(VENV)/.test
	@$(NOX) lint types imports

docs vectors interop bench: $(VENV)/.test
	@$(NOX) $@ $(if $(ARGS),-- $(ARGS))

dist: $(VENV)/.test
	@rm -rf dist && $(BIN)/confsec release build --out dist $(ARGS)

clean:
	rm -rf $(VENV) .nox .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage* dist build

# The prompt goes through the environment as it was typed: neither make nor the shell finds anything to expand in it.
ifeq ($(origin PROMPT),command line)
export CONFSEC_PROMPT := $(value PROMPT)
endif

# --- Set-up ------------------------------------------------------------------------------------------------------------

$(VENV)/.demo: pyproject.toml | $(VENV)/.made
	@echo "==> Installing confsec with its engine and server into $(VENV) (once, about 50 MB)"
	@$(PIP) install --editable '.[engine,server]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/.made
	@echo "==> Installing confsec with all extras and the test tools into $(VENV) (once, about 150 MB)"
	@$(PIP) install --editable '.[all,test]'
	@touch $@ $(VENV)/.demo

# Its wheel is built here, so it needs Debian's headers. Where they are missing, it is looked for again next time.
$(VENV)/.tpm: pyproject.toml | $(VENV)/.made
	@if pkg-config --exists tss2-esys 2>/dev/null && command -v cc >/dev/null && $(BIN)/python -c \
	  'import os, sys, sysconfig as s; sys.exit(not os.path.exists(s.get_path("include") + "/Python.h"))'; then \
	  echo "==> Building tpm2-pytss, which speaks to TPMs, into $(VENV) (once, about a minute)"; \
	  if $(PIP) install --editable '.[tpm]'; then touch $@; else echo "    It did not build: there is no TPM" >&2; fi; \
	else \
	  echo "==> There is no TPM. On Debian 12, one comes with:  sudo apt-get install $(TPM_PACKAGES)" >&2; fi

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "confsec needs Python 3.11 or newer. On Debian 12, type:  sudo apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "confsec needs Python's venv module. On Debian 12, type:  sudo apt-get install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "==> Making $(VENV) with $$($(PYTHON) --version)"; $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	@touch $@
