"""Scores a finished run again, compares with its record, and reports: `python -m src.evaluate run=runs/NAME`."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from src.cli.command import command, with_first_named
from src.cli.errors import UserError
from src.cli.files import check_folder, private_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from src.cohort.split import Split
    from src.config.train import TrainConfig
    from src.runs.predictions import Predictions


@dataclass
class EvaluateConfig:
    """Scores a finished run's test notes again, compares every number with its record, and reports."""

    run: str
    """Folder of a finished run."""
    data_dir: str | None
    """Where the prepared cohort lies now; null takes the place that the run's record names."""
    device: str
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    prefixes: list[int]
    """Fewer tokens than the run's `max_len`, for the accuracy that they alone give; empty for none."""
    table5: str | None
    """CMS's Table 5 with the relative weights; null takes the one of FY 2026 that comes with the project."""

    def problems(self) -> list[str]:
        """One line for each value that cannot be."""
        from src.runs.folder import RunFolder

        problems = []
        if not RunFolder(Path(self.run)).record.is_file():
            problems.append(f"run={self.run}: no result.json there; it is the folder of a finished run, as runs/NAME")
        if any(length < 16 for length in self.prefixes):
            problems.append(f"prefixes={self.prefixes}: must be numbers of at least 16")
        if self.table5 is not None and not Path(self.table5).is_file():
            problems.append(f"table5={self.table5}: no such file; it is a CMS Table 5 as text, FY 2017 for v34")
        return problems


TOLERANCE = 1e-6
"""Metrics of the same weights on the same device agree to this."""


def evaluate(cfg: EvaluateConfig) -> dict[str, float]:
    """Loads the run's model, scores validation and test, and writes what they say.

    With `prefixes` it also tells what fewer tokens give, and leaves that curve in the run's folder.

    Returns:
        The metrics, as `result.json` names them.

    Raises:
        UserError: the cohort is another one, weights are missing, or a metric differs from the record.
    """
    from src.cohort.prepared import read_cohort
    from src.config.train import Kind
    from src.evaluation.evaluation_report import read_material, write_report
    from src.evaluation.metrics_table import table
    from src.evaluation.reopen import config_of
    from src.runs.folder import RunFolder
    from src.runs.record import read_record
    from src.training.outcome import measured

    run = Path(cfg.run)
    record = read_record(run)
    check_folder(RunFolder(run).evaluation, "the report is written there")
    private_folder(run, whole=True)
    trained = config_of(record, cfg.device, cfg.data_dir, run)
    cohort = read_cohort(Path(trained.data.dir))
    material = read_material(run, cohort, trained, cfg.table5)
    if remark := material.weights.coverage([label.code for label in cohort.labels if label.base_drg]):
        print(remark)
    score = score_llama if trained.model.kind is Kind.LLAMA else score_baseline
    predictions, cut = score(trained, run, cfg.prefixes)
    metrics: dict[str, float] = {}
    for split, scored in predictions.items():
        metrics |= measured(scored, split, material.space)
    print(table({run.name: metrics}))
    worst = max(abs(metrics[name] - value) for name, value in record.metrics.items() if value is not None)
    if worst > TOLERANCE:
        raise UserError(
            f"{run}: the numbers differ by {worst:.1e}, more than {TOLERANCE}; was it trained on another device?"
        )
    print(f"report: {write_report(run, material, cut)}")
    print(f"largest difference from {RunFolder(run).record}: {worst:.1e}")
    return metrics


Scored = tuple["Mapping[Split, Predictions]", "NDArray[np.bool_] | None"]
"""Predictions of validation and test, and which test notes the model read the beginning of only."""


def score_llama(cfg: "TrainConfig", run: Path, prefixes: "Sequence[int]") -> Scored:
    """Rebuilds a LLaMA from its base and the run's adapters, and scores; also what fewer tokens give, if asked."""
    from src.cohort.split import Split
    from src.evaluation.prefixes import measure_prefixes, report_prefixes
    from src.models.classifier import load_adapters
    from src.runs.folder import SCORED, RunFolder
    from src.training.context import open_session
    from src.training.outcome import score_split

    if over := [length for length in prefixes if length > cfg.max_len]:
        raise UserError(f"prefixes={over}: above max_len={cfg.max_len}, with which {run} was trained")
    session = open_session(cfg)
    classifier = load_adapters(session.base(), RunFolder(run).adapter, session.scheme.width, session.device)
    scored = {split: score_split(session, classifier, session.notes(split), split)[0] for split in SCORED}
    if prefixes:
        lengths = sorted({*prefixes, cfg.max_len})
        curves = {split: measure_prefixes(session, classifier, split, lengths) for split in SCORED}
        print(report_prefixes(session, curves, run))
    return scored, session.cut(Split.TEST)


def score_baseline(cfg: "TrainConfig", run: Path, prefixes: "Sequence[int]") -> Scored:
    """Loads a baseline and scores."""
    from src.baselines.baseline_run import load_baseline, scored

    if prefixes:
        raise UserError(f"prefixes={prefixes}: model={cfg.model.name} reads words, not tokens; leave prefixes out")
    return dict(scored(*load_baseline(cfg, run))), None


def main() -> None:
    """The command; its first word may be the run alone."""
    sys.argv[1:] = with_first_named(sys.argv[1:], "run")
    command(EvaluateConfig, "evaluate", evaluate)


if __name__ == "__main__":
    main()
