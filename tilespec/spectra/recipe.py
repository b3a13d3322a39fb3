"""Recipe: fitted spectral steps, a value that is saved as plain JSON and arrays, and applied pixel by pixel."""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final
from zipfile import BadZipFile

import numpy as np

from tilespec.cluster.connect import connect
from tilespec.core.cpu import one_blas_thread
from tilespec.core.errors import UserError
from tilespec.core.memory import Peak
from tilespec.core.progress import Progress
from tilespec.core.types import Roi, Spectra, SpectralAxis
from tilespec.spectra.bands import same_bands
from tilespec.spectra.fit_pass import Pass, Stored, chosen_steps, counts_weights, from_arrays, renewed, to_arrays
from tilespec.spectra.operators import OPERATORS, Bands, Operator, arrays
from tilespec.spectra.passes import sample
from tilespec.spectra.pieces import Transformed
from tilespec.spectra.pieces import transform as run
from tilespec.spectra.scale_check import brightness, glance, same_scale
from tilespec.spectra.steps import Fitting, Step, from_user_steps, parse, passes, plan
from tilespec.spectra.transform import transformed, write_scene
from tilespec.storage.backends.paths import local
from tilespec.storage.blocks import blocks
from tilespec.storage.files import write_atomic
from tilespec.storage.lock import locked
from tilespec.storage.scene import Scene
from tilespec.storage.selection import ALL, Choice

