# Every target first sets up .venv where it is missing or out of date. `make` alone lists the targets.
# PYTHON=/path/to/python3.12 chooses the interpreter that .venv is made with; ARGS="..." is passed on.

RUN := .venv/bin/python
PROFILE ?= demo
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help setup demo report test lab lint readme gpu-check clean distclean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' Makefile | awk -F ':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

setup:  ## create or complete .venv, and nothing else
	@bash packaging/setup.sh

demo: setup  ## run the whole study at miniature scale and render its reports
	@$(RUN) run_all.py --profile demo --report --jobs 2 $(ARGS)

report: setup  ## train what is missing of PROFILE (demo), and render its reports
	@$(RUN) run_all.py --profile $(PROFILE) --report $(ARGS)

test: setup  ## run the tests in two processes, for example ARGS="tests/scapes/test_ap.py -x"
	@$(RUN) -m pytest -q -n 2 --dist loadfile $(ARGS)

lab: setup  ## open JupyterLab on the notebooks
	@$(RUN) -m jupyterlab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks $(if $(filter 0,$(shell id -u)),--allow-root) $(ARGS)

lint: setup  ## check style, formatting and the line budgets
	@$(RUN) -m ruff check . && $(RUN) -m ruff format --check . && $(RUN) packaging/budgets.py

readme: setup  ## put the numbers and pictures of the finished demo into README.md
	@$(RUN) packaging/readme.py $(ARGS)

gpu-check: setup  ## what only a GPU can show, in minutes (GPU_CHECK=tiny: on a CPU); reports/gpu_check.json
	@$(RUN) benchmarks/gpu_check.py $(ARGS)

clean:  ## remove what is made again in minutes: reports/, data/, the folders in figures/, caches; trained runs stay
	rm -rf reports data figures/*/ build .pytest_cache .ruff_cache .hypothesis
	find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## the same, and the trained runs in runs/, and .venv
	rm -rf runs .venv *.egg-info
