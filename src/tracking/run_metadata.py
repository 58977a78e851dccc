"""A run is found in W&B by a fixed id, its project and group, and its configuration."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from src.cli.json_files import Schema, read_json, write_json
from src.cohort.disclosure import MIN_GROUP_PATIENTS
from src.cohort.prepared import Cohort
from src.cohort.split import Split
from src.config.choices import WandbMode
from src.config.train import TrainConfig, WandbConfig
from src.runs.folder import RunFolder
from src.runs.identity import identity, readable_name, unread
from src.runs.provenance import code_version
from src.tracking.flat import flat_config
from src.tracking.guard import public_model, public_name, short_hash

TRACKING = RunFolder(Path()).tracking.name
"""In a run's folder: project, group and all that the run is found by, so that it can be sent at any time."""

SCHEMA: Schema = {
    "project": str,
    "group": str | None,
    "name": str,
    "job_type": str,
    "tags": list[str],
    "config": dict,
    "patients": dict[str, int],
}


@dataclass(frozen=True)
class RunMetadata:
    """Holds what a run is found by.

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

    @property
    def few(self) -> list[str]:
        """Names the splits of too few patients for their metrics to be sent."""
        return [split for split, count in self.patients.items() if count < MIN_GROUP_PATIENTS]

    def of_many(self, values: Mapping[str, float]) -> dict[str, float]:
        """Drops the metrics of splits of few patients."""
        return {name: value for name, value in values.items() if name.partition("/")[0] not in self.few}


def write_metadata(run_dir: Path, cfg: WandbConfig, metadata: RunMetadata) -> None:
    """Writes `tracking.json`, whole or not at all."""
    kept = {**asdict(metadata), "name": metadata.name or public_name(run_dir.name)}
    write_json(RunFolder(run_dir).tracking, {"project": cfg.project, "group": cfg.group, **kept}, SCHEMA, indent=1)


def read_metadata(run_dir: Path) -> tuple[WandbConfig, RunMetadata]:
    """Reads project and group of a run, and what else it is found by.

    Raises:
        FileNotFoundError: the run is of an earlier version, or was not recorded for W&B.
        UserError: the file is damaged.
    """
    kept = read_json(RunFolder(run_dir).tracking, SCHEMA)
    metadata = RunMetadata(kept["config"], kept["name"], kept["job_type"], tuple(kept["tags"]), kept["patients"])
    return WandbConfig(WandbMode.ONLINE, kept["project"], kept["group"]), metadata


def about(
    cfg: TrainConfig, cohort: Cohort, axes: Mapping[str, Any], code: Mapping[str, str | None] | None = None
) -> RunMetadata:
    """Gathers what a configuration on its cohort is found by; the code's version is today's unless it is given."""
    config = flat_config(axes, cohort.fingerprint, code or code_version())
    return RunMetadata(
        {**config, "model": public_model(config["model"])},
        run_name(cfg, cohort.fingerprint),
        "baseline" if "lora.r" in unread(cfg.model.kind) else "train",  # a system without adapters is a baseline
        tuple(dict.fromkeys([str(cfg.labels), str(cfg.model.kind), cohort.protocol])),
        {split.prefix: cohort.patients(split, cfg.data.limit) for split in Split},
    )


def run_name(cfg: TrainConfig, cohort_fingerprint: str) -> str:
    """Makes the id of a run, the same whenever it is started: readable, with the hash of configuration and cohort.

    That is its folder's name, unless `name=` gave another: such a name is not sent, and four digits of its hash keep
    apart runs that differ in nothing else.
    """
    readable = readable_name(cfg).replace(cfg.model.name, public_model(cfg.model.name), 1)
    suffix = f"-{short_hash(cfg.name, 4)}" if cfg.name else ""
    return f"{readable}-{identity(cfg, cohort_fingerprint)}{suffix}"
