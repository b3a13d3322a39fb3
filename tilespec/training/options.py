"""Options of `train`; what a training learns, and how, is written in its configuration."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from tilespec.core.options import DryRun, Overwrite


@final
@dataclass(frozen=True, kw_only=True)
class TrainOptions(DryRun, Overwrite):
    """The options of `train`."""

    overrides: Mapping[str, Any] | None = field(default=None, metadata={"flag": "--set", "metavar": "KEY=VALUE"})
    """A dotted key of the configuration, such as train.steps, has this value instead."""
    ranks: int = 1
    """This many processes of this machine share each batch. With `torchrun` or ``srun`` leave it at 1."""
    workers: int = 0
    """This many workers of the cluster get a rank each; 0 with --cluster takes all of them."""
    cluster: str | None = None
    """Ranks run on the workers of a cluster: local, slurm, tls://..., or a dotted path. Every host sees
    scenes and model."""
