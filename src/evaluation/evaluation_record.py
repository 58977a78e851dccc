"""The numbers of a run's evaluation are kept in one file, `evaluation/evaluation.json`, which reports read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import polars.selectors as cs

from src.cli.json_files import Damaged, Schema, read_json, write_json
from src.runs.folder import RunFolder

FOLDER = RunFolder(Path()).evaluation.name
"""In a run's folder. Its files hold ids and counts of small groups: they stay on the machine, as predictions do."""

NUMBERS = "evaluation.json"

VERSION = 1
"""Of the file: raised when a reader needs what an older one lacks."""

Row = Mapping[str, Any]

_COUNTS: Schema = {"patients": int | None, "notes": int | None}
_TOP1: Schema = dict.fromkeys(("top1", "top1_low", "top1_high", "top5"), float | None)
_GROUP: Schema = {**_COUNTS, **_TOP1}
_ENDS = ("", "_low", "_high")
_SELECTIVE = ("threshold", *(f"{name}{end}" for name in ("coverage", "accuracy") for end in _ENDS))

SCHEMA: Schema = {
    "version": int,
    "notes": int,
    "tables": {
        "by_training_notes?": [
            {"training_notes": str, **_GROUP, "drgs": int | None, "macro_f1": float | None},
        ],
        "by_mdc?": [{"mdc": str, **_GROUP}],
        "by_type?": [{"type": str, **_GROUP}],
        "by_severity?": [{"severity": str, **_GROUP}],
        "by_words?": [{"words": str, **_GROUP}],
        "by_cut?": [{"note": str, **_GROUP}],
        "kinds_of_error?": [{"what": str, "patients": int, "notes": int, "share": float}],
        "confusions?": [
            {
                "drg": str, "predicted": str, "drg_title": str | None, "predicted_title": str | None,
                "nearness": str | None, "patients": int, "notes": int, "share_of_drg": float,
            }
        ],
        "slices?": [
            {
                "attribute": str, "group": str, **_GROUP,
                **dict.fromkeys(("gap", "gap_low", "gap_high", "p_holm"), float | None),
            }
        ],
        "calibration?": [
            {
                "scores": str,
                **dict.fromkeys(("temperature", "ece", "mean_confidence", "accuracy", "log_loss"), float),
            }
        ],
        "adjustment?": [
            {
                "point": str, "tau": float, "metric": str, "p_holm": float | None,
                **dict.fromkeys((f"{name}{end}" for name in ("value", "difference") for end in _ENDS), float | None),
            }
        ],
        "selective?": [{"aim": float, **dict.fromkeys(_SELECTIVE, float | None)}],
    },
}  # fmt: skip
"""What reports read; the file holds every table of `src.evaluate`, with null for what is not known."""


@dataclass(frozen=True)
class Evaluation:
    """An evaluation holds the aggregates of one run's test.

    Attributes:
        notes: of the test.
        tables: the rows of each, by name; a table that labels or admissions do not allow is not there.
    """

    notes: int
    tables: Mapping[str, list[Row]]

    def rows(self, name: str) -> list[Row]:
        """Gives the rows of a table; none where it is not there."""
        return self.tables.get(name, [])


def write_evaluation(run_dir: Path, notes: int, tables: Mapping[str, pl.DataFrame]) -> None:
    """Writes the numbers of every table into the run's folder."""
    finite = pl.when(cs.float().is_finite()).then(cs.float())
    rows = {name: table.with_columns(finite).to_dicts() for name, table in tables.items()}
    write_json(run_dir / FOLDER / NUMBERS, {"version": VERSION, "notes": notes, "tables": rows}, SCHEMA, indent=1)


def read_evaluation(run_dir: Path) -> Evaluation:
    """Reads the numbers that `src.evaluate` left in a run's folder.

    Raises:
        FileNotFoundError: it left none.
        Damaged: they are torn, or another version of this code wrote them.
    """
    path, remedy = run_dir / FOLDER / NUMBERS, f"`python -m src.evaluate run={run_dir}` writes it anew"
    content = read_json(path, SCHEMA, remedy)
    if content["version"] != VERSION:
        raise Damaged(path, f"version {content['version']}, and this code reads version {VERSION}", remedy)
    return Evaluation(content["notes"], content["tables"])
