"""Steps: the steps of a recipe, written ``crop=450:950,sg=11:2:1,vsn,pca=4``, and how each is fitted.

A step is a small frozen value; fitting it gives an operator (`tilespec.spectra.operators`). Three kinds: ``plain``
needs no data, ``sampled`` needs a few hundred pixels, ``folded`` needs a statistic of every pixel and therefore a pass.
"""

from collections.abc import Sequence

from tilespec.core.registry import from_user, load
from tilespec.spectra.bands import Bands
from tilespec.spectra.steps.base import Step, declares

STEPS = {
    "crop": "tilespec.spectra.steps.crop:Crop",
    "drop": "tilespec.spectra.steps.crop:Drop",
    "snv": "tilespec.spectra.steps.normalise:Snv",
    "vsn": "tilespec.spectra.steps.normalise:Vsn",
    "msc": "tilespec.spectra.steps.scatter:Msc",
    "emsc": "tilespec.spectra.steps.scatter:Emsc",
    "sg": "tilespec.spectra.steps.savgol:SavGol",
    "als": "tilespec.spectra.steps.baseline_correction:Als",
    "arpls": "tilespec.spectra.steps.baseline_correction:Arpls",
    "despike": "tilespec.spectra.steps.raman:Spikes",
    "align": "tilespec.spectra.steps.raman:Registration",
    "poly": "tilespec.spectra.steps.polynomial:PolynomialRemoval",
    "minoffset": "tilespec.spectra.steps.levels:MinOffset",
    "continuum": "tilespec.spectra.steps.continuum:ContinuumRemoval",
    "max": "tilespec.spectra.steps.levels:Max",
    "area": "tilespec.spectra.steps.levels:Area",
    "absorbance": "tilespec.spectra.steps.absorbance:Absorbance",
    "reflectance": "tilespec.spectra.steps.absorbance:Reflectance",
    "light": "tilespec.spectra.steps.absorbance:LinearLight",
    "resample": "tilespec.spectra.steps.resample:Resampling",
    "span": "tilespec.spectra.steps.scaling:Spanning",
    "minmax": "tilespec.spectra.steps.scaling:MinMax",
    "scale": "tilespec.spectra.steps.scaling:Scale",
    "mean": "tilespec.spectra.steps.scaling:Centre",
    "autoscale": "tilespec.spectra.steps.scaling:Autoscale",
    "pca": "tilespec.spectra.steps.pca:Pca",
    "mnf": "tilespec.spectra.steps.mnf:Mnf",
}
"""The steps by name: one small class and one line here, or the user's ``package.module:Class``."""


def parse(text: str) -> tuple[Step, ...]:
    """Return the steps in ``text``, separated by commas; an empty text has no steps.

    Raises:
        UserError: a step is unknown (the message lists the known ones), or its parameters are invalid.
    """
    return tuple(_step(name, args) for name, args in _parts(text))


def from_user_steps(text: str) -> str:
    """Return ``text``, which the user wrote: the user's own steps that it names may be loaded from now on."""
    for name, _ in _parts(text):
        from_user(name)
    return text


def _parts(text: str) -> list[tuple[str, str]]:
    """Return the name and the parameters of every step in ``text``."""
    parts = (part.strip().partition("=") for part in text.split(",") if part.strip())
    return [(_known(name.strip()), args) for name, _, args in parts]


def _known(name: str) -> str:
    """Return the name of a step in the letters of the table, such as ``snv`` for ``SNV``."""
    return name.lower() if name not in STEPS and name.lower() in STEPS else name


def _step(name: str, args: str) -> Step:
    step: Step = load(STEPS, name, "step").parse(tuple(args.split(":")) if args else ())
    return step


def plan(steps: tuple[Step, ...], bands: Bands) -> Bands:
    """Return the bands after all steps; an impossible step is refused before any pass."""
    for step in steps:
        bands = step.plan(bands)
    return bands


def needs_pass(steps: Sequence[Step], number: int) -> bool:
    """Return whether the fit of step ``number`` reads every pixel; `scale` just after `pca` does not."""
    before = steps[number - 1] if number else None
    has_deviations = declares(steps[number], "takes_deviations") and declares(before, "gives_deviations")
    return steps[number].kind == "folded" and not has_deviations


def passes(steps: Sequence[Step]) -> int:
    """Return the number of complete readings of the cube."""
    return sum(needs_pass(steps, number) for number in range(len(steps)))


__all__ = [
    "STEPS",
    "from_user_steps",
    "needs_pass",
    "parse",
    "passes",
    "plan",
]
