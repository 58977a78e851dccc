"""The states of callbacks as a checkpoint keeps them: JSON and tensors, nothing pickled."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from src.cli.errors import UserError

if TYPE_CHECKING:
    from pytorch_lightning import Callback


def callback_states(callbacks: "Sequence[Callback]") -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The states of callbacks as JSON, by `state_key`, and the tensors in them by name.

    Raises:
        UserError: a state holds what neither JSON nor a tensor can.
    """
    tensors: dict[str, Tensor] = {}
    states = {callback.state_key: callback.state_dict() for callback in callbacks}
    return {key: _packed(state, f"callbacks/{key}", tensors) for key, state in states.items() if state}, tensors


def load_states(callbacks: "Sequence[Callback]", states: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Gives callbacks the states that a checkpoint kept."""
    for callback in callbacks:
        if callback.state_key in states:
            callback.load_state_dict(_unpacked(states[callback.state_key], tensors))


def _packed(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}  # JSON has none of these
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _packed(item, f"{name}/{key}", tensors) for key, item in value.items()}}
    if isinstance(value, list | tuple):
        return [_packed(item, f"{name}/{index}", tensors) for index, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UserError(
        f"{name}: a callback's state holds a {type(value).__name__}; a checkpoint keeps numbers, texts, tensors, and "
        "lists and dicts of them with texts as keys"
    )


def _unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpacked(item, tensors) for item in value]
    if not isinstance(value, Mapping):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    return float(content) if kind == "float" else {key: _unpacked(item, tensors) for key, item in content.items()}
