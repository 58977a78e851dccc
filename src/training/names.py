"""Where a run is kept: a readable name and a hash of what decides its result."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from src.cohort.prepared import read_cohort
from src.config.train import TrainConfig

ONLY_WHERE = (
    "data.dir", "wandb", "device", "devices", "nodes", "shard", "threads", "out", "name", "dry_run", "model.access",
    "micro_batch", "checkpointing", "checkpoint_minutes", "together",
    "deterministic",
)  # fmt: skip
"""Keys that say where and how a run happens, not what comes out."""


def run_dir(cfg: TrainConfig) -> Path:
    """The folder of this configuration on its cohort: the same for the same, other for another."""
    if cfg.name:
        return Path(cfg.out) / cfg.name
    fingerprint = read_cohort(Path(cfg.data.dir)).fingerprint
    return Path(cfg.out) / f"{readable_name(cfg)}-{identity(cfg, fingerprint)}"


def readable_name(cfg: TrainConfig) -> str:
    """The axes of the grid, as people read them."""
    return f"{cfg.model.name}-len{cfg.max_len}-r{cfg.lora.r}-{cfg.labels}-s{cfg.seed}"


def identity(cfg: TrainConfig, cohort_fingerprint: str) -> str:
    """A letter and seven hex digits that follow from the configuration and the cohort.

    The letter keeps a hash such as 4662e71 from being read as a number.
    """
    values = dataclasses.asdict(cfg)
    for key in ONLY_WHERE:
        group, _, leaf = key.rpartition(".")
        (values[group] if group else values).pop(leaf)
    text = json.dumps([values, cohort_fingerprint], sort_keys=True)
    return "c" + hashlib.sha256(text.encode()).hexdigest()[:7]


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
