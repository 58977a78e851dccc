"""What W&B is told of a run beside its numbers: a fixed id, where it belongs, and its configuration."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from src.cohort.prepared import Cohort
from src.cohort.split import Split
from src.config.train import Kind, TrainConfig
from src.runs.identity import identity, readable_name
from src.runs.provenance import code_version
from src.tracking.flat import flat_config
from src.tracking.guard import public_model, short_hash


@dataclass(frozen=True)
class RunMetadata:
    """What a run is found by.

    Attributes:
        name: its id in its project and what it is shown as; empty for one that follows from its folder's name.
        config: flat: axes, the cohort's fingerprint, the code's version.
        job_type: `train` or `baseline`.
        tags: label scheme, kind of model, protocol.
        patients: of each split, by the first part of its metrics' names; those of few are not sent.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    job_type: str = "train"
    tags: tuple[str, ...] = ()
    patients: Mapping[str, int] = field(default_factory=dict)


def about(cfg: TrainConfig, cohort: Cohort, axes: Mapping[str, Any]) -> RunMetadata:
    """What W&B is told of a configuration on its cohort."""
    config = flat_config(axes, cohort.fingerprint, code_version())
    return RunMetadata(
        {**config, "model": public_model(config["model"])},
        run_name(cfg, cohort.fingerprint),
        "train" if cfg.model.kind is Kind.LLAMA else "baseline",
        tuple(dict.fromkeys([str(cfg.labels), str(cfg.model.kind), cohort.protocol])),
        {split.prefix: cohort.patients(split, cfg.data.limit) for split in Split},
    )


def run_name(cfg: TrainConfig, cohort_fingerprint: str) -> str:
    """The id of a run, the same whenever it is started: readable, with the hash of configuration and cohort.

    That is its folder's name, unless `name=` gave another: such a name is not sent, and four digits of its hash keep
    apart runs that differ in nothing else.
    """
    readable = readable_name(cfg).replace(cfg.model.name, public_model(cfg.model.name), 1)
    more = f"-{short_hash(cfg.name, 4)}" if cfg.name else ""
    return f"{readable}-{identity(cfg, cohort_fingerprint)}{more}"
