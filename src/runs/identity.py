"""A run's folder has a readable name and a hash of what decides its result."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from src.cli.compose import CONF
from src.cli.errors import UserError
from src.cohort.prepared import read_cohort
from src.config.choices import Kind
from src.config.train import TrainConfig
from src.display.catalog import AXES, NAMED, WARM_START

ONLY_WHERE = (
    "data.dir", "wandb", "device", "devices", "nodes", "shard", "threads", "out", "name", "dry_run", "model.access",
    "micro_batch", "checkpointing", "checkpoint_minutes", "together",
    "deterministic",
)  # fmt: skip
"""Keys that say where and how a run happens, not what comes out."""

LATER = (
    "callbacks", "head", "pooling", "loss", "loss_strength", "lora.rslora", "lora.plus", "head_lr",
    "warmup", "schedule", "validations", "patience", "horizon", "init_from",
)  # fmt: skip
"""Keys that earlier versions did not have: at their default values a run is the run of before."""

UNREAD_BY_NETWORKS = (
    "lora.r", "lora.alpha", "lora.dropout", "lora.targets", "lora.rslora", "lora.plus", "prompt",
    "precision", "head", "pooling", "head_lr", "validations",
)  # fmt: skip
UNREAD_BY_TREES = (
    *UNREAD_BY_NETWORKS, "warmup", "schedule", "max_len", "severity_weight", "batch_size", "max_steps", "lr",
    "weight_decay", "clip", "loss", "loss_strength",
)  # fmt: skip
UNREAD_BY_LINEAR_MODELS = (*UNREAD_BY_TREES, "epochs", "patience")

UNREAD: dict[Kind, tuple[str, ...]] = {
    Kind.LLAMA: (),
    Kind.BERT: tuple(key for key in UNREAD_BY_NETWORKS if key not in ("pooling", "head_lr")),
    Kind.CAML: UNREAD_BY_NETWORKS,
    Kind.STRUCTURED: UNREAD_BY_TREES,
    Kind.CODED: UNREAD_BY_TREES,
    Kind.TFIDF: UNREAD_BY_LINEAR_MODELS,
    Kind.TFIDF_CUT: tuple(key for key in UNREAD_BY_LINEAR_MODELS if key not in ("max_len", "prompt")),
    Kind.FUSION: UNREAD_BY_LINEAR_MODELS,
    Kind.MAJORITY: (*UNREAD_BY_LINEAR_MODELS, "seed"),
}
"""What each kind does not read: runs that differ in nothing else are one run."""

SAMPLE = "by class"
"""Which notes `data.limit` takes, as records say; runs whose records do not say so took the first."""


def run_dir(cfg: TrainConfig) -> Path:
    """Names the folder of a configuration on its cohort, which no other configuration or cohort has."""
    if cfg.name:
        return Path(cfg.out) / cfg.name
    fingerprint = read_cohort(cfg.cohort_dir).fingerprint
    return Path(cfg.out) / f"{readable_name(cfg)}-{identity(cfg, fingerprint)}"


def check_names(cells: Sequence[TrainConfig]) -> None:
    """Lets cells have a `name` each.

    Raises:
        UserError: several different ones have the same.
    """
    for name in dict.fromkeys(cfg.name for cfg in cells if cfg.name):
        named = [cfg for cfg in cells if cfg.name == name]
        if any(as_read(cfg) != as_read(named[0]) for cfg in named):
            raise UserError(f"name={name}: {len(named)} cells would share one folder; leave name out")


def readable_name(cfg: TrainConfig) -> str:
    """Joins the values of the grid's axes into a name that people can read."""
    values = axes(cfg, 0, "")
    return "-".join(axis.slug.format(values[axis.key]) for axis in NAMED if axis.key in values)


def identity(cfg: TrainConfig, cohort_fingerprint: str) -> str:
    """Hashes the configuration and the cohort into a letter and seven hex digits.

    The letter keeps a hash such as 4662e71 from being read as a number.
    """
    sample = [SAMPLE] if cfg.data.limit else []
    text = json.dumps([_deciding(dataclasses.asdict(cfg)), cohort_fingerprint, *sample], sort_keys=True)
    return "c" + hashlib.sha256(text.encode()).hexdigest()[:7]


def another_run(cfg: TrainConfig, cohort_fingerprint: str, run_dir: Path, recorded: Mapping[str, Any]) -> UserError:
    """Words the refusal of a configuration whose folder holds another run, with the keys that differ.

    Args:
        cfg: the configuration.
        cohort_fingerprint: of the cohort that it reads.
        run_dir: the folder.
        recorded: `config` and `cohort` of the run that is there; a checkpoint of an earlier version has neither.
    """
    differing = differences(cfg, cohort_fingerprint, recorded) or ["its configuration or cohort"]
    return UserError(
        f"{run_dir}: holds another run, which differs in {'; '.join(differing)}; "
        "give this one another name=, or remove the folder"
    )


