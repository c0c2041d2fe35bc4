#!/usr/bin/env bash
# Everything that only a GPU can tell, on a bare machine: builds frametap, runs the tests of device="cuda", the probe, the
# benchmark and compute-sanitizer, and leaves docs/hardware.md and numbers. Needs no network.
#
#   tests/gpu/run.sh [OUT]                      OUT: a folder for results, default build/hardware
#   WHEELS=folder tests/gpu/run.sh              wheels for what the machine lacks (av, numpy, pytest, ...)
#   PYTHON=python3.12 ARGS="-k engines"         the interpreter; for pytest
#   VIDEO=talk.mp4 REPEAT=5                     the benchmark's video and how often it repeats
#   HARDWARE=hardware.md                        where the probe's page goes, default docs/hardware.md
#
# Ends with one line per step and fails when a step did; what is not installed and not required is said to be skipped.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=${PYTHON:-python3}
mkdir -p "${1:-build/hardware}"
out=$(cd "${1:-build/hardware}" && pwd)
site=$out/site
export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH} PATH=$site/bin:$PATH FRAMETAP_REQUIRE_CUDA=1
summary=() failed=0

# Whether a distribution is installed, at least in version MINIMUM: DISTRIBUTION [MINIMUM].
has() {
  "$python" - "$@" << 'CODE' 2> /dev/null
import re, sys
from importlib.metadata import version
number = lambda text: [int(part) for part in re.findall(r"\d+", text)[:2]]
sys.exit(number(version(sys.argv[1])) < number(sys.argv[2] if len(sys.argv) > 2 else "0"))
CODE
}

# Installs a distribution from WHEELS if it is not there: DISTRIBUTION [MINIMUM].
provide() {
  has "$@" && return 0
  [ -n "${WHEELS:-}" ] || return 1
  "$python" -m pip install -q --no-index --find-links "$WHEELS" --no-deps --upgrade --target "$site" "$1" 2>> "$out/pip.log"
  has "$@"
}

# A step: NAME COMMAND..., its output on the screen and in OUT/NAME.log.
step() {
  local name=$1 status
  shift
  echo "== $name"
  "$@" 2>&1 | tee "$out/$name.log"
  status=${PIPESTATUS[0]}
  if [ "$status" = 0 ]; then summary+=("passed   $name"); else summary+=("FAILED   $name (status $status: $out/$name.log)") failed=1; fi
  return "$status"
}

skip() { summary+=("skipped  $1: $2"); }

finish() {
  printf '%s\n' '' "${summary[@]}" | tee "$out/summary.txt"
  exit "$failed"
}

missing=()
for needed in pip "numpy 2.1" "av 14" "pybind11 3.0" "scikit-build-core 0.11" packaging pathspec "pytest 8.3" pluggy iniconfig pygments \
  "pytest-benchmark 5"; do
  # shellcheck disable=SC2086  # two words
  provide $needed || missing+=("${needed/ />=}")
done
provide py-cpuinfo || true  # what some versions of pytest-benchmark need
recent_cmake() {
  cmake --version 2> /dev/null | "$python" -c 'import re, sys
sys.exit([int(part) for part in re.findall(r"\d+", sys.stdin.read())[:2]] < [3, 26])'
}
recent_cmake || provide cmake 3.26 || missing+=("cmake>=3.26")
command -v ninja > /dev/null || provide ninja || missing+=("ninja")
command -v c++ > /dev/null || missing+=("a C++20 compiler")
command -v nvcc > /dev/null || [ -x /usr/local/cuda/bin/nvcc ] || has nvidia-cuda-nvcc || missing+=("nvcc")
if [ ${#missing[@]} -gt 0 ]; then
  printf 'missing:'
  printf ' %s;' "${missing[@]}"
  printf '\nput wheels of them into a folder and name it in WHEELS (the compilers: install them)\n'
  exit 1
fi >&2
"$python" -c "import cupy" 2> /dev/null || skip "tests with CuPy" "no cupy"
"$python" -c "import torch" 2> /dev/null || skip "tests with PyTorch" "no torch"

# Code for the GPUs that are here: an older nvcc need not know the newest ones.
architectures=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2> /dev/null | tr -d . | sort -u | paste -sd ';')
step build "$python" -m pip install -q --no-build-isolation --no-deps --no-index --upgrade --target "$site" \
  ${architectures:+-C "cmake.define.FRAMETAP_CUDA_ARCHITECTURES=$architectures"} . || finish
step gpu "$python" -c 'import sys; from frametap import doctor
state = doctor.cuda_state(); print(state); sys.exit(not state.usable)' || finish
# shellcheck disable=SC2086  # ARGS are words
step tests "$python" -m pytest tests/gpu -p no:cacheprovider --junitxml "$out/tests.xml" ${ARGS:-}
step probe "$python" tests/gpu/probe.py --out "${HARDWARE:-docs/hardware.md}" --json "$out/probe.json"
# shellcheck disable=SC2086  # VIDEO may be absent
step bench "$python" benchmarks/bench_gpu.py ${VIDEO:+"$VIDEO"} --repeat "${REPEAT:-5}" --json "$out/bench.json"
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2> /dev/null || true)
if [ -n "$sanitizer" ]; then
  for tool in memcheck racecheck; do  # initcheck does not know what NVDEC writes
    step "$tool" "$sanitizer" --tool "$tool" --error-exitcode 1 "$python" tests/gpu/short_sample.py
  done
else
  skip compute-sanitizer "not installed"
fi
finish
