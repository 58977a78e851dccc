"""A desk's log and adjudicated DRGs of simulated coders, whose true effects are known."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from src.coding_study.allocation import Allocation, allocate
from src.coding_study.desk_log import LOG
from src.coding_study.simulated_coders import Assumptions, simulate

ASSUMED = Assumptions(600, 0.7, 0.9, 0.3, 0.4, 0.1, 0.3, 0.6, 0.2, 0.3, 0.8, 0.2)
DRGS = ("193", "291", "292", "470", "683", "871")


def made_cases(count: int) -> pl.DataFrame:
    draw = np.random.default_rng(count)
    mdc = [f"{number:02d}" for number in draw.integers(1, 6, count)]
    return pl.DataFrame({"id": [f"e{i}" for i in range(count)], "words": draw.integers(80, 900, count), "mdc": mdc})


def made_allocation(coders: int = 6, cases: int = 20, cases_each: int | None = None, seed: int = 0) -> Allocation:
    return allocate(made_cases(cases), [f"coder {number}" for number in range(coders)], cases_each, seed)


def write_rows(path: Path, head: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])
    return path


def write_log(folder: Path, allocation: Allocation, seed: int = 0) -> None:
    """`log.csv` and `adjudicated.csv`; seven of ten proposals are right, and every eleventh case is visited twice."""
    draw = np.random.default_rng(seed)
    log_seconds, right = (part[:, 0] for part in simulate(allocation.readings(), ASSUMED, 1, draw))
    cases = sorted(allocation.rows["case"].unique())
    adjudicated = {case: DRGS[index] for case, index in zip(cases, draw.integers(6, size=len(cases)), strict=True)}
    proposed = {
        case: drg if draw.random() < 0.7 else DRGS[(DRGS.index(drg) + 1) % 6] for case, drg in adjudicated.items()
    }
    rows = []
    for number, (coder, period, _, case, arm, _, _) in enumerate(allocation.rows.rows()):
        wrong = proposed[case] if proposed[case] != adjudicated[case] else DRGS[(DRGS.index(adjudicated[case]) + 2) % 6]
        decided = adjudicated[case] if right[number] else wrong
        action = "decide" if arm == "alone" else "accept" if decided == proposed[case] else "override"
        seconds = float(np.exp(log_seconds[number]))
        when = f"2026-11-{number % 28 + 1:02d}T10:00:00+00:00"
        if number % 11 == 0:
            rows.append(
                [when, coder, case, arm, period, proposed[case], "", "defer", "later", seconds / 2, arm, "m", "c"]
            )
            seconds /= 2
        rows.append([when, coder, case, arm, period, proposed[case], decided, action, "", seconds, arm, "m", "c"])
    write_rows(folder / "log.csv", LOG, rows)
    write_rows(folder / "adjudicated.csv", ["case", "drg"], list(adjudicated.items()))