def differences(cfg: TrainConfig, cohort_fingerprint: str, recorded: Mapping[str, Any]) -> list[str]:
    """Lists what decides a result and differs from the run that is there, as `lora.r (4, there 8)`.

    Keys that the other run's version did not have are left out.
    """
    # `_deciding` drops later keys at their defaults; here they are compared, not unknown to the other version.
    later = {key: _defaults()[key] for key in LATER}
    theirs = {**later, **dict(flat_keys(_deciding(recorded.get("config", {}))))}
    ours = {**later, **dict(flat_keys(_deciding(dataclasses.asdict(cfg))))}
    pairs = [(key, value, theirs[key]) for key, value in ours.items() if key in theirs]
    if cfg.data.limit and recorded.get("config") and "sample" not in recorded:
        pairs.append(("the notes of data.limit", SAMPLE, "the first"))
    pairs.append(("the cohort", cohort_fingerprint, recorded.get("cohort", cohort_fingerprint)))
    return [f"{key} ({value}, there {stored})" for key, value, stored in pairs if value != stored]


def flat_keys(values: Mapping[str, Any], group: str = "") -> Iterator[tuple[str, Any]]:
    """Flattens nested groups: each key as it is typed, with its value.

    >>> list(flat_keys({"lora": {"r": 8}, "seed": 1}))
    [('lora.r', 8), ('seed', 1)]
    """
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat_keys(value, f"{group}{key}.")
        else:
            yield f"{group}{key}", value


def _deciding(values: Mapping[str, Any]) -> dict[str, Any]:
    """Drops the keys of `ONLY_WHERE`, and sets those that the system does not read to their defaults, in a copy."""
    kept = {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    for key in ONLY_WHERE:
        group, _, leaf = key.rpartition(".")
        (kept.get(group, {}) if group else kept).pop(leaf, None)
    for key in unread(Kind(kept.get("model", {}).get("kind", Kind.LLAMA))):
        group, _, leaf = key.rpartition(".")
        part = kept.get(group, {}) if group else kept
        if leaf in part:
            part[leaf] = _defaults()[key]
    for key in LATER:
        group, _, leaf = key.rpartition(".")
        part = kept.get(group, {}) if group else kept
        if leaf in part and part[leaf] == _defaults()[key]:
            del part[leaf]
    return kept


def unread(kind: Kind) -> tuple[str, ...]:
    """Names the keys that change a LLaMA's result and are nothing to this kind of system.

    Raises:
        UserError: `UNREAD` does not say.
    """
    if kind not in UNREAD:
        raise UserError(f"model.kind={kind}: nothing says what it reads; add it to src/runs/identity.py::UNREAD")
    return UNREAD[kind]


def as_read(cfg: TrainConfig) -> TrainConfig:
    """Sets the keys that the system does not read to their defaults, in a copy: TF-IDF at any `lora.r` is one run."""
    cfg = dataclasses.replace(cfg, lora=dataclasses.replace(cfg.lora))  # the only group with keys that go unread
    for key in unread(cfg.model.kind):
        group, _, leaf = key.rpartition(".")
        part: Any = getattr(cfg, group) if group else cfg
        value, default = getattr(part, leaf), _defaults()[key]
        setattr(part, leaf, type(value)(default) if isinstance(value, StrEnum) else default)
    return cfg


@cache
def _defaults() -> dict[str, Any]:
    """Reads the values of conf/train.yaml, by their keys as they are typed."""
    from omegaconf import OmegaConf

    values: Any = OmegaConf.to_container(OmegaConf.load(CONF / "train.yaml"))
    return dict(flat_keys(values))


def axes(cfg: TrainConfig, parameters: int, protocol: str) -> dict[str, Any]:
    """Gives the run's values of the grid's axes, flat, as W&B needs them for columns and grouping.

    Args:
        cfg: the run's configuration.
        parameters: of the frozen base; 0 where there is none.
        protocol: what the cohort was prepared by.
    """
    cfg = as_read(cfg)
    values = dict(flat_keys(dataclasses.asdict(cfg))) | {"model": cfg.model.name}
    # Which run it was is a path, and no axis.
    from_elsewhere = {"params": parameters, "protocol": protocol, WARM_START: True if cfg.init_from else None}
    named = {axis.key: from_elsewhere[axis.key] if axis.key in from_elsewhere else values[axis.typed] for axis in AXES}
    shown = {axis.key for axis in AXES if not axis.later or named[axis.key] != axis.default}
    return {key: str(value) if isinstance(value, StrEnum) else value for key, value in named.items() if key in shown}
