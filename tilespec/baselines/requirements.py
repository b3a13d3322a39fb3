"""Requirements: what a method needs of its options and scenes, checked before anything is read."""

from dataclasses import replace
from typing import Any

from tilespec.baselines.options import BaselineOptions, unused
from tilespec.core.errors import UserError
from tilespec.storage.layer import label_map
from tilespec.storage.scene import Scene


def suited(method: Any, options: BaselineOptions, count: int) -> list[str]:
    """Return notes on options that the method does not use; refuse options that exclude each other."""
    if count > 1 and not (on_numbers(method) and options.references):
        raise UserError(
            "SCENE",
            found=f"{count} scenes",
            expected="one, but for a regression on --references",
            do="Fit on one scene, and predict the others with the model: `tilespec predict OUT.model SCENE... OUT`.",
        )
    uses = getattr(method, "USES", None)
    if options.diagnostics and (uses is None or "diagnostics" not in uses):
        raise UserError(
            "--diagnostics",
            found="a method that has neither Q nor T2",
            expected="plsda or plsr",
            do="Leave --diagnostics out, or use plsda or plsr.",
        )
    if options.opening and options.max_angle is not None:
        raise UserError(
            "--opening",
            found=f"{options.opening} together with --max-angle",
            expected="one of them: an opening leaves no pixel without a class",
            do="Leave one of them out.",
        )
    if options.opening and (getattr(method, "TARGET", False) or on_numbers(method)):
        raise UserError(
            "--opening", found=f"{options.opening}, of spectra", expected="classes to open", do="Leave --opening out."
        )
    return [] if uses is None else unused(options, uses)


def on_numbers(method: Any) -> bool:
    """Return whether a method is a regression on reference numbers."""
    return bool(getattr(method, "REFERENCES", False))


def with_defaults(method: Any, options: BaselineOptions) -> BaselineOptions:
    """Return the options with the method's own number of components, where none is given."""
    own = getattr(method, "COMPONENTS", None)
    return replace(options, components=own) if options.components is None else options


def labels_of(method: Any, scene: Scene, options: BaselineOptions) -> str:
    """Return the store of the class labels: the scene itself, or another one on the same plane."""
    if options.labels is None:
        return scene.url
    if on_numbers(method) or getattr(method, "TARGET", False):
        raise UserError(
            "--labels",
            found=options.labels,
            expected="none: this method answers numbers or spectra, not classes",
            do="Leave --labels out.",
        )
    labels = label_map(options.labels)
    if labels.shape != scene.shape[:2]:
        raise UserError(
            options.labels,
            found=f"labels of {labels.shape[0]} x {labels.shape[1]} pixels",
            expected=f"{scene.shape[0]} x {scene.shape[1]}, the size of {scene.url}",
            do="Give labels that lie on the scene pixel by pixel.",
        )
    return options.labels


def target_of(method: Any, scene: Scene, options: BaselineOptions) -> Scene | None:
    """Return the target scene of a regression; None for one on numbers, and for classifiers, which have none."""
    target = options.target
    numbers = on_numbers(method) and (options.references is not None or not getattr(method, "TARGET", False))
    if numbers and options.references is None:
        raise UserError(
            "--references",
            found="none",
            expected="a CSV file ID,NAME [UNIT],... with the numbers of samples",
            do="Give --references FILE, with a row for each sample.",
        )
    wants = getattr(method, "TARGET", False) and not numbers
    if wants != (target is not None):
        raise UserError(
            "--target",
            found="none" if wants else target,
            expected="a scene whose spectra the regression answers"
            if wants
            else f"none: this method answers {'the numbers of --references' if numbers else 'classes'}",
            do="Give --target SCENE, on the same plane." if wants else "Leave --target out.",
        )
    if target is None:
        return None
    answer = Scene.open(target)
    if answer.shape[:2] != scene.shape[:2]:
        raise UserError(
            target,
            found=f"{answer.shape[0]} x {answer.shape[1]} pixels",
            expected=f"{scene.shape[0]} x {scene.shape[1]}, the size of {scene.url}",
            do="The target must lie on the scene pixel by pixel: resample one of them, or cut both alike.",
        )
    return answer
