"""Compares a cohort's counts with the paper's."""

from collections.abc import Mapping
from typing import Any

from src.cohort.msdrg import load_drgs
from src.display.published import PAPER_COHORT

CAVEATS = (
    "not guaranteed: the paper's code sorts by DRG with an unstable sort before its seeded split, so that its test "
    "notes differ with the version of its libraries; this sort is stable",
    "not guaranteed: descriptions are mapped by this project's rules; the paper's table of 285 descriptions was "
    "published without a licence, has four wrong rows, and leaves whole families out",
    "validation notes are taken from the paper's training notes: its own code chose the epoch on the test notes",
)


def counts(record: Mapping[str, Any]) -> dict[str, int]:
    """Counts a cohort under the names of `PAPER_COHORT`."""
    notes = {name: int(part["notes"]) for name, part in record["splits"].items()}
    labels = record.get("labels") or list(load_drgs())
    drgs = load_drgs()
    return {
        "notes": sum(notes.values()),
        "train": notes["train"] + notes["validation"],
        "test": notes["test"],
        "DRGs": len(labels),
        "base DRGs": len({drg.base_drg for drg in drgs.values()}),
        "CC/MCC states": len({drgs[code].severity for code in labels if code in drgs}),
    }


def deviations(record: Mapping[str, Any]) -> list[str]:
    """Writes a line for each count beside the paper's, then what cannot be guaranteed."""
    lines = [f"{'':>14} {'here':>9} {'paper':>9} {'off by':>9}"]
    for name, here in counts(record).items():
        lines.append(f"{name:>14} {here:>9,} {PAPER_COHORT[name]:>9,} {here - PAPER_COHORT[name]:>+9,}")
    return [*lines, *CAVEATS]
