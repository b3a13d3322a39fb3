"""Tensors: contents of safetensors files, which are checked against the expected ones; nothing is unpickled."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tilespec.core.errors import UserError


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors in the form that safetensors needs: on the CPU, contiguous, each with memory of its own."""
    return {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file.

    Raises:
        UserError: the file is not safetensors, for example a pickle, which is not opened.
    """
    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise UserError(
            path, found=f"no safetensors ({error})", expected="tensors that tilespec wrote", do="Train it again."
        ) from error


def fit(where: object, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Refuse tensors with other names, shapes or types.

    Raises:
        UserError: the first tensor that differs, by name.
    """
    for name in sorted({*tensors, *expected}):
        one, other = _shape_and_type(tensors.get(name)), _shape_and_type(expected.get(name))
        if one != other:
            raise UserError(
                f"{where}: {name}",
                found=one,
                expected=f"{other}, as the configuration makes it",
                do="This file is of another net, or damaged: remove it, or train again.",
            )


def _shape_and_type(tensor: Tensor | None) -> str:
    """Return the type and the shape of a tensor as text."""
    if tensor is None:
        return "no tensor"
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
