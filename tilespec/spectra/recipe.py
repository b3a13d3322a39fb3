"""Recipe: fitted spectral steps, saved as JSON and arrays, and applied pixel by pixel."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any, final
from zipfile import BadZipFile

import numpy as np

from tilespec.core.cpu import one_blas_thread
from tilespec.core.errors import UserError
from tilespec.core.registry import load
from tilespec.core.shown import Shown
from tilespec.core.types import Spectra, SpectralAxis
from tilespec.spectra.bands import Bands, same_bands
from tilespec.spectra.operators import OPERATORS, Light, Operator, arrays
from tilespec.spectra.pieces import Transformed
from tilespec.spectra.pieces import transform as run
from tilespec.spectra.statistics import Moments
from tilespec.storage.backends.base import StorePath
from tilespec.storage.backends.paths import store_path
from tilespec.storage.files import write_atomic
from tilespec.storage.scene import Scene

FORMAT = 1

Stored = Mapping[int, Mapping[str, Moments]]
"""The moments by the index of the step that was fitted on them, and by name."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Recipe(Shown):
    """Fitted spectral steps that act on one pixel at a time, so a tile's result equals the scene's, bit for bit."""

    text: str
    """The steps as the user wrote them: ``vsn,pca=4``."""
    steps: tuple[Operator, ...]
    """The operators of the fitted steps."""
    facts: tuple[dict[str, Any], ...]
    """The facts from the fit of each step."""
    bands_in: int
    """The number of bands of the scenes that it takes."""
    axis_in: SpectralAxis | None
    """The spectral axis of the scenes that it takes."""
    moments: Stored = field(default_factory=dict)
    """The moments that steps were fitted on, so that another scene can be added; they do not change the result."""
    level: float | None = None
    """The brightness of the fitted pixels; None when no pixels were used."""

    @classmethod
    def empty(cls, bands: int, axis: SpectralAxis | None) -> "Recipe":
        """Return the recipe without any step."""
        return cls(text="", steps=(), facts=(), bands_in=bands, axis_in=axis)

    @property
    def _out(self) -> Bands:
        bands = Bands(count=self.bands_in, axis=self.axis_in)
        for step in self.steps:
            bands = step.out(bands)
        return bands

    @property
    def bands_out(self) -> int:
        """The number of bands, or components, of the result."""
        return self._out.count

    @property
    def axis_out(self) -> SpectralAxis | None:
        """The spectral axis of the result."""
        return self._out.axis

    @property
    def digest(self) -> str:
        """The hash of everything that decides the result: bands, axis and every array."""
        state = hashlib.blake2b(digest_size=16)
        axis = None if self.axis_in is None else [self.axis_in.name, self.axis_in.unit, self.axis_in.values]
        state.update(json.dumps([FORMAT, self.bands_in, axis]).encode())
        for step in self.steps:
            state.update(step.name.encode())
            for name, values in sorted(arrays(step).items()):
                state.update(f"{name} {values.dtype.str} {values.shape}".encode())
                state.update(np.ascontiguousarray(values).tobytes())
        return state.hexdigest()

    @property
    def decodes(self) -> bool:
        """Whether a step takes the values for sRGB."""
        return any(isinstance(step, Light) for step in self.steps)

    def apply(self, x: Spectra, *, own: bool = False) -> Transformed:
        """Return transformed spectra; a pixel with NaN or infinity in a used band is NaN in all bands.

        With ``own`` it may overwrite ``x``, which saves a copy. The bits do not depend on how pixels are divided into
        calls. Many threads may call this at the same time.
        """
        assert x.shape[1] == self.bands_in, f"{x.shape[1]} bands, the recipe takes {self.bands_in}"
        with one_blas_thread():
            return run(self.steps, x, self.bands_out, own=own)

    def check(self, bands: int, axis: SpectralAxis | None, where: str) -> None:
        """Refuse a scene with other bands or wavelengths than the recipe was fitted on.

        Raises:
            UserError: the number of bands differs, or the centre of a band does.
        """
        before = Bands(count=self.bands_in, axis=self.axis_in)
        same_bands(before, Bands(count=bands, axis=axis), where)

    def applied_to(self, scene: Scene) -> bool:
        """Return whether the values of a scene are what this recipe returns; False: they are what it takes.

        Raises:
            UserError: neither; the scene has other bands or wavelengths, or another recipe was applied to it.
        """
        digest = scene.attrs.get("recipe_digest")
        if digest is None:
            self.check(scene.shape[2], scene.spectral, scene.url)
        elif digest != self.digest:
            raise UserError(
                scene.url,
                found=f"a scene transformed by recipe {digest}",
                expected=f"a raw scene, or one transformed by the model's own recipe {self.digest}",
                do="Give the raw scene: the recipe is applied to it when it is read.",
            )
        return digest is not None

    def save(self, folder: str) -> None:
        """Write ``recipe.json`` and ``arrays.npz``; the JSON file comes last, so a folder that has it is complete."""
        path, packed = store_path(folder), BytesIO()
        path.mkdir(parents=True, exist_ok=True)
        stored = {f"{i}.{k}": v for i, step in enumerate(self.steps) for k, v in arrays(step).items()}
        np.savez(packed, **stored, **to_arrays(self.moments))  # type: ignore[arg-type]
        (path / "arrays.npz").write_bytes(packed.getvalue())
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
            UserError: the folder holds no recipe, one of another format, or one whose arrays do not match its digest.
        """
        path = store_path(folder) / "recipe.json"
        if not path.exists():
            raise _broken(folder, "no recipe.json")
        try:
            card = json.loads(path.read_text())
            recipe = cls(**_read(path.parent, card))
        except (KeyError, TypeError, ValueError, OSError, EOFError, BadZipFile) as error:
            raise _broken(folder, f"{type(error).__name__} {error}") from error
        if recipe.digest != card.get("digest"):
            raise _broken(folder, f"arrays of digest {recipe.digest}, where the card says {card.get('digest')}")
        return recipe


def _broken(folder: str, found: str) -> UserError:
    return UserError(
        folder,
        found=found,
        expected="a recipe folder that `tilespec fit` wrote: recipe.json and arrays.npz",
        do="Check the path, or fit the recipe again.",
    )


def _read(folder: StorePath, card: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the recipe from its JSON file and its arrays."""
    if card["format"] != FORMAT:
        raise ValueError(f"format {card['format']}, this version reads {FORMAT}")
    with np.load(BytesIO((folder / "arrays.npz").read_bytes()), allow_pickle=False) as stored:
        by_name = dict(stored)
    steps = []
    for i, name in enumerate(card["operators"]):
        own = {key.partition(".")[2]: values for key, values in by_name.items() if key.startswith(f"{i}.")}
        steps.append((OPERATORS.get(name) or load({}, name, "operator"))(**own))
    return {
        "text": card["steps"],
        "steps": tuple(steps),
        "facts": tuple(card["facts"]),
        "bands_in": card["bands"],
        "axis_in": None if card["spectral"] is None else SpectralAxis.from_json(card["spectral"]),
        "moments": from_arrays(by_name),
        "level": None if card.get("level") is None else float(card["level"]),
    }


