"""Where a run is kept: a readable name and a hash of what decides its result."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from src.cli.errors import UserError
from src.cohort.prepared import read_cohort
from src.config.train import TrainConfig

ONLY_WHERE = (
    "data.dir", "wandb", "device", "devices", "nodes", "shard", "threads", "out", "name", "dry_run", "model.access",
    "micro_batch", "checkpointing", "checkpoint_minutes", "together",
    "deterministic",
)  # fmt: skip
"""Keys that say where and how a run happens, not what comes out."""

SAMPLE = "by class"
"""Which notes `data.limit` takes, as records say; runs whose records do not say so took the first."""


def run_dir(cfg: TrainConfig) -> Path:
    """The folder of this configuration on its cohort: the same for the same, other for another."""
    if cfg.name:
        return Path(cfg.out) / cfg.name
    fingerprint = read_cohort(Path(cfg.data.dir)).fingerprint
    return Path(cfg.out) / f"{readable_name(cfg)}-{identity(cfg, fingerprint)}"


def check_names(cells: Sequence[TrainConfig]) -> None:
    """Lets cells have a `name` each.

    Raises:
        UserError: several different ones have the same.
    """
    for name in dict.fromkeys(cfg.name for cfg in cells if cfg.name):
        named = [cfg for cfg in cells if cfg.name == name]
        if any(cfg != named[0] for cfg in named):
            raise UserError(f"name={name}: {len(named)} cells would share one folder; leave name out")


def readable_name(cfg: TrainConfig) -> str:
    """The axes of the grid, as people read them."""
    return f"{cfg.model.name}-len{cfg.max_len}-r{cfg.lora.r}-{cfg.labels}-s{cfg.seed}"


def identity(cfg: TrainConfig, cohort_fingerprint: str) -> str:
    """A letter and seven hex digits that follow from the configuration and the cohort.

    The letter keeps a hash such as 4662e71 from being read as a number.
    """
    sample = [SAMPLE] if cfg.data.limit else []
    text = json.dumps([_deciding(dataclasses.asdict(cfg)), cohort_fingerprint, *sample], sort_keys=True)
    return "c" + hashlib.sha256(text.encode()).hexdigest()[:7]


def another_run(cfg: TrainConfig, cohort_fingerprint: str, run_dir: Path, kept: Mapping[str, Any]) -> UserError:
    """The refusal of a configuration whose folder holds another run, with the keys that differ.

    Args:
        cfg: the configuration.
        cohort_fingerprint: of the cohort that it reads.
        run_dir: the folder.
        kept: the `config` and the `cohort` of the run that is there; a checkpoint of an earlier version has neither.
    """
    differing = differences(cfg, cohort_fingerprint, kept) or ["its configuration or cohort"]
    return UserError(
        f"{run_dir}: holds another run, which differs in {'; '.join(differing)}; "
        "give this one another name=, or remove the folder"
    )


def differences(cfg: TrainConfig, cohort_fingerprint: str, kept: Mapping[str, Any]) -> list[str]:
    """What decides a result and differs from the run that is there, as `lora.r (4, there 8)`.

    Keys that the other run's version did not have are left out.
    """
    there = {"callbacks": [], **dict(flat_keys(_deciding(kept.get("config", {}))))}
    here = {"callbacks": [], **dict(flat_keys(_deciding(dataclasses.asdict(cfg))))}
    pairs = [(key, value, there[key]) for key, value in here.items() if key in there]
    if cfg.data.limit and kept.get("config") and "sample" not in kept:
        pairs.append(("the notes of data.limit", SAMPLE, "the first"))
    pairs.append(("the cohort", cohort_fingerprint, kept.get("cohort", cohort_fingerprint)))
    return [f"{key} ({mine}, there {theirs})" for key, mine, theirs in pairs if mine != theirs]


def flat_keys(values: Mapping[str, Any], group: str = "") -> Iterator[tuple[str, Any]]:
    """The keys of nested groups as they are typed, with their values.

    >>> list(flat_keys({"lora": {"r": 8}, "seed": 1}))
    [('lora.r', 8), ('seed', 1)]
    """
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat_keys(value, f"{group}{key}.")
        else:
            yield f"{group}{key}", value


def _deciding(values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without the keys of `ONLY_WHERE`."""
    kept = {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    for key in ONLY_WHERE:
        group, _, leaf = key.rpartition(".")
        (kept.get(group, {}) if group else kept).pop(leaf, None)
    if not kept.get("callbacks"):  # runs of before this key are the same runs
        kept.pop("callbacks", None)
    return kept


def axes(cfg: TrainConfig, parameters: int, protocol: str) -> dict[str, Any]:
    """The grid's axes, flat, as W&B needs them for columns and grouping.

    Args:
        cfg: the run's configuration.
        parameters: of the frozen base; 0 where there is none.
        protocol: what the cohort was prepared by.
    """
    return {
        "model": cfg.model.name,
        "params": parameters,
        "max_len": cfg.max_len,
        "lora_r": cfg.lora.r,
        "lora_alpha": cfg.lora.alpha,
        "labels": str(cfg.labels),
        "prompt": str(cfg.prompt),
        "lr": cfg.lr,
        "epochs": cfg.epochs,
        "batch_size": cfg.batch_size,
        "seed": cfg.seed,
        "protocol": protocol,
    }
