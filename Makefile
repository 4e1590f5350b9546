# Each target sets up all it needs on a fresh machine with Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin

# The ONNX Runtime to install, an extra of pyproject.toml: gpu (CUDA, and CPUs too) or cpu. They replace each other in .venv.
ORT ?= $(if $(filter Linux-x86_64,$(shell uname -s)-$(shell uname -m)),gpu,cpu)
ORT_PACKAGE_cpu := onnxruntime
ORT_PACKAGE_gpu := onnxruntime-gpu
ifeq ($(ORT_PACKAGE_$(ORT)),)
$(error unknown ORT '$(ORT)'; choose from cpu, gpu)
endif
ORT_OTHER := $(filter-out $(ORT_PACKAGE_$(ORT)),$(ORT_PACKAGE_cpu) $(ORT_PACKAGE_gpu))

NEURONS := $(BIN)/python -c 'from deploy_snn.registry import NEURONS; print(*NEURONS)'

.PHONY: parity setup test lint docs bench compiled chaos hosts matrix references web web-packages clean

parity: .venv/toolkit  ## export every neuron and prove it on every runtime of this machine
	$(BIN)/deploy-snn parity $$($(NEURONS)) --json parity.json --html parity.html

setup: .venv/toolkit  ## install into .venv, and nothing else

test: .venv/dev .venv/tritonserver .venv/runtimes .venv/onnx2tf lint  ## lint, type check, tests
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile
	DEPLOY_SNN_ONNX2TF=$(CURDIR)/.venv/onnx2tf/bin/onnx2tf .venv/runtimes/bin/python -m pytest --numprocesses auto \
		tests/runtimes/test_other_runtimes.py tests/serve/cpp/test_executorch.py

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $$(git ls-files '*.cpp' '*.hpp')

docs: .venv/docs  ## build the pages of docs/ as a site, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

hosts: .venv/toolkit  ## build the C++ hosts, into serve/cpp/build; snn-executorch if .venv/runtimes was made before
	serve/cpp/headers.sh
	cmake -S serve/cpp -B serve/cpp/build -DCMAKE_BUILD_TYPE=Release -DDEPLOY_SNN_TESTS=ON \
		-DCMAKE_PREFIX_PATH="$$($(BIN)/python -c 'import torch; print(torch.utils.cmake_prefix_path)');$(CURDIR)/serve/cpp/.headers/usr;$(wildcard $(CURDIR)/.venv/runtimes/lib/python*/site-packages/executorch)" \
		-DONNXRUNTIME_INCLUDE_DIR=$(CURDIR)/serve/cpp/.headers/usr/include/onnxruntime
	cmake --build serve/cpp/build --parallel

bench: .venv/dev .venv/tritonserver hosts  ## measured comparisons, with the peers beside us in the same run
	$(BIN)/python benchmarks/neurons.py
	$(BIN)/python benchmarks/networks.py
	$(BIN)/python benchmarks/hosts.py
	$(BIN)/python benchmarks/serving.py
	$(BIN)/python benchmarks/mutants.py
	$(BIN)/python benchmarks/train_bindsnet.py .trained
	$(BIN)/python benchmarks/imported.py .trained

compiled: .venv/compiled .venv/brian2  ## compiled C beside loops by hand, ONNX Runtime, JAX, Brian2, BindsNET, NEST and emx-onnx-cgen
	-serve/cpp/headers.sh
	ONNXRUNTIME_INCLUDE_DIR=serve/cpp/.headers/usr/include/onnxruntime .venv/compiled/bin/python benchmarks/compiled.py

chaos: .venv/dev  ## servers and Redis are killed under load for ten minutes, and fuzzed for one; needs redis-server
	DEPLOY_SNN_CHAOS_SECONDS=600 DEPLOY_SNN_FUZZ_SECONDS=60 $(BIN)/python -m pytest tests/server/test_chaos.py tests/server/test_fuzz.py

web: .venv/dev  ## train the demo of serve/web on digits anew, and say how to open it
	$(BIN)/python serve/web/train_digits.py .trained/digits
	$(BIN)/deploy-snn web .trained/digits --rate 0.25 -o serve/web/demo

web-packages:  ## what the tests of serve/web need from npm; without it they are skipped by name
	cd serve/web && ONNXRUNTIME_NODE_INSTALL=skip npm install --no-audit --no-fund --no-package-lock

matrix: .venv/dev .venv/onnx2tf .venv/litert-torch  ## docs/matrix.md: every bundle of export/ on every other runtime, and a trap
	.venv/litert-torch/bin/python -m pytest tests/runtimes/test_other_runtimes.py -k litert_torch -rs
	$(BIN)/python benchmarks/matrix.py

