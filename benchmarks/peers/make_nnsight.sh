#!/usr/bin/env bash
# Make the environment of nnsight: .peers/nnsight at the root of the checkout (ignored by git).
# It has the torch and the transformers of this project, so that nnsight and we are timed on the same kernels.
# PEERS_BACKEND=cpu takes the small build of torch where the index that is used has it.
set -euo pipefail
cd "$(dirname "$0")/../.."
version() { uv run --no-sync python -c "from importlib.metadata import version; print(version('$1').split('+')[0])"; }
uv venv --quiet --allow-existing .peers/nnsight
uv pip install --python .peers/nnsight/bin/python ${PEERS_BACKEND:+--torch-backend "$PEERS_BACKEND"} \
  "torch==$(version torch)" "transformers==$(version transformers)" nnsight==0.8.1
