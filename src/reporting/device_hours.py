"""Counts what runs took: hours of the device that they ran on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from src.runs.finished import Run
from src.scaling_analysis.result import Scaling

KINDS = {"cpu": "CPU", "cuda": "GPU"}


@dataclass(frozen=True)
class Cost:
    """Holds what the runs of one cell took."""

    device: str
    """`GPU`, `CPU`, or empty where the source does not say."""
    runs: int
    """Runs whose time is known."""
    hours: float
    """Of all of them: of training and test, times the devices that each ran on."""

    @property
    def hours_a_run(self) -> float:
        """Is the mean over the runs."""
        return self.hours / self.runs


def device_of(run: Run) -> str:
    """Names the device a run ran on; empty where its record does not say.

    >>> from src.runs.record import RunRecord
    >>> cpu = RunRecord(axes={}, cohort="3f2a", metrics={}, versions={"torch": "2.13.0+cpu"})
    >>> device_of(Run("a", cpu)), device_of(Run("b", RunRecord(axes={}, cohort="3f2a", metrics={}, device="cuda:1")))
    ('CPU', 'GPU')
    """
    names = run.record.device, run.record.config.get("device")
    for name in names:
        kind = str(name).partition(":")[0]
        if kind in KINDS:
            return KINDS[kind]
    return "CPU" if str(run.record.versions.get("torch", "")).endswith("+cpu") else ""


def hours_of(run: Run) -> float | None:
    """Counts the device-hours of a run; None where its seconds are not known."""
    seconds = run.record.seconds.get("total")
    config = run.record.config
    devices = int(config.get("devices") or 1) * int(config.get("nodes") or 1)
    return None if not seconds else float(seconds) * devices / 3600


def costs_of(scaling: Scaling, runs: Mapping[str, Run]) -> dict[int, Cost]:
    """Adds up the cost of each cell, by its place; cells whose time is not known are left out.

    Args:
        scaling: the analysis.
        runs: by name.
    """
    costs = {}
    for index, cell in enumerate(scaling.cells):
        mine = [runs[name] for name in cell.runs]
        measured = [hours for hours in map(hours_of, mine) if hours is not None]
        if measured:
            devices = {device_of(run) for run in mine}
            costs[index] = Cost(devices.pop() if len(devices) == 1 else "", len(measured), sum(measured))
    return costs


def unit_of(costs: Sequence[Cost]) -> str:
    """Names the unit of the hours of some cells.

    >>> unit_of([Cost("CPU", 1, 2.0), Cost("CPU", 1, 1.0)]), unit_of([Cost("CPU", 1, 2.0), Cost("GPU", 1, 1.0)])
    ('CPU-hours', 'device-hours')
    """
    devices = {cost.device for cost in costs}
    return f"{devices.pop()}-hours" if len(devices) == 1 and "" not in devices else "device-hours"
