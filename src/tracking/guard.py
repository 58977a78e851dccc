"""The guard lets numbers under names of ours go to W&B, and short strings from known lists; nothing else."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from src.cli.compose import CONF
from src.config.choices import Head, Kind, Labels, Loss, Pooling, Prompt, Schedule
from src.config.prepare import NamedHorizon, Protocol
from src.config.train import is_wandb_name
from src.display.catalog import AXES, COORDINATES, COSTS, COUNTS, CURVES, HERE, MEASURED, NAMED, SECONDS, STEP

PIECES = (
    "llama", "alpaca", "vicuna", "mistral", "mixtral", "qwen", "smollm", "tiny", "open", "meta", "bio", "clinical",
    "med", "bert", "caml", "majority", "tfidf", "structured", "fusion", "codes", "upper", "bound", "nano", "pico",
    "femto", "local", "hf", "base", "chat", "instruct", "v", "b", "m", "k", "x", r"\d", "[-_.]",
)  # fmt: skip
"""What names of models are made of; a name that has anything else, and is none of conf/model, goes by its hash."""

LONGEST = 24
"""Letters of a model's name in a run's id."""

CONFIG_STRINGS = {
    "labels": "|".join(Labels),
    "prompt": "|".join(Prompt),
    "horizon": "|".join([*NamedHorizon, "[1-9][0-9]{0,2}h"]),
    "head": "|".join(Head),
    "pooling": "|".join(Pooling),
    "loss": "|".join(Loss),
    "schedule": "|".join(Schedule),
    "protocol": "|".join([*Protocol, "own"]),
    "cohort": "[0-9a-f]{8,64}",
    "code": "[0-9a-f]{12}",
    "commit": "[0-9a-f]{7,40}",
}
"""Keys of the configuration whose values are strings, and what those may be; `model` goes by `model_pattern`."""

CONFIG_NUMBERS = tuple(axis.key for axis in AXES if axis.number)

# It holds no anchors: it is only ever matched whole.
METRIC = "|".join(
    [
        rf"(?:val|test)/(?:{'|'.join(MEASURED)})(?:/(?:low|high))?",
        *(curve.key for curve in CURVES),
        f"counts/(?:{'|'.join(COUNTS)})",
        f"seconds/(?:{'|'.join(SECONDS)})",
        f"axes/(?:{'|'.join(axis.key for axis in COORDINATES)})",
        *COSTS,
        STEP,
    ]
)
"""Names of everything that is measured; every part of them is ours."""

TABLES = {"val": "METRICS", "test": "METRICS", "train": "CURVES", "counts": "COUNTS", "seconds": "SECONDS"}
TABLES |= {"axes": "AXES", "cost": "COSTS"}
"""The catalog's tables by the first part of the names that stand in them."""

OURS = re.compile(rf"(?:{'|'.join(TABLES)})/[a-z][a-z0-9_]{{0,40}}(?:/(?:low|high))?|[a-z][a-z0-9_]{{0,40}}")
"""The form of names that a program gives, which a refusal may repeat; whatever else is refused may be text."""

LABELS = {
    "job type": "train|baseline",
    "tag": "|".join([*Labels, *Kind, *Protocol, "own"]),
}
"""What a run is found by, and what that may be; beside them its name, and a project and a group that a person chose."""


class LeakError(RuntimeError):
    """Says that something the lists above do not allow was about to go to W&B, never what it was."""


def guarded(values: Mapping[str, Any]) -> dict[str, float]:
    """Lets metrics pass when each name is one of the catalog's and each value a number.

    Raises:
        LeakError: a name of another form than ours is not repeated, nor is any value, for either may be text.

    >>> guarded({"train/loss": 0.5})
    {'train/loss': 0.5}
    >>> guarded({"train/Smith": 0.5})
    Traceback (most recent call last):
    src.tracking.guard.LeakError: a metric of an unknown name may not be logged
    >>> guarded({"test/kappa": 0.5})
    Traceback (most recent call last):
    src.tracking.guard.LeakError: test/kappa: no such metric is known; add it to src/display/catalog.py::METRICS
    >>> guarded({"train/loss": "Smith"})
    Traceback (most recent call last):
    src.tracking.guard.LeakError: train/loss: only numbers may be logged
    """
    for key, value in values.items():
        if not (isinstance(key, str) and re.fullmatch(METRIC, key)):
            # A bare word may be a person's name: a refusal repeats only names with a group before a slash.
            if not (isinstance(key, str) and OURS.fullmatch(key) and "/" in key):
                raise LeakError("a metric of an unknown name may not be logged")
            raise LeakError(f"{key}: no such metric is known; add it to {HERE}::{TABLES[key.partition('/')[0]]}")
        if not isinstance(value, int | float):
            raise LeakError(f"{key}: only numbers may be logged")
    # Plain numbers, for an object of a subclass may hold, and print, more than its value.
    return {key: int(value) if isinstance(value, int) else float(value) for key, value in values.items()}


