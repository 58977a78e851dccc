"""Scores a finished run again, compares with its record, and reports: `python -m src.evaluate run=runs/NAME`."""

import sys
from dataclasses import dataclass
from pathlib import Path

from src.cli.command import command, with_first_named
from src.cli.errors import UserError
from src.cli.files import check_folder, private_folder


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
    """CMS's Table 5 with the relative weights; null takes that of the version's year, where it is at hand."""

    def problems(self) -> list[str]:
        """Lists one line for each value that cannot be."""
        from src.runs.folder import RunFolder

        problems = RunFolder(Path(self.run)).problems()
        if any(length < 16 for length in self.prefixes):
            problems.append(f"prefixes={self.prefixes}: must be numbers of at least 16")
        if self.table5 is not None and not Path(self.table5).is_file():
            problems.append(f"table5={self.table5}: no such file; it is a CMS Table 5 as text")
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
    from src.cli.signals import Stop
    from src.cohort.split import Split
    from src.evaluation.adjustment import as_text
    from src.evaluation.evaluation_record import read_evaluation
    from src.evaluation.evaluation_report import read_material, write_report
    from src.evaluation.metrics_table import table
    from src.evaluation.prefixes import check_prefixes, report_prefixes
    from src.evaluation.reopen import reopen
    from src.runs.folder import SCORED, RunFolder
    from src.runs.record import of_apr, read_record
    from src.training.outcome import measured

    run = Path(cfg.run)
    record = read_record(run)
    check_folder(RunFolder(run).evaluation, "the report is written there")
    private_folder(run, whole=True)
    predictor = reopen(record, run, cfg.device, cfg.data_dir)
    data = predictor.data
    material = read_material(run, data.cohort, data.cfg, cfg.table5)
    for remark in material.remarks:
        print(remark)
    check_prefixes(predictor, cfg.prefixes, run)
    predictor.load(RunFolder(run).adapter)
    metrics: dict[str, float] = {}
    for split in SCORED:
        metrics |= measured(data.predictions(split, predictor.scores(split, Stop())), split, data.space)
    if cfg.prefixes:
        print(report_prefixes(predictor, cfg.prefixes, run))
    print(table({run.name: metrics}, apr=of_apr([record])))
    worst = max(abs(metrics[name] - value) for name, value in record.metrics.items() if value is not None)
    if worst > TOLERANCE:
        raise UserError(
            f"{run}: the numbers differ by {worst:.1e}, more than {TOLERANCE}; was it trained on another device?"
        )
    report = write_report(run, material, predictor.cut(Split.TEST))
    print(as_text(read_evaluation(run).rows("adjustment")))
    print(f"report: {report}")
    print(f"largest difference from {RunFolder(run).record}: {worst:.1e}")
    return metrics


def main() -> None:
    """The command; its first word may be the run alone."""
    sys.argv[1:] = with_first_named(sys.argv[1:], "run")
    command(EvaluateConfig, "evaluate", evaluate)


if __name__ == "__main__":
    main()
