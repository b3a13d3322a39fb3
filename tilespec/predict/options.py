"""Options of `predict` and `synth`, checked before anything is read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, final

from tilespec.core.errors import UserError
from tilespec.core.options import Device, DryRun, Join, Overwrite, Region, Seeded, Workers

PRECISIONS: Final = ("float32", "bfloat16")
"""Number types that a network can compute in."""
MOST_BLUR: Final = 64
"""The largest standard deviation of a blur in pixels."""


@dataclass(frozen=True, kw_only=True)
class ProductOptions(Region, Device):
    """The options of `predict` that decide the bytes of the product."""

    tile: int | None = None
    """A tile has this many output pixels on each side. The default is the patch size of the training, more for an
    exact network with a halo; without patches 256, less for a scene of many channels."""
    overlap: int | None = None
    """Neighbouring tiles share this many output pixels. The default suits the tile class of the network."""
    window: str = "cosine"
    """Overlapping tiles are blended with the weights cosine, linear, gaussian or none."""
    norm: str = "tile"
    """Norms over space use the statistics of each tile (tile) or of the whole scene (frozen)."""
    precision: str = "float32"
    """The network computes in float32, or in bfloat16, which is faster and gives other bits."""
    samples: int = 0
    """The prediction is the mean over this many draws of dropout; 0 leaves dropout off."""
    flips: bool = False
    """Average over the eight symmetries of the square."""
    probabilities: bool = False
    """Store the probability of each class as well."""
    disagreement: bool = False
    """Store the spread of the tiles (and variants) that cover each pixel as well."""

    def __post_init__(self) -> None:
        _one_of("--norm", self.norm, ("tile", "frozen"))
        _one_of("--precision", self.precision, PRECISIONS)
        if not 0 <= self.samples <= 1000:
            raise UserError("--samples", found=self.samples, expected="0 to 1000", do="0 leaves dropout off.")


@final
@dataclass(frozen=True, kw_only=True)
class PredictOptions(ProductOptions, Workers, Join, DryRun, Overwrite):
    """The options of `predict`."""

    memory: str | None = None
    """A plan that needs more memory than this, such as 4GB, is refused; the default is what is available."""
    like: str | None = field(default=None, metadata={"metavar": "PRED"})
    """A dry run says how long the work takes, by the rates of this finished prediction of the same model."""


def _one_of(option: str, name: str, names: tuple[str, ...]) -> None:
    if name not in names:
        raise UserError(option, found=repr(name), expected=f"one of {', '.join(names)}", do="Check the spelling.")


@dataclass(frozen=True, kw_only=True)
class SynthesisOptions(Seeded, Device):
    """The options of `synth` that decide the bytes of the product."""

    count: int | None = field(default=None, metadata={"between": (1, 1 << 31)})
    """Draw this many spectra of each class into a table; the default is 100."""
    labels: str | None = field(default=None, metadata={"metavar": "STORE"})
    """Fill the label map of this store instead: each labelled pixel gets a spectrum of its class."""
    classes: str | None = field(default=None, metadata={"metavar": "NAME,..."})
    """Draw only these classes, by name or number, into the table."""
    between: str | None = field(default=None, metadata={"metavar": "NAME,NAME"})
    """Draw --count spectra along a path from one class to another, or between two spectra of one class (NAME twice)."""
    spherical: bool = False
    """Within a class, the path of the random numbers is a part of a great circle instead of a straight line."""
    mixing: float = 0.0
    """Near borders of classes, spectra are mixed: labels are blurred by this many pixels (standard deviation)."""
    texture: float = 0.0
    """Neighbours of one class are alike over about this many pixels (standard deviation of the blur of the random
    numbers); 0 leaves them independent."""

    def __post_init__(self) -> None:
        _table_or_map(self.labels, {"--count": self.count, "--classes": self.classes, "--between": self.between})
        _path(self)
        for name in ("mixing", "texture"):
            value = getattr(self, name)
            if not 0 <= value <= MOST_BLUR:
                raise UserError(f"--{name}", found=value, expected=f"0 to {MOST_BLUR} pixels", do="Give fewer pixels.")
            if value and self.labels is None:
                raise UserError(
                    f"--{name}", found=f"{value}, without --labels", expected="a label map", do="Give --labels STORE."
                )


def _table_or_map(labels: str | None, of_tables: Mapping[str, object]) -> None:
    """Refuse options of a table beside a label map, and classes beside a path."""
    given = [option for option, value in of_tables.items() if value is not None]
    if labels is not None and given:
        raise UserError(
            "--labels",
            found=f"{', '.join(given)} together with it",
            expected="one of them: a label map says how many spectra of which class",
            do="Leave one of them out.",
        )
    if {"--classes", "--between"} <= {*given}:
        raise UserError(
            "--between",
            found="--classes together with it",
            expected="one of them: a path has the classes of its ends",
            do="Leave one of them out.",
        )


def _path(options: SynthesisOptions) -> None:
    """Refuse a path without two ends."""
    ends = [] if options.between is None else options.between.split(",")
    if options.between is not None and (len(ends) != 2 or options.count == 1):
        raise UserError(
            "--between",
            found=f"{options.between!r}, {options.count or 'the default number of'} spectra",
            expected="two classes, and two spectra or more",
            do="Write --between soil,leaf --count 11, or the same class twice.",
        )
    if options.spherical and len({end.strip() for end in ends}) != 1:
        raise UserError(
            "--spherical",
            found="no path within a class",
            expected="--between with the same class twice: between classes random numbers do not move",
            do="Leave it out.",
        )


@final
@dataclass(frozen=True, kw_only=True)
class SynthOptions(SynthesisOptions, Workers, Join, DryRun, Overwrite):
    """The options of `synth`."""
