#!/usr/bin/env bash
# Trains under torchrun. Run the same line on each of NODES machines. All of them need to see the scenes and MODEL under the
# same paths. RANKS is the number of processes on each machine:
#
#   HEAD=first.machine NODES=2 RANKS=4 cluster/torchrun.sh CONFIG --out MODEL [--set key=value]...
#
# When a rank is lost, the other ranks end. torchrun then starts all ranks again, up to RESTARTS times, and they resume from
# the last checkpoint.
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
