"""What came out, in sentences made of numbers."""

from collections.abc import Mapping, Sequence

from src.display.catalog import COORDINATES, MAIN, Axis, axis_of
from src.display.published import PUBLISHED
from src.display.tables import Estimate, shown
from src.reporting.device_hours import Cost, unit_of
from src.reporting.law_tables import point
from src.reporting.series import METRICS, drawn_cells, intervals_in_words, main_ground, name_of, tuned, upper
from src.scaling_analysis.result import Cell, Difference, HeldOut, Scaling


def summarise_findings(scaling: Scaling, costs: Mapping[int, Cost]) -> list[str]:
    """Sentences on the best cell, each axis, the fits and the cost; only what the runs can tell."""
    said = [*_best(scaling), *_against_baselines(scaling)]
    for axis in COORDINATES:
        said += _axis(scaling, axis)
    said += _as_published(scaling)
    for metric in METRICS:
        said += _laws(scaling, metric)
    return said + _cost(costs) + _gaps(scaling)


def best_cell(scaling: Scaling, metric: str) -> int | None:
    """The cell that is best on validation, so that the test is not what chose it; on the test where that is unknown."""
    places = tuned(scaling, metric) or drawn_cells(scaling, metric)
    if not places:
        return None
    validation = metric.replace("test/", "val/")
    known = all(validation in scaling.cells[at].metrics for at in places)
    return max(places, key=lambda at: scaling.cells[at].metrics[validation if known else metric].mean)


def _told(cell: Cell, metric: str) -> str:
    each = cell.metrics[metric]
    return shown(Estimate(each.mean, each.low, each.high))


def _best(scaling: Scaling) -> list[str]:
    at = best_cell(scaling, MAIN)
    if at is None:
        return []
    cell = scaling.cells[at]
    metrics = [f"{name} {_told(cell, metric)}" for metric, name in METRICS.items() if metric in cell.metrics]
    over = "one seed; interval of 95 % over test patients"
    if cell.seeds > 1:
        over = f"mean of {cell.seeds} seeds; {intervals_in_words([cell], MAIN)}"
    count = len(tuned(scaling, MAIN) or drawn_cells(scaling, MAIN))
    chosen = (
        f", the best of {count} cells on validation,"
        if count > 1 and MAIN.replace("test", "val") in cell.metrics
        else ""
    )
    return [f"{upper(name_of(scaling, at))}{chosen} has {' and '.join(metrics)} on the test ({over})."]


def _against_baselines(scaling: Scaling) -> list[str]:
    best = best_cell(scaling, MAIN)
    others = sorted(set(drawn_cells(scaling, MAIN)) - set(tuned(scaling, MAIN)))
    others = [at for at in others if scaling.cells[at].axes["model"] != "codes_upper_bound"]
    if best is None or not others or not tuned(scaling, MAIN):
        return []
    top = max(others, key=lambda at: scaling.cells[at].metrics[MAIN].mean)
    told = _told(scaling.cells[top], MAIN)
    return [f"The best of {len(others)} baselines by macro-F1 is {name_of(scaling, top)} with {told}."]


def _axis(scaling: Scaling, axis: Axis) -> list[str]:
    said = []
    for metric, name in METRICS.items():
        ground = main_ground(scaling)
        found = [
            each for each in scaling.differences if (each.metric, each.axis, each.ground) == (metric, axis.key, ground)
        ]
        if found:
            said.append(_verdict(scaling, axis, name, found))
    return said


def _verdict(scaling: Scaling, axis: Axis, name: str, found: Sequence[Difference]) -> str:
    if len(found) == 1:
        (each,) = found
        value = shown(Estimate(each.value, each.both.low, each.both.high))
        sure = "beyond doubt" if each.p_holm < 0.05 else "not beyond doubt"
        pair = f"{name_of(scaling, each.one)} less {name_of(scaling, each.other)}"
        return f"{upper(axis.name)}: {pair} is {value} in {name}, {sure} at 5 % (p = {each.p_holm:.2g})."
    up = sum(each.value > 0 for each in found)
    sure_up = sum(each.value > 0 and each.p_holm < 0.05 for each in found)
    sure_down = sum(each.value < 0 and each.p_holm < 0.05 for each in found)
    mean = sum(each.value for each in found) / len(found)
    largest = max(found, key=lambda each: abs(each.value))
    value = shown(Estimate(largest.value, largest.both.low, largest.both.high))
    verdict = (
        "helps" if sure_up and not sure_down else "hurts" if sure_down and not sure_up
        else "helps here and hurts there" if sure_up else "makes no difference that can be told"
    )  # fmt: skip
    if not axis.number and (sure_up or sure_down):
        verdict = "makes a difference"
    pair = f"{name_of(scaling, largest.one)} less {name_of(scaling, largest.other)}"
    return (
        f"{axis.more} {verdict} in {name}: {up} of {len(found)} steps from one {axis.unit} to the next gain, "
        f"{sure_up} beyond doubt; {sure_down} lose beyond doubt (at 5 %, Holm). The mean step is {mean:+.3f}, "
        f"the largest {value}: {pair}."
    )


