#!/usr/bin/env bash
# The reference run on one screen: from the raw counts of a scene (3000 x 2796 pixels, 186 bands) to a report of all methods.
# It trains on 24 plants (rows 1024:3000) and tests on 12 plants (rows 0:1024), with the same 1000 patches of 512 x 512
# pixels for every method. Every line resumes: run the script again after an interruption.
# You may set the environment variables ROOT (folder), STEPS, WIDTH, SEED, WORKERS and CLUSTER, and for a smaller scene ROWS,
# COLS, PLANTS and TEST_ROWS (at least 512). CLUSTER is local, slurm, the address of a scheduler (tls://HOST:8786) or a dotted
# path; its workers see ROOT under the same path. Training takes as many ranks as there are workers, which must divide the
# batch of 2 evenly: set RANKS where WORKERS does not.
set -euo pipefail

ROOT=${ROOT:-runs/reference}
STEPS=${STEPS:-3000}
WIDTH=${WIDTH:-16}
WORKERS=${WORKERS:-0}
CLUSTER=${CLUSTER:-}
SEED=${SEED:-0}
ROWS=${ROWS:-3000}
COLS=${COLS:-2796}
PLANTS=${PLANTS:-36}
TEST_ROWS=${TEST_ROWS:-1024}
TRAIN=$TEST_ROWS:$ROWS
TEST=0:$TEST_ROWS
mkdir -p "$ROOT"
cd "$ROOT"
shared=(--workers "$WORKERS") ranks=()
if [[ $CLUSTER ]]; then
  shared+=(--cluster "$CLUSTER") ranks=(--cluster "$CLUSTER" --workers "${RANKS:-$WORKERS}")
fi

stage() { # runs one verb, keeps its figures in NAME.json, and prints the command
  local name=$1; shift
  echo "== $name: tilespec $*" >&2
  tilespec "$@" --json | tee "$name.json"
}

stage simulate simulate raw --rows "$ROWS" --cols "$COLS" --bands 186 --plants "$PLANTS" --seed "$SEED" --raw
stage ingest   ingest raw/raw.hdr scene.zarr --white raw/white.hdr --dark raw/dark.hdr --labels raw/labels.hdr
stage fit      fit scene.zarr recipe --steps vsn,pca=4,scale --rows $TRAIN "${shared[@]}"
stage train    train preset:demo --out model --set data.scene=scene.zarr --set data.rows=$TRAIN --set data.test_rows=$TEST \
                 --set recipe.path=recipe --set train.steps="$STEPS" --set net.base_width="$WIDTH" --set train.seed="$SEED" "${ranks[@]}"
stage predict  predict model scene.zarr cgan.zarr "${shared[@]}"

stage ndvi     baseline ndvi  scene.zarr ndvi.zarr  --rows $TRAIN --seed "$SEED" "${shared[@]}"
stage plsda    baseline plsda scene.zarr plsda.zarr --rows $TRAIN --seed "$SEED" "${shared[@]}"
stage opened   baseline plsda scene.zarr opened.zarr --rows $TRAIN --seed "$SEED" --opening 4 "${shared[@]}"
stage mlp      baseline mlp   scene.zarr mlp.zarr   --rows $TRAIN --seed "$SEED" "${shared[@]}"

for method in ndvi plsda opened mlp cgan; do
  stage "evaluate-$method" evaluate $method.zarr scene.zarr --rows $TEST --patches 1000 --patch-size 512
done
stage report   report scene.zarr model ndvi.zarr plsda.zarr opened.zarr mlp.zarr cgan.zarr report.html