def to_arrays(stored: Stored) -> dict[str, np.ndarray]:
    """Return stored moments as arrays for a recipe's folder."""
    return {
        f"kept.{step}.{name}.{key}": np.asarray(value)
        for step, by_name in stored.items()
        for name, moments in by_name.items()
        for key, value in vars(moments).items()
    }


def from_arrays(stored: Mapping[str, np.ndarray]) -> dict[int, dict[str, Moments]]:
    """Return the moments from the arrays of `to_arrays`; other arrays are ignored."""
    fields: dict[int, dict[str, dict[str, Any]]] = {}
    for key, value in stored.items():
        if key.startswith("kept."):
            _, step, name, attribute = key.split(".")
            field = value.item() if value.ndim == 0 else value
            fields.setdefault(int(step), {}).setdefault(name, {})[attribute] = field
    return {step: {name: _moments(own) for name, own in by_name.items()} for step, by_name in fields.items()}


def _moments(fields: dict[str, Any]) -> Moments:
    """Return moments after checking their shapes; raise ValueError for wrong shapes."""
    p = len(fields["shift"])
    if fields["sums"].shape != (p,) or fields["products"].shape != (p, p):
        raise ValueError("stored moments of wrong shape")
    return replace(Moments.zero(fields["shift"]), **fields)
