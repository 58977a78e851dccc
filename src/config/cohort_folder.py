"""Finds the folder of the cohort that a run reads: that of discharge, or below it that of a horizon."""

from pathlib import Path

from src.cli.errors import UserError
from src.cli.json_files import read_json
from src.config.prepare import HORIZONS, NamedHorizon, in_time, is_horizon

RECORD = "cohort.json"

PREPARE_FIRST = "prepare it with python -m src.prepare data.dir=MIMIC"


def folder_at(folder: Path, horizon: str) -> Path:
    """Names the folder of a horizon: below that of discharge, or that itself where it is of this horizon."""
    if horizon in (NamedHorizon.DISCHARGE, _horizon_in(folder)):
        return folder
    return folder / HORIZONS / horizon


def prepared_horizons(folder: Path) -> list[str]:
    """Names the horizons before discharge for which a cohort was prepared, in order of time."""
    names = {path.parent.name for path in (folder / HORIZONS).glob(f"*/{RECORD}")}
    return sorted(filter(is_horizon, names), key=in_time)


def folder_problems(folder: Path, horizon: str) -> list[str]:
    """Says in a line why `data.dir` holds no prepared cohort, or none of the horizon."""
    if not folder.is_dir():
        return [f"data.dir={folder}: no such folder; {PREPARE_FIRST} data.out={folder}"]
    if not (folder / RECORD).is_file():
        mimic = (folder / "note").is_dir() or (folder / "hosp").is_dir()
        reason = "holds MIMIC-IV files, not a prepared cohort" if mimic else f"holds no {RECORD}"
        source = str(folder) if mimic else "MIMIC"
        return [f"data.dir={folder}: {reason}; {PREPARE_FIRST.replace('MIMIC', source)} data.out=COHORT"]
    if is_horizon(horizon) and not (folder_at(folder, horizon) / RECORD).is_file():
        prepared = prepared_horizons(folder)
        there = f"was prepared for {', '.join(prepared) or 'discharge alone'}"
        again = f"{PREPARE_FIRST} data.out=NEW horizon=[{','.join([*prepared, horizon])}]"
        return [f"horizon={horizon}: data.dir={folder} {there}; {again}"]
    return []


def _horizon_in(folder: Path) -> str | None:
    """Names the horizon of the cohort in a folder; None for one of discharge, or where there is none."""
    try:
        return str(read_json(folder / RECORD, {"horizon": {"name": str}})["horizon"]["name"])
    except (FileNotFoundError, UserError):
        return None
