"""Dependency net: a net reduced to its dependencies, so that even a large one is probed in seconds."""

from collections.abc import Callable, Mapping
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

NORMS: tuple[Any, ...] = (
    functional.batch_norm,
    functional.instance_norm,
    functional.group_norm,
    functional.layer_norm,
)


LARGEST = 1 << 29
"""The largest result in bytes; the memory of all-pairs comparisons of pixels grows with the square of their number."""


@final
class OversizedError(RuntimeError):
    """A result of a net is too large for probing."""


@final
class Structure(TorchFunctionMode):
    """A mode in which convolutions average all channels to one with the absolute weights; norms may be left out.

    Dependencies do not change, positive values remain positive, and the cost of a net of any width is close to that of
    its activations; attention needs memory in proportion to its tokens instead of their square.
    """

    def __init__(self, *, norms: bool) -> None:
        """Use norms unchanged (``norms``), or replace them by the identity."""
        super().__init__()
        self._norms = norms

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call ``func``, or its replacement."""
        del types
        if not self._norms and func in NORMS:
            return args[0]
        if _writes(func, args, kwargs or {}):
            args = (args[0].clone(), *args[1:])  # channels that share memory cannot be written one by one
        result = STANDS_FOR.get(func, func)(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.untyped_storage().nbytes() > LARGEST:
            raise OversizedError(f"{result.untyped_storage().nbytes()} bytes")
        return result


def _writes(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Return whether a function may write into its first argument, whose channels share memory."""
    if not args or not isinstance(args[0], Tensor) or 0 not in args[0].stride():
        return False
    name = getattr(func, "__name__", "")
    in_place = name.startswith("__i") or (name.endswith("_") and not name.endswith("__"))
    return in_place or bool(kwargs.get("inplace")) or any(value is True for value in args)


def _convolved(  # noqa: PLR0913, PLR0917 - torch's signature
    x: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor:
    """Return a convolution of the mean of all channels, the same for each channel of the output."""
    del bias, groups
    y = torch.conv2d(x.mean(dim=-3, keepdim=True), _kernel(weight), None, stride, padding, dilation)
    return _wide(y, weight.shape[0])


def _transposed(  # noqa: PLR0913, PLR0917 - torch's signature
    x: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """Return a transposed convolution of the mean of all channels, the same for each channel of the output."""
    del bias
    mean = x.mean(dim=-3, keepdim=True)
    y = torch.conv_transpose2d(mean, _kernel(weight), None, stride, padding, output_padding, 1, dilation)
    return _wide(y, weight.shape[1] * groups)


def _kernel(weight: Tensor) -> Tensor:
    """Return one kernel for all channels, positive, of sum 1."""
    kernel = weight.detach().abs().mean(dim=(0, 1), keepdim=True)
    return kernel / kernel.sum().clamp_min(1e-12)


def _wide(y: Tensor, channels: int) -> Tensor:
    """Return one channel as several, without a copy."""
    return y.expand(*y.shape[:-3], channels, -1, -1)


def _attended(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Return the mean of all values for each query; masked attention is not replaced."""
    if args or any(kwargs.get(name) for name in ("attn_mask", "is_causal") if name in kwargs):
        return functional.scaled_dot_product_attention(query, key, value, *args, **kwargs)
    return value.mean(dim=-2, keepdim=True) + query.mean(dim=-1, keepdim=True)


def _attended_by_heads(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, None]:
    """Return the mean of all values for each query, and no weights."""
    del key, args, kwargs
    return value.mean(dim=(0, -1), keepdim=True) + query, None


STANDS_FOR: dict[Any, Callable[..., Any]] = {
    torch.conv2d: _convolved,
    torch.conv_transpose2d: _transposed,
    functional.scaled_dot_product_attention: _attended,
    functional.multi_head_attention_forward: _attended_by_heads,
}
