"""Options of `demo`, `doctor`, `import-spectrai`, `new`, `preview` and `repair`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from tilespec.core.options import PYTHON, DryRun, Overwrite


@final
@dataclass(frozen=True, kw_only=True)
class DemoOptions(DryRun):
    """The options of `demo`."""

    seed: int = field(default=0, metadata=PYTHON)
    """The seed decides everything that is random."""


@final
@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """The options of `doctor`."""

    folder: str = "."
    """Files are written into this folder, and removed again, to measure the storage."""


@final
@dataclass(frozen=True, kw_only=True)
class ImportSpectraiOptions(DryRun, Overwrite):
    """The options of `import-spectrai`."""

    root: str | None = None
    """The data lie in this folder, to which their paths in the file are relative. The default is the folder of the
    file."""
    samples: int | None = field(default=None, metadata={"between": (1, 1 << 40)})
    """The training has this many spectra or images, which turn epochs into steps. The default is as many as are found
    in the data."""


@final
@dataclass(frozen=True, kw_only=True)
class NewOptions(DryRun, Overwrite):
    """The options of `new`."""

    task: str | None = None
    """The task of the training is one of segment, classify, denoise, calibrate, reconstruct and superres."""
    scene: str | None = None
    """This scene, or table of spectra, is learned from."""
    labels: str | None = None
    """This store has the labels; the default is the scene itself."""
    target: str | None = None
    """This store has the values that are to be predicted, for tasks that predict values."""


@final
@dataclass(frozen=True, kw_only=True)
class PreviewOptions(DryRun):
    """The options of `preview`."""

    overrides: Mapping[str, Any] | None = field(default=None, metadata={"flag": "--set", "metavar": "KEY=VALUE"})
    """A dotted key of the configuration, such as data.scene, has this value instead."""
    count: int = field(default=4, metadata={"between": (1, 64)})
    """This many patches of the first step are shown."""


@final
@dataclass(frozen=True, kw_only=True)
class RepairOptions:
    """The options of `repair`."""

    workers: int | None = field(default=None, metadata=PYTHON)
    """This many processes run the command, where it takes them; the default is as it was run."""
    dry_run: bool = field(default=False, metadata=PYTHON)
    """Write nothing; the result is the damage and the command."""
    accept: bool = False
    """Record what is stored now as right, for a store that you changed yourself; it becomes another scene."""
