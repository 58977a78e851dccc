"""Counts how often intervals of the scaling analysis hold the truth, on grids whose law is known.

`python -m src.benchmarks.laws [grids=200]` analyses grids of 3 sizes x 3 lengths x 3 seeds; once where the law holds,
and once where a large model makes more of a long context than a small one does, which no sum of two laws can say. An
interval of 95 % should hold the truth 95 times in 100; the standard error of a share is printed beside it.
"""

import math
import sys
from collections import defaultdict

from src.benchmarks.settings import read_settings
from src.cli.command import report_user_errors
from src.cli.progress import track
from src.scaling_analysis.analysis import analyse
from src.scaling_analysis.result import Scaling
from src.scaling_analysis.run_sources import Source
from src.testing.made_up_runs import SIZES, Truth, grid_of

METRIC, BOTH = "test/accuracy", ("params", "max_len")


def main(grids: int = 200) -> None:
    """Prints a table of shares."""
    truths = {"the law holds": Truth(), "an interaction": Truth(together=0.05)}
    for name, law in truths.items():
        hits: dict[str, list[bool]] = defaultdict(list)
        misses = []
        for draw in track(range(grids), total=grids, what=name, unit="grid"):
            scaling = analyse(Source(tuple(grid_of(law, draw=draw))), metrics=[METRIC], seed=draw)
            for label, covered in _covered(scaling, law):
                hits[label].append(covered)
            held_out = scaling.held_out[0]
            misses.append((abs(held_out.error), abs(held_out.no_growth - held_out.measured)))
        print(f"\n{name}: {grids} grids of 9 cells x 3 seeds; share of intervals of 95 % that hold the truth")
        for label, covered_by_grid in hits.items():
            share = sum(covered_by_grid) / len(covered_by_grid)
            print(f"  {label:<44} {share:.3f} +- {math.sqrt(share * (1 - share) / grids):.3f}")
        fit, none = (sum(errors) / grids for errors in zip(*misses, strict=True))
        print(f"  mean error about the cell held out: {fit:.4f}; of saying that it gets no better: {none:.4f}")


def _covered(scaling: Scaling, law: Truth) -> list[tuple[str, bool]]:
    def of(index: int) -> float:
        return law.accuracy(scaling.cells[index].axes["params"], scaling.cells[index].axes["max_len"])

    (fit,), held_out = scaling.fits_of(METRIC, BOTH), scaling.held_out[0]
    checked = [
        ("a cell's mean, seeds and patients", cell.metrics[METRIC].both, of(index))
        for index, cell in enumerate(scaling.cells)
    ]
    checked += [
        ("a difference of neighbours", step.both, of(step.one) - of(step.other)) for step in scaling.differences
    ]
    rows = [(label, interval.low <= value <= interval.high) for label, interval, value in checked]
    points = {
        "the curve in the midst of the grid": (SIZES["pico"], 192),
        "the curve at the largest cell": (SIZES["nano"], 384),
    }
    for label, point in points.items():
        _, low, high = fit.at([point])
        rows.append((label, bool(low[0] <= law.accuracy(*point) <= high[0])))
    for prediction in scaling.predictions:
        over = scaling.fits[prediction.fit].over
        if prediction.why in ("next size", "next length", "next size and length") and over == BOTH:
            value = law.accuracy(prediction.at["params"], prediction.at["max_len"])
            rows.append((f"prediction: {prediction.why}", prediction.low <= value <= prediction.high))
    rows.append(("the cell held out, as measured", held_out.low <= held_out.measured <= held_out.high))
    for name, value in (("a", 1 - law.e), ("c", law.c), ("f", law.f)):
        parameter = fit.parameters[name]
        if not law.together:
            rows.append((f"the law's {name}", parameter.low <= value <= parameter.high))
    return rows


if __name__ == "__main__":
    with report_user_errors():
        main(**read_settings(sys.argv[1:], {"grids": 200}))