def guarded_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """Lets a run's configuration pass when every key is known and every value a number or one of its key's strings.

    Raises:
        LeakError: naming the key where it is known, never the value.

    >>> guarded_config({"model": "nano", "lr": 2e-5, "commit": None})
    {'model': 'nano', 'lr': 2e-05, 'commit': None}
    >>> guarded_config({"labels": "Smith"})
    Traceback (most recent call last):
    src.tracking.guard.LeakError: labels: its value is not one that may be logged
    """
    for key, value in values.items():
        pattern = config_pattern(key)
        if pattern is None and key not in CONFIG_NUMBERS:
            raise LeakError(_unknown_key(key))
        if pattern:
            # None: there is no commit outside a checkout.
            fits = value is None or (isinstance(value, str) and re.fullmatch(pattern, value))
        else:
            fits = isinstance(value, int | float)
        if not fits:
            raise LeakError(f"{key}: its value is not one that may be logged")
    return dict(values)


def _unknown_key(key: Any) -> str:
    if key in [axis.key for axis in AXES]:
        return f"{key}: nothing says which texts it may be; add it to src/tracking/guard.py::CONFIG_STRINGS"
    if isinstance(key, str) and OURS.fullmatch(key):
        return f"{key}: no such key of the configuration is known; add it to {HERE}::AXES"
    return "an unknown key of the configuration may not be logged"


def config_pattern(key: Any) -> str | None:
    """Gives the pattern of a key's text in the configuration; None for a number, or a key that is not known."""
    return model_pattern() if key == "model" else CONFIG_STRINGS.get(key)


@cache
def model_pattern() -> str:
    """Builds the pattern of a model's name: made of `PIECES`, one of the project's own, or a hash."""
    own = [path.stem for path in sorted((CONF / "model").glob("*.yaml")) if is_wandb_name(path.stem)]
    return rf"(?i:(?:{'|'.join(PIECES)}){{1,40}})|{'|'.join(map(re.escape, own))}|local-[0-9a-f]{{6}}"


@cache
def run_pattern() -> str:
    """Builds the pattern of a run's name: by its axes and its identity, or by a hash."""
    values = {key: f"(?:{config_pattern(key)})" for key in ("model", "labels", "horizon")}
    parts = [(axis, axis.slug.format(values.get(axis.key, r"\d+"))) for axis in NAMED]
    named = "".join(f"(?:{part}-)?" if axis.later else f"{part}-" for axis, part in parts)
    return rf"{named}c[0-9a-f]{{7}}(?:-[0-9a-f]{{4}})?|run-[0-9a-f]{{8}}"


def guarded_label(label: str, value: str) -> str:
    """Lets the name, group, project, job type or tag of a run pass when it is of its known form.

    Raises:
        LeakError: naming what it was to be, never the value.
    """
    pattern = run_pattern() if label == "name" else LABELS.get(label)
    if not isinstance(value, str) or not (re.fullmatch(pattern, value) if pattern else is_wandb_name(value)):
        raise LeakError(f"{label}: its value is not one that may be logged")
    return value


def guarded_tags(values: Iterable[str]) -> tuple[str, ...]:
    """Lets tags pass when each is a known one.

    Raises:
        LeakError: one is not; the message does not repeat it.
    """
    return tuple(guarded_label("tag", value) for value in values)


def public_model(name: str) -> str:
    """Keeps a model's name where it is short and one that `model_pattern` knows, else gives `local-` and its hash.

    >>> public_model("llama13b"), public_model("Mistral-7B-Instruct-v0.3"), public_model("smith-icu")
    ('llama13b', 'Mistral-7B-Instruct-v0.3', 'local-85d01b')
    """
    short = len(name) <= LONGEST and re.fullmatch(model_pattern(), name)
    return name if short else f"local-{short_hash(name, 6)}"


def public_name(name: str) -> str:
    """Keeps a run's name where it is of the form that the configuration gives, else gives `run-` and its hash."""
    return name if re.fullmatch(run_pattern(), name) else f"run-{short_hash(name, 8)}"


def short_hash(text: str, digits: int) -> str:
    """Hashes a text by SHA-256 and keeps the first hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
