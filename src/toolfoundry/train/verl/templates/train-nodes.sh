#!/usr/bin/env bash
# Trains on several nodes, which Ray joins to one cluster. Run it on the first node: NODES=4 ./train-nodes.sh
#
# Before that:
# 1. On every node the same virtual environment, and this folder at the same path (shared storage). Tools run in the
#    sandbox of each node; this tries it:
#    python3 -c "from toolfoundry.sandbox import self_test; print(self_test())"
# 2. Where this Ray has `ray get-auth-token`: make a token with --generate, and put its ~/.ray/auth_token on every node.
# 3. On the first node:      ray start --head --port=6379
# 4. On each other node:     ray start --address=FIRST_NODE:6379
# Who may talk to Ray can run code on every node: keep its ports inside a private network.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export RAY_ADDRESS=${RAY_ADDRESS:-auto}  # join the cluster; without one, fail instead of starting on this node alone
exec "$here/train.sh" trainer.nnodes="${NODES:?NODES: how many nodes}" "$@"
