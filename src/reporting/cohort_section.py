"""Draws the cohort of some runs, as far as a report on them may show it: its flow, where its folder can be read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from src.cli.errors import UserError
from src.cli.json_files import Schema, read_json
from src.cohort.disclosure import MIN_GROUP_PATIENTS, folded
from src.cohort.split import Split
from src.config.cohort_folder import RECORD
from src.display.figure_style import ReportFigure
from src.reporting.cohort_figures import flow_figure
from src.runs.finished import Run

FLOW: Schema = {
    "fingerprint": str,
    "flow": [{"step": str, "excluded": int, "left": int}],
    "splits": {str(split): {"notes": int, "patients": int} for split in Split},
}
"""What of a cohort's record is drawn."""


def cohort_drawing(runs: Sequence[Run], fingerprint: str, data_dir: Path | None = None) -> ReportFigure | None:
    """Draws the flow from discharge summaries to splits; None where no run names a folder that still holds the cohort.

    Args:
        runs: whose configurations name the folder.
        fingerprint: of the cohort.
        data_dir: where it lies now; None takes the folders that the records name.
    """
    named = [run.record.config.get("data", {}).get("dir") for run in runs]
    for folder in [data_dir, *dict.fromkeys(named)]:
        record = _read(Path(folder)) if folder else {}
        if record.get("fingerprint") == fingerprint:
            splits = record["splits"]
            # The boxes below the flow count the patients of each split.
            if min(split["patients"] for split in splits.values()) < MIN_GROUP_PATIENTS:
                return None
            caption = (
                f"Steps that left out fewer than {MIN_GROUP_PATIENTS} notes are joined with the next, or not drawn."
            )
            return ReportFigure(
                "cohort_flow",
                "From discharge summaries to splits",
                caption,
                flow_figure(folded(record["flow"]), splits),
            )
    return None


def _read(folder: Path) -> dict[str, Any]:
    try:
        return read_json(folder / RECORD, FLOW)
    except (FileNotFoundError, UserError):
        return {}
