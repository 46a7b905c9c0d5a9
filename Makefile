# make book       run every notebook, build the site into _build/html
# make test       lint, directions of imports, unit tests, every notebook, the site (what .ci/run calls)
# make test-all   the same with the slow tests, and those of the Ray engine
# make site-test  open every page of the site in headless Chromium (part of test-all)
# make pdf        the whole book as _build/book.pdf
# make screenshots  pictures of every page, desk and phone, light and dark, in _build/screenshots
# make faults     try every fault and write the table that the book shows
# make test-ray   the tests of the Ray engine, which is installed for them; writes the log that the book shows
# make bench      speed figures, for the book and README; some minutes on an idle machine; builds SparseProp from source
# make gpu-test   what only a machine with a CUDA GPU can show
# make gpu-bench  how fast its GPU trains the paper's networks; writes the figures that the book shows
# make constraints  pin what the pinned packages bring along, for every Python and system that they have wheels for
# make clean      remove what the commands above made, the environment included
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	"$$python" -c "$(NEW_ENOUGH)" 2>/dev/null && echo "$$python" && break; done)
BIN := .venv/bin
TWO_NODES := tests/faults/two_nodes.py
BOTH_CORES := -n 2 --dist loadfile --no-loadscope-reorder  # each file whole, in conftest.py's order
export TQDM_DISABLE := 1
export OMP_NUM_THREADS ?= 1

.PHONY: book test test-all site-test pdf screenshots faults test-ray bench gpu-test gpu-bench constraints clean

book: .venv/ready
	$(BIN)/python book/_ext/make_book.py

test: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest $(BOTH_CORES) -m "not slow"

test-all: .venv/site .venv/ray
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest $(BOTH_CORES)
	$(BIN)/python -m pytest $(TWO_NODES)

site-test: .venv/site
	$(BIN)/python -m pytest tests/site

pdf screenshots: .venv/site
	$(BIN)/python book/_ext/browser.py $@

faults: .venv/ready
	TICKETLIB_FAULTS=book/reference/faults.json $(BIN)/python -m pytest tests/faults

test-ray: .venv/ray
	TICKETLIB_RAY_LOG=book/reference/two_nodes.json $(BIN)/python -m pytest $(TWO_NODES)

bench: .venv/ready
	$(BIN)/python benchmarks/run.py
	$(BIN)/python -m ticketlib readme

gpu-test: .venv/ready
	$(BIN)/python -m pytest tests/on_gpu.py

gpu-bench: .venv/ready
	$(BIN)/python benchmarks/gpu.py

.venv/ready: requirements.txt constraints.txt pyproject.toml
	@"$(PYTHON)" -c "$(NEW_ENOUGH)" || { echo "no Python 3.11 or newer was found: install one, or name it with make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -r requirements.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

.venv/site: .venv/ready requirements-site.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -r requirements-site.txt
	@$(BIN)/python book/_ext/browser.py check
	@touch $@

.venv/ray: .venv/ready requirements-ray.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -r requirements-ray.txt
	@touch $@

constraints: .venv/ready
	$(BIN)/python -m pip install -q --disable-pip-version-check uv==0.13.9
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-annotate \
		--custom-compile-command "make constraints" requirements.txt requirements-site.txt requirements-ray.txt -o constraints.txt

clean:
	rm -rf .venv _build book/claims .pytest_cache .ruff_cache .hypothesis *.egg-info
