"""Says what so many coders and cases can show: the share of simulated studies whose interval leaves out no effect."""

import numpy as np

from src.coding_study.crossed import effect_of
from src.coding_study.simulated_coders import Assumptions, Readings, simulate
from src.display.tables import Column, Table

USUAL = 1.43
"""An effect of so many reaches of its interval is shown by 80 of 100 studies: (1.96 + 0.84) / 1.96."""


def power_table(readings: Readings, assumed: Assumptions, studies: int, seed: int) -> Table:
    """Simulates studies of the readings, and analyses each as `src.study analyse` does.

    Args:
        readings: who reads what.
        assumed: true effects and spreads.
        studies: how many are simulated.
        seed: of the simulation.
    """
    effect = effect_of(readings.coders, readings.cases, readings.assisted, readings.late)
    assert effect is not None  # half of the coders begin with assistance
    seconds, right = simulate(readings, assumed, studies, np.random.default_rng(seed))
    rows = []
    for name, values, true in (
        ("log seconds", seconds, float(np.log(assumed.ratio))),
        ("accuracy", right, assumed.gain),
    ):
        value, reach = effect.estimates(values)
        middle = float(np.median(reach))
        rows.append((name, true, float(np.mean(np.abs(value) > reach)), middle, USUAL * middle))
    columns = [
        Column("outcome", "outcome"),
        Column("effect", "assumed effect"),
        Column("power", "power", 0, percent=True),
        Column("reach", "interval reaches"),
        Column("detectable", "shown by 80 of 100"),
    ]
    return Table("power", "What so many coders and cases can show", columns, rows)
