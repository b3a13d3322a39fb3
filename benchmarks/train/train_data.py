"""What is trained on: the scene of `scenes.py`, and its scores as a scene of their own."""

import json
import shutil
from pathlib import Path

from scenes import Data

from tilespec.core.progress import Lines
from tilespec.spectra.transform import transform
from tilespec.storage.ledger import sidecar


def source(data: Data) -> Path:
    """Return the scores as a scene that training takes for raw: without the digest of the recipe. Made once."""
    out = data.scratch / "scores-train.zarr"
    if not out.exists():
        made = data.scratch / "scores-made.zarr"
        transform(str(data.recipe), str(data.raw), str(made), progress=Lines())
        card = json.loads((made / "zarr.json").read_text())
        del card["attributes"]["recipe_digest"]
        (made / "zarr.json").write_text(json.dumps(card))
        made.rename(out)
        shutil.rmtree(sidecar(str(made)))
    return out
