"""Analyses runs, from cells to what is missing."""

from collections.abc import Sequence
from pathlib import Path

from src.cohort.disclosure import MIN_GROUP_PATIENTS
from src.runs.record import of_apr
from src.scaling_analysis.differences import differences
from src.scaling_analysis.fits import fits, held_out, predictions
from src.scaling_analysis.grid import Grid, gather
from src.scaling_analysis.missing_runs import missing_runs
from src.scaling_analysis.resampling import Resampler, read_parts
from src.scaling_analysis.result import FLOP, Scaling
from src.scaling_analysis.run_sources import Source

METRICS = ("test/accuracy", "test/macro_f1", "val/loss")
"""What is compared and fitted; every cell has all metrics."""

ALWAYS = (
    "Intervals are of 95 %: `seeds` for other seeds on these test patients (Student's t), `patients` for other test "
    "patients with these seeds, `both` for both together. A loss has no patients' interval.",
    "Bands and predictions hold the uncertainty of the points, and as far as there are more points than parameters the "
    "law's own, its misfit; how wrong it was about the cell that was held out says more.",
    FLOP,
)


def analyse(
    source: Source,
    *,
    seed: int = 0,
    metrics: Sequence[str] = METRICS,
    predictions_of: int = 100,
    data_dir: Path | None = None,
) -> Scaling:
    """Analyses the runs of a source together; the same runs and seed give the same numbers.

    Args:
        source: finished runs, and what is known to be missing.
        seed: of the resampling.
        metrics: what is compared and fitted, those that no run has left out.
        predictions_of: runs up to which their predictions are read, so that patients are drawn for all runs at once.
        data_dir: where the prepared cohort lies now; None takes the place that the records name.
    """
    grid = gather(source.runs)
    wanted = tuple(name for name in metrics if any(name in cell.metrics for cell in grid.cells))
    parts, sampling_notes = read_parts(grid, wanted, predictions_of, data_dir)
    noise = Resampler(grid, parts, seed)
    missing, missing_notes = ([], []) if source.closed else missing_runs(grid, source.unfinished)
    fitted = fits(grid, noise, wanted)
    return Scaling(
        grounds=grid.grounds,
        cells=grid.cells,
        varied=grid.free,
        differences=differences(grid, noise, wanted),
        fits=fitted,
        predictions=predictions(grid, fitted, seed),
        held_out=held_out(grid, noise, wanted),
        missing=(*source.unfinished, *missing),
        notes=(*_hidden(source), *grid.notes, *sampling_notes, *missing_notes, *_few(grid), *ALWAYS),
        seed=seed,
        apr=of_apr(run.record for run in source.runs),
    )


def _hidden(source: Source) -> list[str]:
    hidden = sum(bool(run.few) for run in source.runs)
    return (
        [f"metrics of {hidden} runs are left out: they are of fewer than {MIN_GROUP_PATIENTS} patients"]
        if hidden
        else []
    )


def _few(grid: Grid) -> list[str]:
    single = sum(cell.seeds < 2 for cell in grid.cells)
    if not single:
        return []
    return [f"{single} of {len(grid.cells)} cells have one seed: their own intervals hold the patients' part only"]
