#!/usr/bin/env bash
# Make the environment of SAEDashboard: .peers/saedashboard at the root of the checkout.
set -euo pipefail
cd "$(dirname "$0")/../.."
uv venv --quiet --allow-existing --python 3.11 .peers/saedashboard
uv pip install --python .peers/saedashboard/bin/python ${PEERS_BACKEND:+--torch-backend "$PEERS_BACKEND"} \
  sae-dashboard==0.8.0 "pyarrow<20"  # a newer one wants NumPy 2, which sae-dashboard does not allow
