"""Augmentation: classifiers with and without synthetic spectra, from generators and by rules, as variants of a study.

A training of the task ``synthesize`` has no prediction to judge. It is judged by the classifiers that learn from its
spectra besides the real ones: as many of each class as are labelled (Audebert et al., 2018, table 2).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from tilespec.baselines.baseline import BASELINES
from tilespec.core.errors import UserError
from tilespec.core.registry import load
from tilespec.workflows.study.variants import Variant


def with_synthetic(
    grid: Sequence[Variant], synthetic: Sequence[str], generates: Callable[[Variant], bool]
) -> tuple[Variant, ...]:
    """Return each classifier alone and with each kind of synthetic spectra, and all other variants as they are.

    Args:
        grid: The variants, generators among them.
        synthetic: The values of ``--synthetic`` of `tilespec baseline`.
        generates: Whether the training of a variant is one of a generator.

    Raises:
        UserError: there are synthetic spectra, and no classifier that can learn from them.
    """
    generators = [one for one in grid if one.baseline is None and generates(one)]
    if not generators and not synthetic:
        return tuple(grid)
    learners = [one for one in grid if one.baseline is not None and _learns(one.baseline)]
    if not learners:
        raise UserError(
            "--baseline",
            found="no classifier that learns from synthetic spectra",
            expected=f"some of {', '.join(name for name in BASELINES if _learns(name))}",
            do="Give for example --baseline svm,mlp: they judge what the spectra are good for.",
        )
    rows: list[Variant] = [one for one in grid if one not in generators and one not in learners]
    for one in learners:
        rows.append(one)
        rows += [
            replace(one, name=f"{one.name} + {name}", options={**one.options, "synthetic": name}) for name in synthetic
        ]
        rows += [replace(one, name=f"{one.name} + {each.name}", generator=each) for each in generators]
    return tuple(rows)


def _learns(name: str) -> bool:
    """Return whether a method learns from synthetic spectra."""
    return name in BASELINES and "synthetic" in getattr(load(BASELINES, name, "baseline"), "USES", ())
