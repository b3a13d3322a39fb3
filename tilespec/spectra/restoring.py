"""Restoring: the last steps of a recipe are undone, so that spectra come back without what the steps leave out.

A projection on few components and back is the classical way to take noise away: by PCA, or by MNF (Green, Berman,
Switzer and Craig 1988), which knows the noise of each band.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, final

from tilespec.core.errors import UserError
from tilespec.spectra.bands import Bands
from tilespec.spectra.operators import Operator
from tilespec.spectra.recipe import Recipe


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Undo:
    """Return values to what they were before an operator."""

    name: ClassVar[str] = "undo"
    operator: Any
    """The operator that is undone, by its method ``restore``."""
    before: Bands
    """The bands before it."""

    def apply(self, x: Any) -> Any:
        """Return the values ``pixel band`` before the operator."""
        return self.operator.restore(x)

    def out(self, bands: Bands) -> Bands:
        """Return the bands before the operator."""
        del bands
        return self.before


def restoring(recipe: Recipe, where: str) -> tuple[tuple[Operator, ...], Bands]:
    """Return the operators of a recipe with those that undo its last steps, and the bands behind them.

    Undone are the steps from the last one backwards that can be: ``pca``, ``mnf`` and those that scale. Steps before
    the first of them, such as ``despike``, stay.

    Raises:
        UserError: the last step cannot be undone.
    """
    bands, before = Bands(count=recipe.bands_in, axis=recipe.axis_in), list[Bands]()
    for step in recipe.steps:
        before.append(bands)
        bands = step.out(bands)
    undone: list[Operator] = []
    for step, bands_before in zip(reversed(recipe.steps), reversed(before), strict=True):
        if not hasattr(step, "restore"):
            break
        undone.append(Undo(operator=step, before=bands_before))
        bands = bands_before
    if not undone:
        raise UserError(
            f"--restore: {where}",
            found=f"the recipe {recipe.text or 'without steps'}, whose last step cannot be undone",
            expected="a recipe that ends in pca, mnf, minmax, scale, mean or autoscale",
            do="Leave --restore out, or fit such a recipe.",
        )
    return (*recipe.steps, *undone), bands
