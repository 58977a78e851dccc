"""Makes the callbacks that a configuration names from their import paths."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import pytorch_lightning as pl

from src.cli.errors import UserError
from src.training.throughput import LOGGED
from src.training.validation_metrics import NAMES

MONITORED = (*(f"val/{name}" for name in NAMES), "val/loss", *LOGGED)
"""What a callback may monitor."""


def load_callbacks(configured: Sequence[Mapping[str, Any]]) -> list[pl.Callback]:
    """The callbacks of `callbacks=`, in its order; each names its `class`, and what else it has are arguments.

    Raises:
        UserError: one cannot be imported, is no callback, gets wrong arguments or monitors what is not logged.
    """
    callbacks: list[pl.Callback] = []
    for entry in configured:
        callback = _made(str(entry["class"]), {key: value for key, value in entry.items() if key != "class"})
        if any(callback.state_key == earlier.state_key for earlier in callbacks):
            raise UserError(f"callbacks: {entry['class']} is there twice, and their states would be one; leave one out")
        callbacks.append(callback)
    return callbacks


def _made(path: str, arguments: Mapping[str, Any]) -> pl.Callback:
    module, _, name = path.rpartition(".")
    try:
        kind = getattr(import_module(module), name)
    except Exception as error:  # a file of the user's may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise UserError(
            f"callbacks: class={path}: cannot be imported ({reason}); write MODULE.CLASS, as "
            "pytorch_lightning.callbacks.EarlyStopping"
        ) from None
    if not (isinstance(kind, type) and issubclass(kind, pl.Callback)):
        raise UserError(f"callbacks: class={path}: is no pytorch_lightning.Callback")
    if issubclass(kind, pl.callbacks.Checkpoint):
        raise UserError(f"callbacks: class={path}: a run writes its own checkpoints; leave it out")
    try:
        callback = kind(**arguments)
    except Exception as error:
        raise UserError(f"callbacks: class={path}: {error}") from None
    monitor = getattr(callback, "monitor", None)
    if isinstance(callback, pl.callbacks.EarlyStopping) and monitor not in MONITORED:
        raise UserError(f"callbacks: class={path}: monitor={monitor}: must be one of {', '.join(MONITORED)}")
    return callback
