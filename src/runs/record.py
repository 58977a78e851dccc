"""A run's record, `result.json`, says what it is and came to; a run without it is not finished."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.cli.errors import UserError
from src.cli.json_files import Damaged, Schema, read_json, set_aside, write_json
from src.config.prepare import HORIZONS, DrgSystem, NamedHorizon
from src.config.train import TrainConfig
from src.runs.folder import RunFolder

if TYPE_CHECKING:
    from src.cohort.prepared import Cohort

SCHEMA: Schema = {
    "config": {"model?": dict, "data?": {"dir": str}, "lora?": dict, "wandb?": dict},
    "axes": {"model": str, "params": float, "max_len": int, "seed": int},
    "cohort": str,
    "drg_version?": str,
    "sample?": str,
    "counts": {"train": int, "test": int},
    "metrics": dict[str, float | None],
    "intervals?": dict[str, list[float]],
    "tokens_seen": int,
    "seconds": {"training": float, "total": float},
}


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Holds what a finished run is and came to; the fields stand in the order of `result.json`.

    A part that an earlier version did not write, or that W&B does not hold, is empty or None.
    """

    config: dict[str, Any] = field(default_factory=dict)
    """The resolved configuration, see `src.config.train.TrainConfig`."""
    axes: dict[str, Any]
    """The grid's axes, see `src.runs.identity.axes`."""
    cohort: str
    """The fingerprint."""
    drg_version: str | None = None
    """The MS-DRG version of the labels, or `apr`; None for a hospital's own classes, and in records of before."""
    sample: str | None = None
    """Which notes `data.limit` took; None where they were the first."""
    counts: dict[str, int] = field(default_factory=dict)
    """Notes by split, DRGs, parameters and steps."""
    metrics: dict[str, float | None]
    """By names such as `test/accuracy`; None where one is not defined."""
    intervals: dict[str, list[float]] = field(default_factory=dict)
    """Low and high of 95 %, of the test's metrics."""
    code: dict[str, str | None] = field(default_factory=dict)
    """See `src.runs.provenance.code_version`."""
    versions: dict[str, str] = field(default_factory=dict)
    """Of Python and packages."""
    device: str | None = None
    tokens_seen: int = 0
    """In training."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By part; `training` is that of the steps alone, `total` of all."""
    further: dict[str, Any] = field(default_factory=dict)
    """What another version wrote beside these."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "RunRecord":
        """Makes a record of what `result.json` holds; what this version does not know goes to `further`."""
        names = {entry.name for entry in fields(cls)} - {"further"}
        own = {key: value for key, value in values.items() if key in names}
        return cls(**own, further={key: value for key, value in values.items() if key not in names})

    def values(self) -> dict[str, Any]:
        """Gives what `result.json` holds, without the parts that are None."""
        own = {name.name: getattr(self, name.name) for name in fields(self) if name.name != "further"}
        return {**{key: value for key, value in own.items() if value is not None}, **self.further}


def of_apr(records: Iterable[RunRecord]) -> bool:
    """Says whether runs are of APR-DRGs, all of them."""
    return {record.drg_version for record in records} == {DrgSystem.APR}


def damage(run_dir: Path) -> UserError | None:
    """Says why the record that is there cannot be read; None where it can, or where there is none."""
    try:
        read_json(RunFolder(run_dir).record, SCHEMA)
    except FileNotFoundError:
        return None
    except UserError as error:
        return error
    return None


def finished(run_dir: Path) -> bool:
    """Says whether a run has its record, and the record is whole."""
    return RunFolder(run_dir).record.exists() and damage(run_dir) is None


def set_damaged_aside(run_dir: Path) -> None:
    """Sets a damaged record aside, so that the run goes on from what else there is of it.

    Raises:
        UserError: it is there and may not be read.
    """
    error = damage(run_dir)
    if isinstance(error, Damaged):
        set_aside(error.path, error.reason)
    elif error:
        raise error


def read_record(run_dir: Path) -> RunRecord:
    """Reads the record of a finished run.

    Raises:
        UserError: there is none, or it is damaged.
    """
    try:
        instead = "the command that trained the run makes it again"
        return RunRecord.of(read_json(RunFolder(run_dir).record, SCHEMA, instead))
    except FileNotFoundError:
        raise UserError(f"{RunFolder(run_dir).record}: no such file; run={run_dir} is not a finished run") from None


def read_cohort_of(record: RunRecord, run_dir: Path, data_dir: Path | None = None) -> "Cohort":
    """Reads the cohort of a finished run: in `data_dir`, where the record says, or there as seen from the run.

    A run that was trained in another folder names its cohort from there; the fingerprint tells it from others. That of
    a run at a horizon lies below the cohort of discharge.

    Raises:
        UserError: it is in none of them, or is damaged.
    """
    from src.cohort.prepared import read_cohort
    from src.config.cohort_folder import RECORD as COHORT

    named = Path(record.config["data"]["dir"])
    named_here = [data_dir] if data_dir else [named, *(folder / named for folder in run_dir.resolve().parents)]
    horizon = str(record.config.get("horizon", NamedHorizon.DISCHARGE))
    below = [] if horizon == NamedHorizon.DISCHARGE else [Path(HORIZONS) / horizon]
    # The folder itself as well: `data_dir=` may name the horizon's own.
    folders = [folder / part for folder in named_here for part in (*below, Path())]
    cohorts = [folder for folder in folders if (folder / COHORT).is_file()]
    for folder in cohorts:
        if (cohort := read_cohort(folder)).fingerprint == record.cohort:
            return cohort
    if cohorts:
        what = f"the cohort{f' of horizon={horizon}' if below else ''} that {run_dir} was trained on"
        raise UserError(f"{cohorts[0]}: not {what}; write data_dir=COHORT")
    if data_dir:
        raise UserError(f"data_dir={data_dir}: holds no {COHORT}; it is the folder that src.prepare wrote")
    raise UserError(f"{run_dir}: its cohort was at {named} and is not there; write data_dir=COHORT where it lies now")


def record_of(cfg: TrainConfig, run_dir: Path) -> RunRecord | None:
    """Reads the record in a configuration's folder; None where the run is not finished.

    Raises:
        UserError: the record is another configuration's or another cohort's.
    """
    from src.cohort.prepared import read_cohort
    from src.runs.identity import another_run, differences

    if not finished(run_dir):
        return None
    record, fingerprint = read_record(run_dir), read_cohort(cfg.cohort_dir).fingerprint
    if differences(cfg, fingerprint, record.values()):
        raise another_run(cfg, fingerprint, run_dir, record.values())
    return record


def write_record(run_dir: Path, record: RunRecord) -> None:
    """Writes `result.json` whole or not at all; metrics that are not defined become null."""
    numbers = record.metrics.items()
    metrics = {name: None if value is None or not math.isfinite(value) else value for name, value in numbers}
    write_json(RunFolder(run_dir).record, {**record.values(), "metrics": metrics}, SCHEMA, indent=2)
