#!/bin/bash
# One table of what one GPU gives, in about eight minutes, on a machine with PyTorch 2.11 or later,
# transformers and peft, and nothing of this project: from the root of a copy of the repository.
#
#   bash benchmarks/gpu_suite.sh --carry      where packages can be fetched: wheels into .whl/ (4 MB)
#   bash benchmarks/gpu_suite.sh              on the GPU machine, with .whl/ beside it
#   bash benchmarks/gpu_suite.sh --rehearse   tiny sizes, anywhere
set -euo pipefail
cd "$(dirname "$0")/.."

MISSING="pydantic pydantic-core annotated-types typing-inspection optuna colorlog tomli-w"

if [ "${1:-}" = --carry ]; then
    for version in 28 17; do platforms="${platforms:-} --platform manylinux_2_${version}_x86_64"; done
    # with its dependencies, pip chooses the pydantic-core that pydantic needs
    python3 -m pip download -q --only-binary=:all: --python-version 3.12 --implementation cp \
        $platforms --platform manylinux2014_x86_64 -d .whl/all $MISSING
    for name in $MISSING; do mv .whl/all/"${name//-/_}"-*.whl .whl/; done
    rm -r .whl/all
    du -sh .whl
    exit
fi

if ls .whl/*.whl >/dev/null 2>&1; then
    python3 -m pip install -q --no-index --no-deps --no-compile --target /tmp/gpu_suite .whl/*.whl
    export PYTHONPATH="/tmp/gpu_suite${PYTHONPATH:+:$PYTHONPATH}"
fi
PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 \
    timeout 540 python3 benchmarks/gpu_suite.py "$@"
