#!/usr/bin/env bash
# Make the environment that the peers run in: .peers/ at the root of the checkout (ignored by git).
# The torch of this project is pinned in it, so that the peers and we are timed on the same kernels.
# PEERS_BACKEND=cpu takes the small builds where the index that is used has them.
set -euo pipefail
cd "$(dirname "$0")/../.."
torch=$(uv run --no-sync python -c 'from importlib.metadata import version; print(version("torch").split("+")[0])')
uv venv --quiet --allow-existing .peers
uv pip install --compile-bytecode --python .peers/bin/python ${PEERS_BACKEND:+--torch-backend "$PEERS_BACKEND"} \
  "torch==$torch" sae-lens==6.54.12 eai-sparsify==1.3.3 dictionary-learning==0.1.0
