"""A run's own record, `result.json`: a run without it is not finished."""

import json
import math
from pathlib import Path
from typing import Any

from src.cohort.prepared import read_cohort
from src.config.train import TrainConfig
from src.shell.errors import UserError
from src.shell.files import replacing
from src.training.names import another_run, differences

RECORD = "result.json"


def finished(run_dir: Path) -> bool:
    """Whether the run has its record."""
    return (run_dir / RECORD).is_file()


def read_record(run_dir: Path) -> dict[str, Any]:
    """What `result.json` holds.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = run_dir / RECORD
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except OSError:
        raise UserError(f"{path}: no such file; run={run_dir} is not a finished run") from None
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); train the run again") from None


def record_of(cfg: TrainConfig, run_dir: Path) -> dict[str, Any] | None:
    """The record in a configuration's folder; None where the run is not finished.

    Raises:
        UserError: the record is another configuration's or another cohort's.
    """
    if not finished(run_dir):
        return None
    record, fingerprint = read_record(run_dir), read_cohort(Path(cfg.data.dir)).fingerprint
    if differences(cfg, fingerprint, record):
        raise another_run(cfg, fingerprint, run_dir, record)
    return record


def write_record(run_dir: Path, record: dict[str, Any]) -> None:
    """Writes `result.json` whole or not at all; metrics that are not defined become null."""
    metrics = {name: value if math.isfinite(value) else None for name, value in record["metrics"].items()}
    with replacing(run_dir / RECORD) as beside:
        beside.write_text(json.dumps({**record, "metrics": metrics}, indent=2) + "\n", "utf-8")
