"""A plan of a million tiles whose parts only return counts, submitted to a cluster: `python many_parts.py OUT ADDRESS`.

Prints what it took as JSON. The scene is 10^5 x 10^5 pixels and was never written, and no net is evaluated.
"""

import json
import sys
from dataclasses import dataclass

from tilespec.cluster.connect import connect
from tilespec.core.memory import Peak, resident
from tilespec.core.progress import Silent
from tilespec.core.types import Roi
from tilespec.predict import predict
from tilespec.storage.layout import ArraySpec
from tilespec.storage.lock import locked
from tilespec.storage.product import Product
from tilespec.tiling.grid import Grid
from tilespec.tiling.plan import PredictPlan, SlabCounts, axes

SIDE, TILE, OVERLAP, EDGE, PANEL = 100_000, 128, 28, 256, 4096


@dataclass(frozen=True)
class NoNet:
    """The description of a predictor that nobody opens."""

    channels = (4, 1)
    classes = ()

    def _same(self, _):
        return self

    open = with_norms = with_intra = _same


def huge(out):
    """Return the plan: a million tiles in 9775 parts."""
    y, x = axes((SIDE, SIDE), TILE, OVERLAP)
    array = ArraySpec(name="prediction", shape=(SIDE, SIDE), dtype="uint8", dims=("y", "x"), chunks=(EDGE, EDGE))
    product = Product.open(out, [array], settings={"a": 1}, attrs={}, constants={}, panel=PANEL)
    roi = Roi(y0=0, y1=SIDE, x0=0, x1=SIDE)
    return PredictPlan(
        scene="never-written", roi=roi, product=product, grid=Grid(y=y, x=x), spec=NoNet(), threads=1, batch=16
    )


def counted(plan, part, *_):
    """Return the counts of a part without reading or writing anything."""
    rows, columns = plan.tiles(part)
    return SlabCounts(tiles=len(rows) * len(columns))


def main(out, address):
    plan = huge(out)
    predict._run_on_worker = counted  # everything else is as in `tilespec predict`
    with locked(out) as hold, connect(0, address) as client, Peak() as peak:
        parts, tiles, before = plan.shares(), 0, resident()
        for _, facts in predict._facts(plan, hold, parts, client, Silent(), bool):
            tiles += facts.tiles
    found = {"tiles": plan.grid.tiles, "evaluated": tiles, "parts": len(parts), "seconds": peak.seconds}
    sys.stdout.write(json.dumps(found | {"client": peak.bytes, "client_grew": peak.bytes - before}))


if __name__ == "__main__":
    main(*sys.argv[1:])
