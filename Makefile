# Two commands: `make demo` shows the whole loop, `make test` checks it. Both use the same .venv.

PYTHON ?= python3
BIN := .venv/bin
RUN := runs/toybox_demo
export TOKENIZERS_PARALLELISM := false
export HF_HUB_DISABLE_TELEMETRY := 1
export PYTHONPATH := $(CURDIR)

.PHONY: demo app gpu test test-fast test-vllm lint clean clean-runs

# Made again only when what it is made from changes, so installing twice is quick.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "byname needs Python 3.11 or newer; set PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/installed_app: .venv/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[app]'
	touch $@

.venv/installed_tests: .venv/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

# Memory that a step frees is needed by the next: given back to the system in between, a sixth of the
# time goes into asking for it again.
demo: export MALLOC_MMAP_THRESHOLD_ := 1073741824
demo: export MALLOC_TRIM_THRESHOLD_ := 8589934592
demo: .venv/installed
	$(BIN)/byname generate --config configs/data/toybox.yaml --replace true
	OMP_NUM_THREADS=1 $(BIN)/byname grpo --accelerate cpu_2 --config configs/grpo/toybox_demo.yaml --per_device_train_batch_size 32
	$(BIN)/byname evaluate --config configs/benchmarks/toybox.yaml --policy base=toybox_base --policy trained=$(RUN)/policy --out $(RUN)/eval
	$(BIN)/byname report $(RUN)
	$(BIN)/byname toys --policy $(RUN)/policy

# The page: your own things, and questions about them (http://127.0.0.1:7860).
app: .venv/installed_app
	$(BIN)/byname app

# Ten minutes on one GPU: equality, speed and memory beside stock TRL, as a table for docs/speed.md.
gpu: .venv/installed
	$(BIN)/byname gpu_check

# Tiny models: a second thread waits more than it works, so two processes share the test files; they
# take them in the order of tests/conftest.py, the longest first.
test test-fast: export OMP_NUM_THREADS := 1
test: .venv/installed_tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# About 90 seconds: all but the tests that tests/conftest.py calls slow.
test-fast: .venv/installed_tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

# vLLM on a CPU, in a second environment (670 MB; docs/vllm.md): not part of `make test`. PyPI builds
# torchaudio and torchcodec for CUDA, and vLLM imports neither for images.
.venv-vllm/installed: tests/vllm/requirements.txt
	test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/pip install --quiet --no-compile --requirement tests/vllm/requirements.txt
	.venv-vllm/bin/pip uninstall --quiet --yes torchaudio torchcodec
	touch $@

# A process for each file: vLLM's engines share one process badly.
test-vllm: export OMP_NUM_THREADS := 1
test-vllm: .venv-vllm/installed
	for file in tests/vllm/test_*.py; do .venv-vllm/bin/python -m pytest $$file || exit 1; done

lint: .venv/installed_tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# What `make demo` makes again; runs stay.
clean:
	rm -rf .venv .venv-vllm build *.egg-info .pytest_cache .ruff_cache .hypothesis

# Rows, policies and reports: all that was ever trained here.
clean-runs:
	@test ! -e runs || { du -sh runs; printf 'Remove runs/ with everything in it? [y/N] '; \
	  read answer; test "$$answer" = y && rm -rf runs || echo 'runs/ stays'; }
