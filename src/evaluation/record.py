"""A run's own record, `result.json`: a run without it is not finished."""

import json
import math
from pathlib import Path
from typing import Any

from src.shell.errors import UserError
from src.shell.files import replacing

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


def write_record(run_dir: Path, record: dict[str, Any]) -> None:
    """Writes `result.json` whole or not at all; metrics that are not defined become null."""
    metrics = {name: value if math.isfinite(value) else None for name, value in record["metrics"].items()}
    with replacing(run_dir / RECORD) as beside:
        beside.write_text(json.dumps({**record, "metrics": metrics}, indent=2) + "\n", "utf-8")
