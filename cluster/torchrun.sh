#!/usr/bin/env bash
# Trains under torchrun. Run the same line on each of NODES machines. All of them need to see the scenes and MODEL under the
# same paths. RANKS is the number of processes on each machine:
#
#   HEAD=first.machine NODES=2 RANKS=4 cluster/torchrun.sh CONFIG --out MODEL [--set key=value]...
#
# When a rank is lost, the other ranks end. torchrun then starts all ranks again, up to RESTARTS times, and they resume from
# the last checkpoint. NODES=1:4 trains on whatever is there, from one machine to four: when a machine joins, or is lost, all
# ranks start again, and the number of patches in a batch must be a multiple of the number of ranks each time. HEAD must stay.
set -euo pipefail

HEAD=${HEAD:-localhost}
PORT=${PORT:-29400}
NODES=${NODES:-1}
RANKS=${RANKS:-2}
RESTARTS=${RESTARTS:-3}

export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(($(nproc) / RANKS > 0 ? $(nproc) / RANKS : 1))}
# A machine that joins later waits in vain for an address which torch 2.13 announces in the first round only, if agents share
# their store with the ranks.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
exec torchrun --nnodes="$NODES" --nproc-per-node="$RANKS" --max-restarts="$RESTARTS" \
  --rdzv-backend=c10d --rdzv-endpoint="$HEAD:$PORT" --rdzv-id="${ID:-tilespec}" \
  -m tilespec train "$@" --json
