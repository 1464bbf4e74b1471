# Every target does its own set-up: Python 3.11, git, make and a C compiler are enough.
PYTHON ?= python3
VENV := .venv
PEERS := benchmarks/.peers
BIN := $(VENV)/bin
export HF_HUB_DISABLE_TELEMETRY = 1
export TOKENIZERS_PARALLELISM = false

.PHONY: report-browser bench-report bench-tune bench-score bench-predict bench-store bench-inprocess bench-expand setup demo test test-slow faults check format docs clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("fiatkit needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[local,openai,anthropic,ray,prices,parquet,hub,setfit,dev]'
	touch $@

# The main job on example data with real models; about half an hour on two cores.
demo: setup
	$(BIN)/fiat models get qwen2.5-coder-1.5b
	$(BIN)/fiat models get smollm2-135m
	$(BIN)/fiat compare examples/support_desk/run.yaml --out runs/demo

test: setup
	$(BIN)/fiat models get smollm2-135m
	$(BIN)/fiat models get qwen2.5-coder-0.5b
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test-slow: setup
	$(BIN)/python -m pytest -m slow

# The store against bare SQLite calls, and what a row costs as runs grow to a million rows.
bench-store: setup
	$(BIN)/python benchmarks/store.py
	$(BIN)/python benchmarks/cost_per_row.py

# The report in headless Chromium (apt-get install chromium), with the accessibility checker
# axe-core, which npm fetches. `make test` runs the same tests without axe-core.
report-browser: setup
	npm install --no-audit --no-fund --prefix build/axe axe-core@4.14.1
	$(BIN)/python -m pytest tests/report/test_browser.py -rs

# What the report of a million test rows weighs, and takes to open in Chromium.
bench-report: setup
	$(BIN)/python benchmarks/report.py

# All five tables of the large side; those in process and of the store are long.
$(PEERS)/curator:
	$(PYTHON) -m venv $@
	$@/bin/python -m pip install --quiet --disable-pip-version-check bespokelabs-curator
	touch $@

bench-expand: setup $(PEERS)/curator bench-inprocess bench-store
	$(BIN)/python benchmarks/expand_vs_ideal.py
	$(BIN)/python benchmarks/ray_scaling.py

# A line for each fault row of docs/reliability.md that has a test. Needs Linux, root (to mount a
# tmpfs) and strace: apt-get install strace. An hour or more; what the sweep has done is kept in
# build/faults, and the same command goes on from there.
faults: setup
	$(BIN)/fiat models get smollm2-135m
	$(BIN)/fiat models get qwen2.5-coder-0.5b
	$(BIN)/python -m pytest -p tests.faults.rows

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/help_pages.py --check

# Tables against named peers, each in an environment of its own; see benchmarks/README.md.
$(PEERS)/trl $(PEERS)/lm_eval: constraints.txt
	$(PYTHON) -m venv $@
	$@/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0 \
	  $(if $(findstring trl,$@),trl==1.16.0,'lm_eval[hf]==0.4.13') peft transformers accelerate
	touch $@

bench-tune: setup $(PEERS)/trl
	$(BIN)/fiat models get smollm2-135m
	$(BIN)/fiat models get gemma3-270m # asks you to accept Gemma's terms
	$(BIN)/python benchmarks/tune_vs_trl.py

bench-inprocess: setup
	$(BIN)/fiat models get qwen2.5-coder-0.5b
	$(BIN)/python benchmarks/inprocess_vs_ceiling.py

bench-score: setup $(PEERS)/lm_eval
	$(BIN)/python benchmarks/score_vs_lm_eval.py

bench-predict: setup
	$(BIN)/python benchmarks/predict_vs_transformers.py

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Draw docs/commands.md (--help) and docs/settings.md (the classes that read settings) again.
docs: setup
	$(BIN)/python docs/help_pages.py

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
