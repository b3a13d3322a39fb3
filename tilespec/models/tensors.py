"""Tensors: contents of safetensors files, which are checked against the expected ones; nothing is unpickled."""

import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tilespec.core.errors import UserError
from tilespec.storage.backends.base import StorePath
from tilespec.storage.backends.paths import store_path

SYSTEM: Final = re.compile(r"os error (\d+)")
"""The number of an error of the operating system in a message of safetensors."""
TYPES: Final = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""The types of tensors in the words of safetensors."""


def channels_last(module: nn.Module) -> nn.Module:
    """Order the memory of weights with 4 axes by channels, in place, and return the module.

    `torch.nn.Module.to` refuses nets that also have weights of three-dimensional convolutions.
    """
    for weight in (*module.parameters(), *module.buffers()):
        if weight.ndim == 4:
            weight.data = weight.data.to(memory_format=torch.channels_last)
    return module


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors in the form that safetensors needs: on the CPU, contiguous, each with memory of its own."""
    return {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}


def read(path: Path | StorePath) -> dict[str, Tensor]:
    """Return the tensors of a file.

    Raises:
        UserError: the file is not safetensors, for example a pickle, which is not opened.
    """
    try:
        with store_path(path).local_copy() as file:
            return dict(load_file(file))
    except SafetensorError as error:
        raise UserError(
            path, found=f"no safetensors ({error})", expected="tensors that tilespec wrote", do="Train it again."
        ) from error


def outline(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file without their values (on torch's meta device): nothing of their size is allocated.

    Raises:
        SafetensorError: the file is not safetensors, or its header is damaged.
    """
    with safe_open(path, framework="pt") as file:
        parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        return {
            name: torch.empty(part.get_shape(), dtype=TYPES[part.get_dtype()], device="meta")
            for name, part in parts.items()
        }


def write(path: Path | StorePath, tensors: Mapping[str, Tensor]) -> None:
    """Replace a file, or an object, by one with these tensors, completely or not at all.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    try:
        with store_path(path).staged() as file:
            save_file(dict(tensors), file)
    except SafetensorError as error:
        number = SYSTEM.search(str(error))
        code = int(number.group(1)) if number else errno.EIO
        raise OSError(code, os.strerror(code), str(path)) from error


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
