# The verbs of daily work: `make` alone lists them.
#   make lab PYTHON=python3.12        another Python for the new environment
#   make lab VENV=/path/to/venv       another environment
#   make lab LAB_ARGS=--no-browser    more arguments for JupyterLab
#   make notebooks NB=06              only some notebooks, by the start of their names
#   make book-serve PORT=8080         the site at another port
#   make repo NAME=owner/name         the repository's name, wherever it is spelled out
#   make offline-kit KIT_ARGS="--system windows --python 3.12"    for other laptops

VENV ?= .venv
PYTHON ?= python3
LAB_ARGS ?=
NB ?=
PORT ?= 8000
NAME ?=
KIT_ARGS ?=

# PyTorch's threads spin while they wait for work. At their usual count they take the cores from each
# other as soon as another program runs, and all becomes many times slower; a tenth of it costs
# nothing. Whoever has set one of these two variables keeps what they set.
ifndef OMP_WAIT_POLICY
GOMP_SPINCOUNT ?= 30000
export GOMP_SPINCOUNT
endif

PY := $(VENV)/bin/python
SETUP := $(PYTHON) tests/tools/setup_env.py --venv $(VENV)
# JupyterLab refuses to run as root, as in many containers, unless it is told to.
ROOT_ARGS := $(if $(filter 0,$(shell id -u)),--allow-root)

.DEFAULT_GOAL := help
.PHONY: help lab test test-fast bench weights notebooks student book book-serve book-links slides offline-kit repo lint clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST)

lab:  ## install on the first run, then open JupyterLab on notebook 00
	@$(SETUP) lab
	$(PY) -m jupyterlab --ServerApp.root_dir="$(CURDIR)" \
		--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb $(ROOT_ARGS) $(LAB_ARGS)

test:  ## ruff, unit tests, every notebook, the site, and a summary with times
	@$(SETUP) lab,test,book
	$(PY) tests/tools/run_tests.py

test-fast:  ## the unit tests that take seconds
	@$(SETUP) lab,test
	$(PY) -m pytest -m "not slow"

bench:  ## measure the recipe and its peers: tests/bench/results.json and a figure
	@$(SETUP) lab,bench
	$(PY) tests/bench/run.py

weights:  ## retrain every bundled weight with the course's own code
	@$(SETUP) lab
	$(PY) -m ldmlib.bundled

notebooks:  ## run notebooks from their py twins and store the outputs
	@$(SETUP) lab,test
	$(PY) tests/tools/notebooks.py run $(NB)
	@$(PY) tests/tools/book.py tables

student:  ## copies for students and for the teacher: build/student, build/teacher
	@$(SETUP) lab,test
	@$(PY) tests/tools/classroom.py

book:  ## build the site from stored outputs: book/_build/html
	@$(SETUP) lab,book
	@$(PY) tests/tools/book.py build

book-serve:  ## show the built site, to this machine only
	@$(PY) tests/tools/book.py serve --port $(PORT)

slides:  ## a deck for each lesson, from the notebooks' stored outputs: build/slides
	@$(SETUP) lab,test,book
	@$(PY) tests/tools/slides.py

offline-kit:  ## a folder for a USB stick that installs without a network: build/offline-kit
	@$(SETUP) lab,test
	@$(PY) tests/tools/offline_kit.py $(KIT_ARGS)

book-links:  ## ask every address that the site links to whether it is still there
	@$(SETUP) lab,book
	@$(PY) tests/tools/book.py links

repo:  ## another repository, wherever it is named: make repo NAME=owner/name
	@$(PY) tests/tools/book.py repo "$(NAME)"

lint:  ## mend what ruff can mend, and format
	@$(SETUP) lab,test
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

clean:  ## remove caches and builds (the environment stays)
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
	find . -path ./$(VENV) -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) \
		-type d -prune -exec rm -rf {} +
