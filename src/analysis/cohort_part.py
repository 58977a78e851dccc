"""The cohort of some runs, as far as a report on them may show it: its flow, where its folder can be read."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from src.analysis.cohort_pictures import flow_picture
from src.analysis.look import Drawing
from src.analysis.runs import Run
from src.cohort.prepared import FEWEST, RECORD


def cohort_drawing(runs: Sequence[Run], fingerprint: str, data_dir: Path | None = None) -> Drawing | None:
    """The flow from discharge summaries to splits; None where no run names a folder that still holds the cohort.

    Args:
        runs: whose configurations name the folder.
        fingerprint: of the cohort.
        data_dir: where it lies now; None takes the places that the records name.
    """
    named = [run.record.get("config", {}).get("data", {}).get("dir") for run in runs]
    for place in [data_dir, *dict.fromkeys(named)]:
        record = _read(Path(place)) if place else {}
        if record.get("fingerprint") == fingerprint and "flow" in record:
            splits = record["splits"]
            if min(split["patients"] for split in splits.values()) < FEWEST:
                return None
            told = f"Steps that left out fewer than {FEWEST} notes are joined with the next, or not drawn."
            return Drawing(
                "cohort_flow", "From discharge summaries to splits", told, flow_picture(folded(record["flow"]), splits)
            )
    return None


def _read(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / RECORD).read_text("utf-8")))
    except (OSError, ValueError):
        return {}


def folded(flow: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The flow without steps from whose counts a few patients could be told.

    >>> steps = [("notes", 0, 100), ("a", 0, 100), ("b", 4, 96), ("c", 30, 66), ("d", 2, 64)]
    >>> [tuple(step.values()) for step in folded([dict(zip(("step", "excluded", "left"), s)) for s in steps])]
    [('notes', 0, 100), ('b; c; d', 36, 64)]
    """
    found = [dict(flow[0])]
    names: list[str] = []
    for step in flow[1:]:
        names += [str(step["step"])] if step["excluded"] else []
        excluded = found[-1]["left"] - step["left"]
        if excluded >= FEWEST:
            found.append({"step": "; ".join(names), "excluded": excluded, "left": step["left"]})
            names = []
    if names:  # too few for a step of their own
        last, left = found.pop(), flow[-1]["left"]
        if not found:
            return [{"step": f"{last['step']}; {'; '.join(names)}", "excluded": 0, "left": left}]
        joined = "; ".join([str(last["step"]), *names])
        found.append({"step": joined, "excluded": found[-1]["left"] - left, "left": left})
    return found
