# Everything a reader or a maintainer types. Each target sets up .venv by itself,
# and installs again only when requirements.txt has changed.

PYTHON  ?= python3
LESSONS ?=
PROFILE ?= tiny
JOBS    ?=
RUN     ?=
ARGS    ?=

VENV     := .venv
REQUIRED := requirements.txt
PIPFLAGS :=
PY       := $(VENV)/bin/python
# A copy of the requirements that were installed completely. It is written last,
# so an interrupted installation leaves none and is done again from nothing.
STAMP    := $(VENV)/installed-requirements.txt

# One thread a test: two of them side by side are faster than one with two.
HEADLESS := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
OFFLINE  := HF_HUB_OFFLINE=1
# Tests run in a process more than cores (tests/conftest.py), in four at most: each
# holds one to two GiB.
PARALLEL := -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# Many systems set a variable of this name for themselves: what was typed counts.
TYPED    := $(if $(filter command line,$(origin LANGUAGE)),$(filter-out en,$(LANGUAGE)))
LOCAL    := $(TYPED:%=build/translations/%/)
STRIP    := --keep-id --extra-keys "metadata.language_info"

# Another Python that was typed makes .venv anew.
SAME     := $(if $(filter command line,$(origin PYTHON)),test "$$("$(PYTHON)" -V)" = "$$($(PY) -V)",true)

.DEFAULT_GOAL := help
# Pages take up what the lessons have printed.
.NOTPARALLEL:
.PHONY: help course test rehearsal lab site pages lint vllm llamacpp setup install

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-9s %s\n", $$1, $$2}' Makefile
	@echo
	@echo 'make course LESSONS="03 04" PROFILE=tiny   runs some lessons on one profile'
	@echo 'make test ARGS="-k formatting"             runs some tests'
	@echo 'make lab LANGUAGE=es                       opens the lessons in Spanish'
	@echo 'make course pages LESSONS=03 RUN=build     runs a lesson, puts its outputs on its pages'
	@echo 'make lab PYTHON=/path/to/python3.12        sets up .venv with another Python'

# The tiny profile needs nothing from the network; the others download a model.
course: setup ## run every notebook headlessly, end in a table of measured figures
	@exec env $(if $(filter tiny,$(PROFILE)),$(OFFLINE)) $(PY) -m helpers.course \
	  $(LESSONS) --profile $(PROFILE) $(if $(JOBS),--jobs $(JOBS)) --end-with-parent $(ARGS)

test: setup ## run the whole test suite, notebooks included
	@exec env $(HEADLESS) $(OFFLINE) $(PY) -m pytest $(PARALLEL) $(ARGS)

rehearsal: setup ## run the lessons as on each GPU profile, on a CPU; count copies and branches
	@exec env $(HEADLESS) $(OFFLINE) $(PY) -m pytest tests/rehearsal -m rehearsal $(ARGS)

# Notebooks that are there are kept, with what their reader wrote into them.
lab: setup ## open JupyterLab at the first lesson
	@$(if $(LOCAL),if test -d $(LOCAL); \
	  then echo "$(LOCAL) is kept as it is; anew: $(PY) translations/lessons.py build $(LANGUAGE)"; \
	  else $(PY) translations/lessons.py build $(LANGUAGE); fi)
	@set -- $(LOCAL)notebooks/*.ipynb && exec $(PY) -m jupyterlab \
	  --LabApp.default_url=/lab/tree/$$1 $(ARGS)

site: setup ## build the site of the course in build/site, in every language
	@exec $(PY) -m translations.site.build $(ARGS)

pages: setup ## bring every page up to date: figures, address, languages; RUN=build: outputs
	@$(PY) -m helpers.course.ledger --pages
	@$(PY) translations/lessons.py sync $(if $(RUN),--run $(RUN))

lint: setup ## check style, spelling and stripped notebooks
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m codespell_lib
	$(PY) -m nbstripout --verify $(STRIP) notebooks/*.ipynb

vllm: ## set up vLLM for a CPU, which lesson 06 asks, in .venv-vllm (Linux; 1 GB to download)
	@$(MAKE) --no-print-directory setup VENV=.venv-vllm PIPFLAGS=--no-deps \
	  REQUIRED=helpers/serving/requirements-vllm.txt

llamacpp: ## set up llama.cpp, which lesson 07 uses, in .venv-llamacpp (55 MB to download)
	@$(MAKE) --no-print-directory setup VENV=.venv-llamacpp PIPFLAGS=--no-deps \
	  REQUIRED=helpers/serving/requirements-llamacpp.txt

setup: ## create or update .venv (the other commands do it by themselves)
	@cmp -s $(REQUIRED) $(STAMP) && test -x $(PY) && $(SAME) || $(MAKE) --no-print-directory install

install:
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null || { \
	  echo "Python 3.11 to 3.14 is needed; '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1 | tail -n 1)." \
	    "Name another with: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@echo "Setting up $(VENV) (some minutes the first time)"
	@if test -f $(STAMP) && test -x $(PY) && $(SAME); then rm $(STAMP); else "$(PYTHON)" -m venv --clear $(VENV); fi
	@$(PY) -m pip install --quiet --disable-pip-version-check $(PIPFLAGS) -r $(REQUIRED)
	@cp $(REQUIRED) $(STAMP).part && mv $(STAMP).part $(STAMP)
