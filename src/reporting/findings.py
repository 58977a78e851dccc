"""Says what came out, in sentences made of numbers."""

from collections.abc import Mapping, Sequence

from src.display.catalog import COORDINATES, MAIN, Axis, axis_of
from src.display.published import PUBLISHED
from src.display.tables import Estimate, shown
from src.reporting.device_hours import Cost, unit_of
from src.reporting.law_tables import point
from src.reporting.series import METRICS, baselines, compared, intervals_in_words, main_ground, name_of, tuned, upper
from src.scaling_analysis.result import Cell, Difference, HeldOut, Scaling


def summarise_findings(scaling: Scaling, costs: Mapping[int, Cost]) -> list[str]:
    """Writes sentences on the best cell, each axis, the fits and the cost; only what the runs can tell."""
    said = [*_best(scaling), *_against_baselines(scaling)]
    for axis in COORDINATES:
        said += _axis(scaling, axis)
    said += _as_published(scaling)
    for metric in METRICS:
        said += _laws(scaling, metric)
    return said + _cost(costs) + _gaps(scaling)


def best_cell(scaling: Scaling, metric: str) -> int | None:
    """Picks the best cell on validation, so that the test does not choose it; on the test where that is unknown."""
    indices = tuned(scaling, metric) or compared(scaling, metric)
    if not indices:
        return None
    validation = metric.replace("test/", "val/")
    validated = all(validation in scaling.cells[index].metrics for index in indices)
    return max(indices, key=lambda index: scaling.cells[index].metrics[validation if validated else metric].mean)


def _with_interval(cell: Cell, metric: str) -> str:
    measured = cell.metrics[metric]
    return shown(Estimate(measured.mean, measured.low, measured.high))


def _best(scaling: Scaling) -> list[str]:
    index = best_cell(scaling, MAIN)
    if index is None:
        return []
    cell = scaling.cells[index]
    metrics = [f"{name} {_with_interval(cell, metric)}" for metric, name in METRICS.items() if metric in cell.metrics]
    over = "one seed; interval of 95 % over test patients"
    if cell.seeds > 1:
        over = f"mean of {cell.seeds} seeds; {intervals_in_words([cell], MAIN)}"
    count = len(tuned(scaling, MAIN) or compared(scaling, MAIN))
    selection = (
        f", the best of {count} cells on validation,"
        if count > 1 and MAIN.replace("test", "val") in cell.metrics
        else ""
    )
    return [f"{upper(name_of(scaling, index))}{selection} has {' and '.join(metrics)} on the test ({over})."]


def _against_baselines(scaling: Scaling) -> list[str]:
    best = best_cell(scaling, MAIN)
    indices = baselines(scaling, MAIN)
    if best is None or not indices or not tuned(scaling, MAIN):
        return []
    top = max(indices, key=lambda index: scaling.cells[index].metrics[MAIN].mean)
    score = _with_interval(scaling.cells[top], MAIN)
    return [f"The best of {len(indices)} baselines by macro-F1 is {name_of(scaling, top)} with {score}."]


def _axis(scaling: Scaling, axis: Axis) -> list[str]:
    said = []
    for metric, name in METRICS.items():
        ground = main_ground(scaling)
        steps = [
            difference
            for difference in scaling.differences
            if (difference.metric, difference.axis, difference.ground) == (metric, axis.key, ground)
        ]
        if steps:
            said.append(_verdict(scaling, axis, name, steps))
    return said


