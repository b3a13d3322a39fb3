"""Adopted: a fitted estimator of scikit-learn as a pixelwise net; its tensor holds a file of `skops`, not a pickle."""

from collections.abc import Callable, Sequence
from typing import Any, Final, final

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor, nn

from tilespec.core.errors import UserError
from tilespec.core.registry import PLUGINS, named_modules
from tilespec.core.types import TileClass
from tilespec.models.nets.pixelwise import Answer, Image, each_pixel

Values = Float64[np.ndarray, "pixel channel"]


def _values(estimator: Any, spectra: np.ndarray) -> Values:
    """Return what a regressor predicts, one column for each target."""
    return np.asarray(estimator.predict(spectra), np.float64).reshape(len(spectra), -1)


def _margins(estimator: Any, spectra: np.ndarray) -> Values:
    """Return the distances from the border of each class; of two classes there is one, of either sign."""
    found = np.asarray(estimator.decision_function(spectra), np.float64)
    return np.stack([-found, found], axis=1) if found.ndim == 1 else found


def _votes(estimator: Any, spectra: np.ndarray) -> Values:
    """Return 1 for the predicted class and 0 for the others."""
    return (np.asarray(estimator.predict(spectra))[:, None] == estimator.classes_).astype(np.float64)


def _probabilities(estimator: Any, spectra: np.ndarray) -> Values:
    """Return the probability of each class."""
    return np.asarray(estimator.predict_proba(spectra), np.float64)


ANSWERS: Final[dict[str, Callable[[Any, np.ndarray], Values]]] = {
    "predict_proba": _probabilities,
    "decision_function": _margins,
    "votes": _votes,
    "predict": _values,
}
"""The channels of an estimator's answer: the first that a classifier has, or ``predict`` of a regressor."""


@final
class Adopted(nn.Module):
    """A fitted estimator that answers for each spectrum alone, in pieces of one fixed number of pixels."""

    tile_class = TileClass(kind="pixelwise")
    estimator: Tensor

    def __init__(
        self, channels_in: int, channels_out: int, *, size: int, answer: str, columns: Sequence[int] | None = None
    ) -> None:
        """Make room for a file of ``size`` bytes.

        Args:
            channels_in: The number of bands of a spectrum.
            channels_out: The number of classes, or of values.
            size: The length of the file.
            answer: The name of the answer in `ANSWERS`.
            columns: The channel of each column of the answer; None: they are the channels. Others are 0, or less than
                any column.
        """
        super().__init__()
        self.register_buffer("estimator", torch.zeros(size, dtype=torch.uint8))
        self._answer, self._columns, self._shape = ANSWERS[answer], columns, (channels_in, channels_out)
        self._loaded: Any = None

    def forward(self, x: Image) -> Answer:
        """Return the answer for each pixel, ``batch, channel, y, x``."""
        if self._loaded is None:
            self._loaded = load_estimator(self.estimator.cpu().numpy().tobytes(), "model.safetensors: estimator")
        return each_pixel(self._answered, x.float())

    def _answered(self, pieces: Tensor) -> Tensor:
        """Return the answer for pieces of spectra."""
        spectra = pieces.reshape(-1, self._shape[0]).cpu().numpy()
        found = self._answer(self._loaded, spectra)
        if self._columns is not None:
            placed = np.full((len(found), self._shape[1]), min(0.0, found.min() - 1))
            placed[:, list(self._columns)] = found
            found = placed
        return torch.from_numpy(found.astype(np.float32)).to(pieces.device).reshape(*pieces.shape[:-1], -1)


def load_estimator(data: bytes, where: str) -> Any:
    """Return the estimator in a file of skops.

    Raises:
        UserError: skops is not installed, the file is not one of its files, or an object in it has a type that is
            neither one of scikit-learn, NumPy and SciPy nor of a module that the user named.
    """
    try:
        from skops.io import get_untrusted_types, loads
    except ImportError as error:
        raise UserError(
            where, found="no skops", expected="skops, which reads it", do="pip install 'tilespec[adopt]'"
        ) from error
    try:
        unknown = get_untrusted_types(data=data)
        foreign = [name for name in unknown if not _trusted(name)]
        if not foreign:
            return loads(data, trusted=unknown)
    except Exception as error:  # a damaged file fails in many ways, in zipfile, json and numpy
        raise UserError(
            where,
            found=f"no estimator ({str(error).splitlines()[0] if str(error) else type(error).__name__})",
            expected="a file that skops.io.dump(estimator, file) wrote",
            do="Write it so; a pickle is never opened.",
        ) from error
    module = foreign[0].rpartition(".")[0]
    raise UserError(
        where,
        found=f"objects of types that are not trusted: {', '.join(foreign[:3])}",
        expected="types of scikit-learn, NumPy and SciPy",
        do=f"If you know this code and trust it, set the environment variable {PLUGINS}={module} for this command.",
    )


def _trusted(name: str) -> bool:
    """Return whether the user named the module of a type."""
    return any(name.startswith(f"{module}.") for module in named_modules())
