"""Transfer: a training begins with the weights of another model, wherever names and shapes of tensors agree.

So a net keeps its body for other classes, for which its last layer has another shape; and for other bands, if its first
layer has a weight for each. Nets of 1 or 3 dimensions move along the bands, and keep their first layer too.
"""

from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor, nn

from tilespec.core.errors import UserError
from tilespec.models.model import Model

NAMED: Final = 4
"""The largest number of tensors that a note names."""


def agreeing(model: Model, net: Mapping[str, Any], state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return the names of the tensors of a net's ``state`` that a model has too, in the same shape and type.

    Raises:
        UserError: the model has another net, or no matrix of weights agrees.
    """
    names = tuple(
        name
        for name, tensor in state.items()
        if name in model.weights
        and (model.weights[name].shape, model.weights[name].dtype) == (tensor.shape, tensor.dtype)
    )
    if model.net["name"] != net["name"] or all(state[name].ndim < 2 for name in names):
        raise UserError(
            "train.start",
            found=f"a model of the net {model.net}",
            expected=f"one of {net['name']} whose layers have the same widths",
            do="Set [net] as in that model's model.json, or name another model.",
        )
    return names


def begin(generator: nn.Module, net: Mapping[str, Any], folder: str) -> None:
    """Give a generator the weights of the model in ``folder`` that agree with its own; the others stay random."""
    model, state = Model.load(folder), generator.state_dict()
    names = agreeing(model, net, state)
    generator.load_state_dict(state | {name: model.weights[name] for name in names})


def transfer_note(folder: str, net: Mapping[str, Any], state: Mapping[str, Tensor]) -> str:
    """Return a note on what a net takes from the model in ``folder``."""
    names = set(agreeing(Model.load(folder), net, state))
    left = [name for name in state if name not in names]
    begun = f"begins with {len(names)} of {len(state)} tensors of {folder}"
    more = f" and {len(left) - NAMED} more" if len(left) > NAMED else ""
    return f"{begun}; of other shapes, and random: {', '.join(left[:NAMED])}{more}" if left else begun