FORMAT = 1


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Recipe:
    """Fitted spectral steps. Pixelwise: a tile's result is the scene's, bit for bit."""

    text: str
    """The steps as they were asked for: ``vsn,pca=4``."""
    steps: tuple[Operator, ...]
    """What they do."""
    facts: tuple[dict[str, Any], ...]
    """What fitting each step found out."""
    bands_in: int
    """Bands of the scenes it takes."""
    axis_in: SpectralAxis | None
    """Their spectral axis."""
    kept: Stored = field(default_factory=dict)
    """Moments that steps were fitted on, so that another scene can be added; they change nothing that it does."""
    level: float | None = None
    """Brightness of what it was fitted on; None where nothing was looked at."""

    @classmethod
    def empty(cls, bands: int, axis: SpectralAxis | None) -> "Recipe":
        """Return the recipe that does nothing."""
        return cls(text="", steps=(), facts=(), bands_in=bands, axis_in=axis)

    @property
    def _out(self) -> Bands:
        bands = Bands(count=self.bands_in, axis=self.axis_in)
        for step in self.steps:
            bands = step.out(bands)
        return bands

    @property
    def bands_out(self) -> int:
        """Bands, or components, that come out."""
        return self._out.count

    @property
    def axis_out(self) -> SpectralAxis | None:
        """Spectral axis of what comes out."""
        return self._out.axis

    @property
    def digest(self) -> str:
        """Hash of everything that decides the result: bands, axis and every array."""
        state = hashlib.blake2b(digest_size=16)
        axis = None if self.axis_in is None else [self.axis_in.name, self.axis_in.unit, self.axis_in.values]
        state.update(json.dumps([FORMAT, self.bands_in, axis]).encode())
        for step in self.steps:
            state.update(step.name.encode())
            for name, values in sorted(arrays(step).items()):
                state.update(f"{name} {values.dtype.str} {values.shape}".encode())
                state.update(np.ascontiguousarray(values).tobytes())
        return state.hexdigest()

    def apply(self, x: Spectra, *, own: bool = False) -> Transformed:
        """Return the transformed spectra; a pixel with NaN or infinity in a band that is used is NaN throughout.

        With ``own`` it may overwrite ``x``, which saves a copy. Bits do not depend on how pixels are split into calls.
        Safe to call from many threads.
        """
        assert x.shape[1] == self.bands_in, f"{x.shape[1]} bands, the recipe takes {self.bands_in}"
        with one_blas_thread():
            return run(self.steps, x, self.bands_out, own=own)

    def check(self, bands: int, axis: SpectralAxis | None, where: str) -> None:
        """Refuse a scene with other bands or wavelengths than the recipe was fitted on.

        Raises:
            UserError: another number of bands, or a band that is not where it was.
        """
        before = Bands(count=self.bands_in, axis=self.axis_in)
        same_bands(before, Bands(count=bands, axis=axis), where)

    def save(self, folder: str) -> None:
        """Write ``recipe.json`` and ``arrays.npz``; the card last, so that a folder with a card is whole."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        stored = {f"{i}.{k}": v for i, step in enumerate(self.steps) for k, v in arrays(step).items()}
        np.savez(path / "arrays.npz", **stored, **to_arrays(self.kept))  # type: ignore[arg-type]
        card = {
            "format": FORMAT,
            "steps": self.text,
            "operators": [step.name for step in self.steps],
            "facts": list(self.facts),
            "bands": self.bands_in,
            "spectral": None if self.axis_in is None else self.axis_in.to_json(),
            "level": self.level,
            "digest": self.digest,
        }
        write_atomic(path / "recipe.json", json.dumps(card, indent=1) + "\n")

    @classmethod
    def load(cls, folder: str) -> "Recipe":
        """Read a recipe folder; nothing in it is executed.

        Raises:
            UserError: no recipe there, one of another format, or one whose arrays do not fit its digest.
        """
        path = Path(folder) / "recipe.json"
        if not path.exists():
            raise _broken(folder, "no recipe.json")
        try:
            card = json.loads(path.read_text())
            recipe = cls(**_read(Path(folder), card))
        except (KeyError, TypeError, ValueError, OSError, EOFError, BadZipFile) as error:
            raise _broken(folder, f"{type(error).__name__} {error}") from error
        if recipe.digest != card.get("digest"):
            raise _broken(folder, f"arrays of digest {recipe.digest}, where the card says {card.get('digest')}")
        return recipe


def fit_steps(  # noqa: PLR0913 - keywords of a pass
    steps: str,
    where: Sequence[tuple[Scene, Roi]],
    *,
    seed: int = 0,
    client: Any = None,
    progress: Progress | None = None,
    choice: Choice = ALL,
    update: Recipe | None = None,
) -> Recipe:
    """Return the recipe of ``steps`` fitted on regions of scenes of the same bands, as one set of pixels.

    Each folded step reads the regions once; the sample comes on top of that. Nothing of a cube's size is kept.

    Args:
        steps: As in ``--steps``.
        where: Scenes and regions.
        seed: Of the sample and of VSN's draws.
        client: A ``distributed.Client``; None stays in this process. The bits are the same.
        progress: Told about every pass.
        choice: Which pixels are seen, and how much each counts in a PCA.
        update: A recipe of the same steps; its PCA (or MNF) is fitted on the pixels of these scenes and of those that
            it was fitted on, the steps before that stay as they are.
    """
    asked = parse(steps)
    bands = Bands(count=where[0][0].shape[2], axis=where[0][0].spectral)
    recipe = replace(Recipe.empty(bands.count, bands.axis), text=steps)
    for scene, _ in where:
        (update or recipe).check(scene.shape[2], scene.spectral, scene.url)
        choice.check(scene)
    plan(asked, bands)
    first = 0 if update is None else renewed(asked, update.kept, update.text)
    if update is not None:
        recipe = replace(update, steps=update.steps[:first], facts=update.facts[:first], kept={})
    parts = [block for scene, roi in where for block in blocks(scene, roi, choice)]
    looks = any(step.kind != "plain" for step in asked)
    opened = {scene.url: scene for scene, _ in where}
    pixels = sample(parts, seed=seed, opened=opened) if looks else glance(*where[0])
    recipe = replace(recipe, level=recipe.level if update else brightness(pixels))
    for number, step in enumerate(asked[first:], start=first):
        old = None if update is None else update.kept.get(number)
        recipe = _fitted(recipe, step, pixels, Pass(parts, recipe.steps, old, client, progress, opened), seed)
    return recipe


def _fitted(recipe: Recipe, step: Step, pixels: Spectra, over: Pass, seed: int) -> Recipe:
    """Return a recipe with one more step, fitted on sampled pixels and a pass."""
    through = recipe.apply(pixels)
    on = Fitting(
        bands=Bands(count=recipe.bands_out, axis=recipe.axis_out),
        sample=through[np.isfinite(through[:, 0])],
        fold=over,
        before=recipe.steps,
        seed=seed,
    )
    if step.kind != "plain" and not len(on.sample):
        raise _all_invalid(over.where[0].url, recipe.steps)
    with one_blas_thread():  # bits must not depend on the machine's number of cores
        fitted = step.fit(on)
    kept = {**recipe.kept, len(recipe.steps): over.moments} if over.moments else recipe.kept
    notes = [*fitted.facts.get("notes", ()), *over.facts.get("notes", ())]
    facts = fitted.facts | over.facts | ({"notes": notes} if notes else {})
    return replace(recipe, steps=(*recipe.steps, fitted.operator), facts=(*recipe.facts, facts), kept=kept)


def fit(  # noqa: PLR0913 - the options of a verb
    scene: str | Sequence[str],
    out: str,
    *,
    steps: str | None = None,
    rows: str | None = None,
    cols: str | None = None,
    mask: str | None = None,
    weights: str | None = None,
    update: str | None = None,
    workers: int = 0,
    cluster: str | None = None,
    seed: int = 0,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Fit a recipe on a scene, or on several as one set of pixels, and save it in the folder ``out``.

    Args:
        scene: URL of a scene, or a list of them.
        out: Folder for the recipe.
        steps: Steps separated by commas, their parameters by colons (`tilespec.spectra.steps`); default
            ``vsn,pca=4``, or those of the recipe to update.
        rows: Fit on these rows only, "A:B".
        cols: Fit on these columns only, "A:B".
        mask: A ``y, x`` layer: fit only on pixels where it has a value and is not 0 (``plant``, ``labels``, ...).
        weights: A ``y, x`` layer: how much each pixel counts in ``pca``; those without weight are left out of all.
        update: Folder of a recipe with a PCA or an MNF: add this scene's pixels to those that it was fitted on, without
            reading them again. The steps before stay as they were fitted.
        workers: Processes of a local cluster; 0 stays in this process. The bits are the same.
        cluster: Where workers run, as for `predict`.
        seed: Of the sample and of VSN's draws.
        dry_run: Return the plan: steps, bands after each, passes, bytes to read.
        progress: Told about every pass.

    Returns:
        ``pixels``, ``invalid_pixels``, ``explained_variance_ratio``, ``self_check`` (the relative error of sampled
        moments against float64), ``seconds``, ``peak_memory`` and facts of steps.
    """
    urls = [scene] if isinstance(scene, str) else list(scene)
    where = [(found, Roi.of(found.shape, rows, cols)) for found in (Scene.open(url).raw() for url in urls)]
    _free(out)
    from_user_steps(steps or "")
    before = None if update is None else Recipe.load(update)
    text, choice = chosen_steps(steps, None if before is None else before.text), Choice(mask=mask, weights=weights)
    counts_weights(parse(text), weights)
    if before is not None:
        renewed(parse(text), before.kept, before.text)
    for opened, _ in where:
        choice.check(opened)
    options = {"mask": mask, "weights": weights, "update": update}
    planned = _plan(text, where) | {key: value for key, value in options.items() if value is not None}
    if dry_run:
        return planned | {"out": out, "dry_run": True}
    began = time.monotonic()
    with connect(workers, cluster) as client, Peak() as peak:
        startup = time.monotonic() - began
        told = {"client": client, "progress": progress}
        recipe = fit_steps(text, where, seed=seed, choice=choice, update=before, **told)
    _free(out, recipe)
    recipe.save(out)
    return (
        planned
        | _found(recipe)
        | {
            "out": out,
            "seconds": peak.seconds,
            "startup_seconds": startup,
            "peak_memory": peak.bytes,
        }
    )