# export/ has room for 5.5 MB: heaviside and the difference equations are compared with the writers of NIR files instead.
references: .venv/toolkit  ## write the reference bundles in export/ anew; a change in them is a change of behaviour
	for name in $$($(NEURONS)); do \
		case $$name in \
			heaviside | difference-*) continue ;; \
			subtractive-reset-if) options="--set thresh=1 --set reset=0 --set refrac=0" ;; \
			*) options= ;; \
		esac; \
		$(BIN)/deploy-snn export $$name --n 8 $$options -o export/$$name || exit; \
	done
	$(BIN)/deploy-snn export models/adapting_population.py --n 8 -o export/adapting_population
	$(BIN)/deploy-snn export models/diehl_cook_2015.py --n 16 --set n_input=64 --snap-weights 14 -o export/diehl_cook_2015
	$(BIN)/deploy-snn export models/izhikevich_2003.py --n 20 -o export/izhikevich_2003
	$(BIN)/deploy-snn export models/conv_lif.py --set size=6 --set channels=2 --snap-weights 14 -o export/conv_lif
	$(BIN)/deploy-snn export models/reservoir_srm0.py --n 30 --set n_input=16 --snap-weights 14 -o export/reservoir_srm0
	$(BIN)/deploy-snn export models/csrm_window.py --n 8 --set n_input=16 --snap-weights 14 -o export/csrm_window

.venv/toolkit: pyproject.toml constraints.txt .venv/ort-$(ORT)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --upgrade pip
	$(BIN)/pip uninstall --quiet --quiet --yes $(ORT_OTHER)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[$(ORT),digits]'
	touch $@

# Which ONNX Runtime .venv has: another one than the last time makes the other targets install anew.
.venv/ort-$(ORT):
	mkdir -p .venv
	rm -f .venv/ort-*
	touch $@

.venv/dev: .venv/toolkit
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[$(ORT),digits,docs,nir,otel,plot,redis,serve,triton,wasm]' --group dev
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps --group peers
	touch $@

.venv/docs: .venv/toolkit
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[$(ORT),docs]'
	touch $@

# Other runtimes, on top of .venv: there, they would take part in each comparison of the tests. IREE is left out for its
# size, 100 MB to download; `make matrix` has it. Without wheels for this machine, the tests are skipped.
.venv/runtimes: .venv/dev
	$(PYTHON) -m venv $@
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > $$(echo $@/lib/python*/site-packages)/base.pth
	-$@/bin/pip install --quiet --no-warn-conflicts --constraint constraints.txt executorch openvino MNN ai-edge-litert
	touch $@

# onnx2tf, which converts for the runtime litert: its dependencies clash with ours, and it needs Python 3.12 or newer. Without
# one, or without wheels, the tests of LiteRT are skipped.
ONNX2TF := 2.6.9
NEWER := $(PYTHON) python3.13 python3.12 $(wildcard $(HOME)/.pyenv/versions/3.1[23]*/bin/python)
.venv/onnx2tf: | .venv/toolkit
	rm -rf $@
	-for python in $(NEWER); do \
		$$python -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && $$python -m venv $@ && break; \
	done && $@/bin/pip install --quiet onnx2tf==$(ONNX2TF)
	mkdir -p $@
	touch $@

# litert-torch, on top of .venv: a test shows that its max pooling is wrong. 800 MB, so that `make test` skips that test.
.venv/litert-torch: tests/runtimes/litert-torch.txt | .venv/dev
	$(PYTHON) -m venv $@
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > $$(echo $@/lib/python*/site-packages)/base.pth
	-$@/bin/pip install --quiet --no-warn-conflicts --no-deps --requirement tests/runtimes/litert-torch.txt
	touch $@

# The peers of benchmarks/compiled.py, on top of .venv, and Brian2 beside it. Those without wheels for this machine are left out.
.venv/compiled: .venv/dev benchmarks/peers.txt
	$(PYTHON) -m venv $@
	$(BIN)/python -c 'import os, sysconfig; print(sysconfig.get_path("purelib"), os.getcwd(), sep="\n")' > $$(echo $@/lib/python*/site-packages)/base.pth
	-grep -v '^#' benchmarks/peers.txt | while read peer; do $@/bin/pip install --quiet --no-warn-conflicts "$$peer"; done
	touch $@

.venv/brian2: benchmarks/brian2.txt
	$(PYTHON) -m venv $@
	-$@/bin/pip install --quiet --requirement benchmarks/brian2.txt
	touch $@

# The server inside nvidia-pytriton's wheel, to run what `deploy-snn triton` writes; without such a wheel its tests are skipped.
.venv/tritonserver: tests/triton/requirements.txt
	$(PYTHON) -m venv $@
	-$@/bin/pip install --quiet --no-deps --requirement tests/triton/requirements.txt
	touch $@

clean:
	rm -rf .venv .trained bundles scratch site parity.json parity.html serve/cpp/build serve/cpp/.headers
