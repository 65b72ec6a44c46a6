#!/usr/bin/env bash
# Trains on this node, on its 8 GPUs. Arguments override config.yaml: ./train.sh trainer.n_gpus_per_node=4
# Needs verl 0.9.1 with vLLM, and toolfoundry, in one virtual environment (docs/verl.md).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec python3 -m verl.trainer.main_ppo --config-path "$here" --config-name config "data.folder='$here'" "$@"