def _free(out: str, recipe: Recipe | None = None) -> None:
    """Refuse to write over anything but the same recipe."""
    kept = local(out, "a recipe")
    ours = (kept / "recipe.json").exists()
    if (kept.exists() and not ours) or (ours and recipe is not None and Recipe.load(out).digest != recipe.digest):
        raise UserError(
            out,
            found="another recipe" if ours else "something that is no recipe",
            expected="a free place, or the same recipe",
            do="Give another OUT, or remove it first: models and products may have been made with it.",
        )


def transform(  # noqa: PLR0913 - the options of a verb
    recipe: str,
    scene: str,
    out: str,
    *,
    workers: int = 0,
    cluster: str | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write the scene that the recipe in the folder ``recipe`` makes of ``scene``; resume what was interrupted.

    Georeference and every ``y, x`` layer (labels, plants, ...) come along. Pixels without data, and pixels that the
    recipe cannot map, are NaN and counted. `predict` recognises the product and skips its model's equal recipe.
    """
    fitted, source = Recipe.load(recipe), Scene.open(scene).raw()
    fitted.check(source.shape[2], source.spectral, scene)
    same_scale(fitted.level, source, source.roi)
    planned = {
        "out": out,
        "shape": [*source.shape[:2], fitted.bands_out],
        "bytes_to_read": int(np.prod(source.shape)) * source.dtype.itemsize,
        "bytes_to_write": int(np.prod(source.shape[:2])) * fitted.bands_out * 4,
        "recipe_digest": fitted.digest,
    }
    if dry_run:
        return planned | {"dry_run": True}
    began = time.monotonic()
    with locked(out), connect(workers, cluster) as client, Peak() as peak:
        startup = time.monotonic() - began
        bands = Bands(count=fitted.bands_out, axis=fitted.axis_out)
        product = transformed(source, bands, out, fitted.digest)
        options = {"recipe": recipe, "scene": scene, "out": out, "workers": workers, "cluster": cluster}
        product.ledger.command("transform", **options)
        counts = write_scene(source, fitted.steps, product, client=client, progress=progress)
    spent = {"seconds": peak.seconds, "startup_seconds": startup, "peak_memory": peak.bytes}
    return planned | counts | spent


def _plan(steps: str, where: Sequence[tuple[Scene, Roi]]) -> dict[str, Any]:
    """Return what a fit would do: steps, passes, pixels, bands in and out, bytes to read."""
    asked, first = parse(steps), where[0][0]
    after = plan(asked, Bands(count=first.shape[2], axis=first.spectral))
    pixels = sum(roi.shape[0] * roi.shape[1] for _, roi in where)
    return {
        "steps": steps,
        "passes": passes(asked),
        "region": [{"scene": scene.url, "rows": [roi.y0, roi.y1], "cols": [roi.x0, roi.x1]} for scene, roi in where],
        "pixels": pixels,
        "bands_in": first.shape[2],
        "bands_out": after.count,
        "bytes_to_read": passes(asked) * pixels * first.shape[2] * first.dtype.itemsize,
    }


def _found(recipe: Recipe) -> dict[str, Any]:
    """Return what fitting found out, the later step's word for the earlier's."""
    facts: dict[str, Any] = {"digest": recipe.digest}
    notes: list[str] = []
    for found in recipe.facts:
        facts |= {key: value for key, value in found.items() if key != "notes"}
        notes += found.get("notes", [])
    return facts | {"notes": notes}


def _all_invalid(url: str, before: tuple[Operator, ...]) -> UserError:
    """Return the error for a region where no pixel gets through the steps before."""
    return UserError(
        url,
        found=f"no valid pixel after {', '.join(step.name for step in before) or 'reading'}",
        expected="pixels that are finite in every band that is used, and not constant",
        do="Drop bands that are NaN throughout (drop=FROM:TO), or choose another region.",
    )


def _broken(folder: str, found: str) -> UserError:
    return UserError(
        folder,
        found=found,
        expected="a recipe folder that `tilespec fit` wrote: recipe.json and arrays.npz",
        do="Check the path, or fit the recipe again.",
    )


def _read(folder: Path, card: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the recipe that a card and the arrays beside it describe."""
    if card["format"] != FORMAT:
        raise ValueError(f"format {card['format']}, this version reads {FORMAT}")
    with np.load(folder / "arrays.npz", allow_pickle=False) as stored:
        by_name = dict(stored)
    steps = []
    for i, name in enumerate(card["operators"]):
        own = {key.partition(".")[2]: values for key, values in by_name.items() if key.startswith(f"{i}.")}
        steps.append(OPERATORS[name](**own))
    return {
        "text": card["steps"],
        "steps": tuple(steps),
        "facts": tuple(card["facts"]),
        "bands_in": card["bands"],
        "axis_in": None if card["spectral"] is None else SpectralAxis.from_json(card["spectral"]),
        "kept": from_arrays(by_name),
        "level": None if card.get("level") is None else float(card["level"]),
    }
