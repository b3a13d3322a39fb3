"""Options of `study`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from tilespec.core.options import PYTHON, SPAN, DryRun

PAIR = {"metavar": "KEY=VALUE"}


@final
@dataclass(frozen=True, kw_only=True)
class StudyOptions(DryRun):
    """The options of `study`."""

    vary: Mapping[str, str | Sequence[Any]] | None = field(default=None, metadata={"metavar": "KEY=V1,V2"})
    """A dotted key has these values in turn; every combination is run."""
    folds: Sequence[str] = ()
    """A file lists the names of a group of scenes, one on each line (text or CSV); or one TOML file lists ``[[fold]]``
    tables."""
    fold: Sequence[str] = field(default=(), metadata={"metavar": "NAME=S1,S2"})
    """These scenes form a group of this name."""
    root: str | None = None
    """The scenes of the lists lie in this folder; by default, the names are of ``data.scene``."""
    target_root: str | None = None
    """The targets lie in this folder, under the names of their scenes."""
    baselines: Sequence[str] = field(default=(), metadata={"flag": "--baseline"})
    """Classical methods (linear,plsda,...) are variants too."""
    baseline_options: Mapping[str, Any] | None = field(default=None, metadata={"flag": "--baseline-option"} | PAIR)
    """Every classical method has this option of `baseline`, such as recipe=snv."""
    synthetic: Sequence[str] = ()
    """Classifiers are compared with those that learn from these synthetic spectra too (--synthetic of `baseline`);
    trainings of the task synthesize are compared in this way in any case."""
    split: Sequence[str] = ()
    """Labelled pixels of each scene are for training or for test: random:0.03 (this share of each class, by the seed),
    halves or class-halves (left, right, upper, lower, by the seed) or blocks:16 (squares of 16 pixels); several are
    folds."""
    variants: Sequence[Mapping[str, Any]] = field(default=(), metadata=PYTHON)
    """Further variants are given by the fields of `Variant`: ``name``, ``config``, ``changes``, ``predict``, ..."""
    seeds: int = 3
    """Each variant is run with this many seeds: 0, 1, 2, ..."""
    overrides: Mapping[str, Any] | None = field(default=None, metadata={"flag": "--set"} | PAIR)
    """A dotted key has this value in every configuration."""
    rows: str | None = field(default=None, metadata=SPAN)
    """Train on these rows (data.rows)."""
    cols: str | None = field(default=None, metadata=SPAN)
    """Train on these columns (data.cols)."""
    test_rows: str | None = field(default=None, metadata=SPAN)
    """Test on these rows (data.test_rows)."""
    test_cols: str | None = field(default=None, metadata=SPAN)
    """Test on these columns (data.test_cols)."""
    predict: Mapping[str, Any] | None = field(default=None, metadata=PAIR)
    """Every prediction has this option of `predict`."""
    evaluate: Mapping[str, Any] | None = field(default=None, metadata=PAIR)
    """Every evaluation has this option of `evaluate`, such as peak=4095."""
    discard: bool = False
    """Remove each prediction, and each synthetic scene, as soon as it is judged."""

    def settings(self) -> dict[str, Any]:
        """Return the settings over every configuration, by dotted keys."""
        names = ("rows", "cols", "test_rows", "test_cols")
        regions = {f"data.{name}": getattr(self, name) for name in names if getattr(self, name) is not None}
        return regions | dict(self.overrides or {})
