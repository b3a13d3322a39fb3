"""One run of one competitor in one stage before the network: what it is asked to do."""

import json
from dataclasses import asdict, dataclass
from typing import final

from stage_ways import STAGES


@final
@dataclass(frozen=True, kw_only=True)
class Stage:
    work: str
    """Name in the table of `stage_ways.py`."""
    way: str
    """Name of a competitor in it."""
    source: str
    """What is read: an ENVI header, or a scene store."""
    out: str
    """Where the product goes; removed by the caller."""
    steps: str = ""
    """What a recipe is fitted with."""
    recipe: str = ""
    """Fitted recipe folder: what `transform` takes, and what gives the peers the weights of VSN."""
    white: str = ""
    """ENVI header of the white reference."""
    dark: str = ""
    """ENVI header of the dark reference."""
    reference: str = ""
    """File of the float64 loadings: the way `reference` writes it, the check `angle` reads it."""
    patches: int = 0
    """Patches that are read."""
    side: int = 128
    """Side of a patch."""
    batch: int = 16
    """Patches in a batch."""
    threads: int = 2
    """Cores that the process is bound to, and threads in all."""
    workers: int = 0
    """Worker processes of one thread each; 0: everything in one process."""
    address_space: int = 0
    """Bytes of address space the process may have; 0: no limit."""
    check: str = ""
    """What is measured on the product afterwards: a name in the table of `race.py`."""

    @property
    def run(self) -> str:
        """``module:function`` of the way."""
        return STAGES[self.work][self.way].run

    def dumps(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> "Stage":
        return cls(**json.loads(text))
