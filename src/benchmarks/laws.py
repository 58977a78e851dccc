"""How often intervals of the scaling analysis hold the truth, on grids whose law is known.

`python -m src.benchmarks.laws` analyses grids of 3 sizes x 3 lengths x 3 seeds; once where the law holds, and once
where a large model makes more of a long context than a small one does, which no sum of two laws can say. An interval of
95 % should hold the truth 95 times in 100; the standard error of a share is printed beside it.
"""

import math
import sys
from collections import defaultdict

from src.cli.progress import track
from src.scaling_analysis.analysis import analyse
from src.scaling_analysis.result import Scaling
from src.scaling_analysis.run_sources import Source
from src.testing.made_up_runs import SIZES, Truth, grid_of

METRIC, BOTH = "test/accuracy", ("params", "max_len")


def main(grids: int = 200) -> None:
    """Prints a table of shares."""
    truths = {"the law holds": Truth(), "an interaction": Truth(together=0.05)}
    for name, truth in truths.items():
        hits: dict[str, list[bool]] = defaultdict(list)
        misses = []
        for draw in track(range(grids), total=grids, what=name, unit="grid"):
            found = analyse(Source(tuple(grid_of(truth, draw=draw))), metrics=[METRIC], seed=draw)
            for what, held in _held(found, truth):
                hits[what].append(held)
            misses.append((abs(found.held_out[0].error), abs(found.held_out[0].no_growth - found.held_out[0].measured)))
        print(f"\n{name}: {grids} grids of 9 cells x 3 seeds; share of intervals of 95 % that hold the truth")
        for what, each in hits.items():
            share = sum(each) / len(each)
            print(f"  {what:<44} {share:.3f} +- {math.sqrt(share * (1 - share) / grids):.3f}")
        fit, none = (sum(each) / grids for each in zip(*misses, strict=True))
        print(f"  mean error about the cell held out: {fit:.4f}; of saying that it gets no better: {none:.4f}")


def _held(found: Scaling, truth: Truth) -> list[tuple[str, bool]]:
    def of(at: int) -> float:
        return truth.accuracy(found.cells[at].axes["params"], found.cells[at].axes["max_len"])

    (fit,), held = found.fits_of(METRIC, BOTH), found.held_out[0]
    told = [
        ("a cell's mean, seeds and patients", each.metrics[METRIC].both, of(at)) for at, each in enumerate(found.cells)
    ]
    told += [("a difference of neighbours", each.both, of(each.one) - of(each.other)) for each in found.differences]
    rows = [(what, each.low <= value <= each.high) for what, each, value in told]
    points = {
        "the curve in the midst of the grid": (SIZES["pico"], 192),
        "the curve at the largest cell": (SIZES["nano"], 384),
    }
    for what, point in points.items():
        _, low, high = fit.at([point])
        rows.append((what, bool(low[0] <= truth.accuracy(*point) <= high[0])))
    for each in found.predictions:
        if each.why in ("next size", "next length", "next size and length") and found.fits[each.fit].over == BOTH:
            value = truth.accuracy(each.at["params"], each.at["max_len"])
            rows.append((f"prediction: {each.why}", each.low <= value <= each.high))
    rows.append(("the cell held out, as measured", held.low <= held.measured <= held.high))
    for name, value in (("a", 1 - truth.e), ("c", truth.c), ("f", truth.f)):
        parameter = fit.parameters[name]
        if not truth.together:
            rows.append((f"the law's {name}", parameter.low <= value <= parameter.high))
    return rows


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
