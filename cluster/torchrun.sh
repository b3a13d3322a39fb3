#!/usr/bin/env bash
# Train under torchrun: the same line on each of NODES machines, which share the storage of scenes and MODEL:
#
#   HEAD=first.machine NODES=2 RANKS=4 cluster/torchrun.sh CONFIG --out MODEL [--set key=value]...
#
# A lost rank ends the others; torchrun starts all again, RESTARTS times, and they resume from the last checkpoint.
set -euo pipefail

HEAD=${HEAD:-localhost}
PORT=${PORT:-29400}
NODES=${NODES:-1}
RANKS=${RANKS:-2}
RESTARTS=${RESTARTS:-3}

export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(($(nproc) / RANKS > 0 ? $(nproc) / RANKS : 1))}
exec torchrun --nnodes="$NODES" --nproc-per-node="$RANKS" --max-restarts="$RESTARTS" \
  --rdzv-backend=c10d --rdzv-endpoint="$HEAD:$PORT" --rdzv-id="${ID:-tilespec}" \
  -m tilespec train "$@" --json