def _as_published(scaling: Scaling) -> list[str]:
    """What the paper's larger base with more context brought, beside what the largest brought here."""
    places = tuned(scaling, MAIN)
    if len(places) < 2 or not {"params", "max_len"} & set(scaling.varied):
        return []
    small, large = (row for row in PUBLISHED if row.labels == "single" and row.max_len and row.params)
    least, most = (pick(places, key=lambda at: _extent(scaling.cells[at])) for pick in (min, max))
    there, here = [], []
    for metric, name in METRICS.items():
        there.append(f"{large.metrics[metric] - small.metrics[metric]:+.3f} {name}")
        step = scaling.cells[most].metrics[metric].mean - scaling.cells[least].metrics[metric].mean
        here.append(f"{step:+.3f} {name}")
    return [
        f"In the paper {large.system} at {large.max_len:,} tokens has {' and '.join(there)} over {small.system} at "
        f"{small.max_len}, size and context changed together and without an interval; here "
        f"{name_of(scaling, most)} has {' and '.join(here)} over {name_of(scaling, least)}, on other notes."
    ]


def _extent(cell: Cell) -> tuple[int, int]:
    return cell.axes["params"], cell.axes["max_len"]


def _laws(scaling: Scaling, metric: str) -> list[str]:
    said = []
    found = [each for each in scaling.predictions if each.metric == metric and each.why.startswith("next")]
    together = [each for each in found if len(scaling.fits[each.fit].over) > 1]
    chosen = (together or found)[:3]
    if chosen:
        over = " and ".join(axis_of(name).name for name in scaling.fits[chosen[0].fit].over)
        told = [
            f"{shown(Estimate(each.value, each.low, each.high))} for the {each.why} ({point(each.at)})"
            for each in chosen
        ]
        said.append(f"The fit over {over} predicts {METRICS[metric]} {'; '.join(told)}.")
    held = [each for each in scaling.held_out if each.metric == metric]
    return said + ([_held_often(held, metric)] if len(held) > 2 else [_held(scaling, each, metric) for each in held])


def _held_often(held: Sequence[HeldOut], metric: str) -> str:
    inside = sum(each.low <= each.measured <= each.high for each in held)
    nearer = sum(abs(each.error) < abs(each.no_growth - each.measured) for each in held)
    off = sum(abs(each.error) for each in held) / len(held)
    return (
        f"Held out of {len(held)} fits, the largest cell was measured inside the interval predicted for its "
        f"{METRICS[metric]} {inside} times; the predictions were off by {off:.3f} in the mean, and nearer than saying "
        f"that it gets no better {nearer} times."
    )


def _held(scaling: Scaling, each: HeldOut, metric: str) -> str:
    over = " and ".join(axis_of(name).name for name in each.over)
    inside = "inside" if each.low <= each.measured <= each.high else "outside"
    nearer = "nearer than" if abs(each.error) < abs(each.no_growth - each.measured) else "no nearer than"
    told = shown(Estimate(each.predicted, each.low, each.high))
    return (
        f"Held out, {name_of(scaling, each.cell)} was predicted by the fit over {over} through {each.points} cells as "
        f"{told} in {METRICS[metric]} and measured as {each.measured:.3f}: {inside} the interval, and {nearer} saying "
        "that it gets no better."
    )


def _cost(costs: Mapping[int, Cost]) -> list[str]:
    if not costs:
        return []
    every = list(costs.values())
    hours, runs = sum(cost.hours for cost in every), sum(cost.runs for cost in every)
    return [
        f"The {runs:,} runs took {_hours(hours)} {unit_of(every)} of training and test."
        if runs > 1
        else f"The run took {_hours(hours)} {unit_of(every)}."
    ]


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"


def _gaps(scaling: Scaling) -> list[str]:
    if not scaling.missing:
        return []
    standings: dict[str, int] = {}
    for each in scaling.missing:
        standings[each.standing] = standings.get(each.standing, 0) + 1
    told = ", ".join(f"{count} {standing}" for standing, count in sorted(standings.items()))
    return [f"{len(scaling.missing)} more runs belong to the grid and are not finished ({told}); they are named below."]
