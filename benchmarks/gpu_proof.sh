#!/usr/bin/env bash
# Everything that a machine with an NVIDIA GPU should be asked, in about ten minutes: the tests marked cuda, then
# gpu_proof.py. It writes pytest.log, proof.log and proof.json.
#   make .venv/dev && benchmarks/gpu_proof.sh [FOLDER]
# Other tools may set NVIDIA_TF32_OVERRIDE=0. Here it must not be set, because it would hide a product in TF32.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-gpu-proof}
python=${PYTHON:-.venv/bin/python}
mkdir -p "$out"
unset NVIDIA_TF32_OVERRIDE
export PYTHONPATH=$PWD OMP_NUM_THREADS=1
status=0
"$python" -m pytest -m cuda -q -rs -p no:cacheprovider tests/runtimes ${TESTS:-tests/serve/cpp} 2>&1 | tee "$out/pytest.log" || status=$?
"$python" benchmarks/gpu_proof.py --output "$out/proof.json" ${PROOF_OPTIONS:-} 2>&1 | tee "$out/proof.log" || status=$?
exit "$status"