def _verdict(scaling: Scaling, axis: Axis, name: str, steps: Sequence[Difference]) -> str:
    if len(steps) == 1:
        (step,) = steps
        value = shown(Estimate(step.value, step.both.low, step.both.high))
        sure = "beyond doubt" if step.p_holm < 0.05 else "not beyond doubt"
        pair = f"{name_of(scaling, step.one)} less {name_of(scaling, step.other)}"
        return f"{upper(axis.name)}: {pair} is {value} in {name}, {sure} at 5 % (p = {step.p_holm:.2g})."
    up = sum(step.value > 0 for step in steps)
    sure_up = sum(step.value > 0 and step.p_holm < 0.05 for step in steps)
    sure_down = sum(step.value < 0 and step.p_holm < 0.05 for step in steps)
    mean = sum(step.value for step in steps) / len(steps)
    largest = max(steps, key=lambda step: abs(step.value))
    value = shown(Estimate(largest.value, largest.both.low, largest.both.high))
    verdict = (
        "helps" if sure_up and not sure_down else "hurts" if sure_down and not sure_up
        else "helps here and hurts there" if sure_up else "makes no difference that can be told"
    )  # fmt: skip
    if not axis.number and (sure_up or sure_down):
        verdict = "makes a difference"
    pair = f"{name_of(scaling, largest.one)} less {name_of(scaling, largest.other)}"
    return (
        f"{axis.more} {verdict} in {name}: {up} of {len(steps)} steps from one {axis.unit} to the next gain, "
        f"{sure_up} beyond doubt; {sure_down} lose beyond doubt (at 5 %, Holm). The mean step is {mean:+.3f}, "
        f"the largest {value}: {pair}."
    )


def _as_published(scaling: Scaling) -> list[str]:
    """Compares what the paper's larger base with more context brought with what the largest brought here."""
    indices = tuned(scaling, MAIN)
    if len(indices) < 2 or not {"params", "max_len"} & set(scaling.varied):
        return []
    small, large = (row for row in PUBLISHED if row.labels == "single" and row.max_len and row.params)
    least, most = (pick(indices, key=lambda index: _extent(scaling.cells[index])) for pick in (min, max))
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
    ahead = [
        prediction
        for prediction in scaling.predictions
        if prediction.metric == metric and prediction.why.startswith("next")
    ]
    together = [prediction for prediction in ahead if len(scaling.fits[prediction.fit].over) > 1]
    quoted = (together or ahead)[:3]
    if quoted:
        over = " and ".join(axis_of(name).name for name in scaling.fits[quoted[0].fit].over)
        phrases = [
            f"{shown(Estimate(prediction.value, prediction.low, prediction.high))} "
            f"for the {prediction.why} ({point(prediction.at)})"
            for prediction in quoted
        ]
        said.append(f"The fit over {over} predicts {METRICS[metric]} {'; '.join(phrases)}.")
    held_out = [case for case in scaling.held_out if case.metric == metric]
    return said + (
        [_held_often(held_out, metric)] if len(held_out) > 2 else [_held(scaling, case, metric) for case in held_out]
    )


def _held_often(cases: Sequence[HeldOut], metric: str) -> str:
    inside = sum(case.low <= case.measured <= case.high for case in cases)
    nearer = sum(abs(case.error) < abs(case.no_growth - case.measured) for case in cases)
    off = sum(abs(case.error) for case in cases) / len(cases)
    return (
        f"Held out of {len(cases)} fits, the largest cell was measured inside the interval predicted for its "
        f"{METRICS[metric]} {inside} times; the predictions were off by {off:.3f} in the mean, and nearer than saying "
        f"that it gets no better {nearer} times."
    )


def _held(scaling: Scaling, case: HeldOut, metric: str) -> str:
    over = " and ".join(axis_of(name).name for name in case.over)
    inside = "inside" if case.low <= case.measured <= case.high else "outside"
    nearer = "nearer than" if abs(case.error) < abs(case.no_growth - case.measured) else "no nearer than"
    predicted = shown(Estimate(case.predicted, case.low, case.high))
    return (
        f"Held out, {name_of(scaling, case.cell)} was predicted by the fit over {over} through {case.points} cells as "
        f"{predicted} in {METRICS[metric]} and measured as {case.measured:.3f}: {inside} the interval, and {nearer} "
        "saying that it gets no better."
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
    for run in scaling.missing:
        standings[run.standing] = standings.get(run.standing, 0) + 1
    counts = ", ".join(f"{count} {standing}" for standing, count in sorted(standings.items()))
    return [
        f"{len(scaling.missing)} more runs belong to the grid and are not finished ({counts}); they are named below."
    ]
