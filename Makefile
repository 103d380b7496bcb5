# Each target makes what it needs, so that every one of them works on a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo docs system test soak lint bench bench-growth bench-gpu coverage mutation clean

$(VENV)/.app: pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.app
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/.app
	$(BIN)/regimes demo

# The pages are looked at in a real browser, and clocks made to jump; without these the tests of that are skipped.
system:
	@command -v chromium > /dev/null && command -v faketime > /dev/null \
	|| { [ "$$(id -u)" = 0 ] && apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium faketime; } > /dev/null \
	|| echo "Tests are skipped that need the packages chromium and faketime: install them to run all."

# One thread a process: several would only wait for each other. Three processes for two cores, for some tests wait for
# programs that they start. The longest file comes first, the short ones last, so that no core is idle at the end.
test: $(VENV)/.dev system
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder tests/test_docs.py tests

# What needs many rounds: 20,000 cases of trading rules instead of 100, ten rounds of the leaks of docs/leaks.md, and 200
# random kills instead of 10, with what was killed. Takes an hour.
soak: $(VENV)/.dev
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/pytest --hypothesis-profile=fuzz -k all_rules tests/strategies/test_rules.py
	ROUNDS=10 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -n 2 tests/runners/lookahead
	KILLS=200 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -rP --show-capture=stdout tests/runners/live/test_random_kills.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/.docs: $(VENV)/.app
	$(BIN)/pip install --quiet -c constraints.txt -e '.[docs]'
	touch $@

# The manual, in build/docs; every warning is an error.
docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W --keep-going -n -q -d build/doctrees docs build/docs
	@echo "manual: build/docs/index.html"

$(VENV)/.bench: $(VENV)/.dev
	$(BIN)/pip install --quiet -c constraints.txt -e '.[bench]'
	touch $@

# In an environment of its own: its pyarrow and ray would change how long pandas and the commands take to import.
build/neuralforecast/.installed: constraints.txt
	test -d build/neuralforecast || $(PYTHON) -m venv build/neuralforecast
	build/neuralforecast/bin/pip install --quiet -c constraints.txt neuralforecast torch
	touch $@

# Times and memory, against other packages in the same run; takes a quarter of an hour, on an otherwise idle machine.
bench: $(VENV)/.bench build/neuralforecast/.installed
	$(BIN)/python -m tests.benchmarks

# The commands on 10,000 to 1,000,000 bars; takes about half an hour.
bench-growth: $(VENV)/.dev
	$(BIN)/python -m tests.benchmarks.growth

bench-gpu: $(VENV)/.dev
	$(BIN)/python -m tests.benchmarks.gpu

$(VENV)/.quality: $(VENV)/.dev
	$(BIN)/pip install --quiet -c constraints.txt -e '.[quality]'
	touch $@

# Which lines and branches the tests reach, and whether they notice when the code is changed: see tests/README.md.
coverage: $(VENV)/.quality system
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 2 --dist loadfile
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

mutation: $(VENV)/.quality
	rm -rf mutants  # what it found before it would take for still true
	$(BIN)/mutmut run --max-children 2
	$(BIN)/mutmut results

clean:
	rm -rf $(VENV) build mutants *.egg-info
