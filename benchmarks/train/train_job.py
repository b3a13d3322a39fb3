"""One training of one competitor: what it is asked to do, and the networks that all of them train."""

import json
import tomllib
from dataclasses import asdict, dataclass
from typing import Any, final

from train_ways import TRAIN

from tilespec.training.presets import preset


@final
@dataclass(frozen=True, kw_only=True)
class Size:
    width: int
    """Channels of the first level of generator and discriminator."""
    patch: int
    """Side of a patch."""
    batch: int
    """Patches of a step, of all ranks together."""
    steps: int
    """Steps that are done."""
    long: int = 0
    """Steps of who keeps what it has decoded: so many that decoding the scene once is no longer most of the work."""


SIZES = {
    "w32-p256": Size(width=32, patch=256, batch=2, steps=60, long=300),
    "w64-p512": Size(width=64, patch=512, batch=2, steps=10, long=20),
    "w64-p512-b1": Size(width=64, patch=512, batch=1, steps=300),
    "w64-p512-b8": Size(width=64, patch=512, batch=8, steps=100),
}
"""The nets of the preset mishra2021 at these widths. The last two are for a GPU, and run where they are asked for."""
SKIP = 2
"""Steps that are not timed: kernels are chosen, processes start, the first patches are read."""


@final
@dataclass(frozen=True, kw_only=True)
class Training:
    way: str
    """Name in the table of `train_ways.py`."""
    source: str
    """Scene store with labels: the raw cube, or its scores."""
    recipe: str
    """Fitted recipe folder for the raw cube; empty: scores."""
    size: str
    """Name in the table of sizes."""
    out: str
    """Where the model goes; removed by the caller."""
    steps: int = 0
    """Steps; 0: as many as the size says."""
    ranks: int = 1
    """Processes that learn together."""
    threads: int = 2
    """Cores that the processes are bound to, and threads in all."""
    address_space: int = 0
    """Bytes of address space the process may have; 0: no limit."""
    check: str = ""
    """Nothing is measured on the product."""

    @property
    def run(self) -> str:
        """``module:function`` of the way."""
        return TRAIN[self.way].run

    def config(self, **data: Any) -> dict[str, Any]:
        """Return the preset mishra2021 at this size, on this scene; patches lie anywhere, none is dropped."""
        size, tables = SIZES[self.size], tomllib.loads(preset("mishra2021"))
        steps = self.steps or size.steps
        tables["data"] |= {"scene": [self.source], "patch": size.patch, "drop_single_class": False, **data}
        tables["recipe"] = {"path": self.recipe} if self.recipe else {}
        tables["net"]["base_width"] = tables["objective"]["discriminator"]["base_width"] = size.width
        tables["train"] |= {"batch": size.batch, "steps": steps, "checkpoint_every": steps, "log_every": 1}
        return tables

    def dumps(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> "Training":
        return cls(**json.loads(text))
