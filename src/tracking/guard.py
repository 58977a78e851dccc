"""What may go to W&B: numbers under names of ours, and short strings from known lists; no word of anything else."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from src.config.prepare import Protocol
from src.config.train import Kind, Labels, Prompt, is_wandb_name

PIECES = (
    "llama", "alpaca", "vicuna", "mistral", "mixtral", "qwen", "smollm", "tiny", "open", "meta", "bio", "clinical",
    "med", "bert", "caml", "majority", "tfidf", "structured", "fusion", "codes", "upper", "bound", "nano", "pico",
    "femto", "local", "hf", "base", "chat", "instruct", "v", "b", "m", "k", "x", r"\d", "[-_.]",
)  # fmt: skip
"""What names of models are made of; a folder's name that has anything else goes by its hash."""

LONGEST = 24
"""Letters of a model's name in a run's id."""

MODEL = rf"(?i:(?:{'|'.join(PIECES)}){{1,40}})|local-[0-9a-f]{{6}}"
RUN = rf"(?:{MODEL})-len\d+-r\d+-(?:{'|'.join(Labels)})-s\d+-c[0-9a-f]{{7}}(?:-[0-9a-f]{{4}})?|run-[0-9a-f]{{8}}"

CONFIG_STRINGS = {
    "model": MODEL,
    "labels": "|".join(Labels),
    "prompt": "|".join(Prompt),
    "protocol": "|".join([*Protocol, "own"]),
    "cohort": "[0-9a-f]{8,64}",
    "code": "[0-9a-f]{12}",
    "commit": "[0-9a-f]{7,40}",
}
"""Keys of the configuration whose values are strings, and what those may be."""

CONFIG_NUMBERS = ("params", "max_len", "lora_r", "lora_alpha", "lr", "epochs", "batch_size", "seed")

MEASURED = r"(?:base_|severity_|rule_)?(?:accuracy|top\d{1,2}|(?:macro|micro)_(?:f1|f1_all|auc))"
METRIC = (
    rf"(?:val|test)/{MEASURED}(?:/(?:low|high))?|val/loss|lr-AdamW(?:-momentum|-weight_decay)?"
    r"|train/(?:loss|lr|grad_norm|epoch|tokens_per_second|padding|memory_gib|gpu_memory_gib|seconds_left)"
    r"|counts/(?:train|validation|test|drgs|test_drgs|trainable_parameters|base_parameters|steps|best_step)"
    r"|seconds/(?:starting|training|evaluation|total)|trainer/global_step|tokens_seen"
    r"|axes/(?:params|max_len|lora_r|labels)|cost/device_hours"
)
"""Names of everything that is measured; every part of them is ours."""

LABELS = {
    "name": RUN,
    "job type": "train|baseline",
    "tag": "|".join([*Labels, *Kind, *Protocol, "own"]),
}
"""What a run is found by, and what that may be; beside them a project and a group, which a person chose for W&B."""


class LeakError(RuntimeError):
    """Something other than what the lists above allow was about to go to W&B; it never says what."""


def guarded(values: Mapping[str, Any]) -> dict[str, float]:
    """Metrics, when each name is one of ours and each value a number.

    Raises:
        LeakError: neither names nor values are repeated, for either may be text.

    >>> guarded({"train/loss": 0.5})
    {'train/loss': 0.5}
    >>> guarded({"train/Smith": 0.5})
    Traceback (most recent call last):
    src.tracking.guard.LeakError: a metric of an unknown name may not be logged
    >>> guarded({"train/loss": "Smith"})
    Traceback (most recent call last):
    src.tracking.guard.LeakError: train/loss: only numbers may be logged
    """
    for key, value in values.items():
        if not (isinstance(key, str) and re.fullmatch(METRIC, key)):
            raise LeakError("a metric of an unknown name may not be logged")
        if not isinstance(value, int | float):
            raise LeakError(f"{key}: only numbers may be logged")
    return {key: int(value) if isinstance(value, int) else float(value) for key, value in values.items()}


def guarded_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """A run's configuration, when every key is known and every value a number or one of its key's strings.

    Raises:
        LeakError: naming the key where it is known, never the value.

    >>> guarded_config({"model": "nano", "lr": 2e-5, "commit": None})
    {'model': 'nano', 'lr': 2e-05, 'commit': None}
    >>> guarded_config({"labels": "Smith"})
    Traceback (most recent call last):
    src.tracking.guard.LeakError: labels: its value is not one that may be logged
    """
    for key, value in values.items():
        if key not in CONFIG_STRINGS and key not in CONFIG_NUMBERS:
            raise LeakError("an unknown key of the configuration may not be logged")
        if key in CONFIG_STRINGS:
            fits = value is None or (isinstance(value, str) and re.fullmatch(CONFIG_STRINGS[key], value))
        else:
            fits = isinstance(value, int | float)
        if not fits:
            raise LeakError(f"{key}: its value is not one that may be logged")
    return dict(values)


def guarded_label(what: str, value: str) -> str:
    """The name, group, project, job type or tag of a run.

    Raises:
        LeakError: naming what it was to be, never the value.
    """
    fits = isinstance(value, str) and (re.fullmatch(LABELS[what], value) if what in LABELS else is_wandb_name(value))
    if not fits:
        raise LeakError(f"{what}: its value is not one that may be logged")
    return value


def guarded_tags(values: Iterable[str]) -> tuple[str, ...]:
    """Tags, each from the known ones."""
    return tuple(guarded_label("tag", value) for value in values)


def public_model(name: str) -> str:
    """A model's name where it is short and made of pieces of known models' names, else `local-` and a hash of it.

    >>> public_model("llama13b"), public_model("Mistral-7B-Instruct-v0.3"), public_model("smith-icu")
    ('llama13b', 'Mistral-7B-Instruct-v0.3', 'local-85d01b')
    """
    short = len(name) <= LONGEST and re.fullmatch(MODEL, name)
    return name if short else f"local-{short_hash(name, 6)}"


def public_name(name: str) -> str:
    """A run's name where it is of the form that the configuration gives, else `run-` and a hash of it."""
    return name if re.fullmatch(RUN, name) else f"run-{short_hash(name, 8)}"


def short_hash(text: str, digits: int) -> str:
    """The first hex digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
