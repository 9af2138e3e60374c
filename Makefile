# make selfkd   the main job: the Self-KD notebook through papermill, on the embedded data set
# make reproduce  every experiment, as far as it is not finished, and the report: ARGS='--profile smoke' and the like
# make test     everything that must hold before a commit lands (about 10 minutes on two cores)
# make test-slow  what takes longer: killed trainings, downloads and searches, exports of many networks (about 25 minutes)
# make docs     the documentation site into _docs/ (under a minute after set-up); see it with python3 -m http.server -d _docs
# make links    whether the links of the built site to other sites lead somewhere
# All create .venv on first use; later runs start at once.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export JUPYTER_PREFER_ENV_PATH = 1

.PHONY: selfkd reproduce test test-slow docs links clean
selfkd: $(READY)
	@echo "two supernets, one after the other; a line per epoch"
	$(BIN)/papermill --no-progress-bar --log-level WARNING --stdout-file - nbs/05_selfkd.ipynb runs/05_selfkd.ipynb
	@echo "executed notebook: runs/05_selfkd.ipynb; one result.json per model: runs/05_selfkd/"

reproduce: $(READY)
	$(BIN)/salnas_reproduce $(ARGS)

# two processes of one thread each: on two cores nearly twice as fast as one process of two threads
test: export OMP_NUM_THREADS = 1
test: $(READY)
	$(BIN)/nbdev_test --n_workers 2
	$(BIN)/python -m pytest -q -n 2 --dist worksteal tests --ignore tests/slow

test-slow: $(READY)
	$(BIN)/python -m pytest -q tests/slow

docs: $(VENV)/.docs
	$(BIN)/python -m docs.build

links: build/docs/pages
	$(BIN)/python -m sphinx -q -j 2 -b linkcheck -c docs build/docs/pages build/links

build/docs/pages:
	$(MAKE) docs

$(VENV)/.docs: settings.ini setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@

$(READY): settings.ini setup.py
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10))" || { echo "salnas needs Python 3.10 or newer: make PYTHON=python3.12 ..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf _proc _docs build dist *.egg-info
