"""Reports on finished runs, `python -m src.report SOURCE`, or on a cohort, `... data.dir=COHORT model=llama13b`."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from src.cli.command import command, with_first_named
from src.cli.terminal import visible
from src.config.train import TrainConfig


@dataclass
class ReportConfig(TrainConfig):
    """Describes a prepared cohort: flow, labels, lengths, splits, and the paper's figures beside its own.

    Takes the words of a training command; the model's tokenizer and the prompt decide the lengths in tokens. With a
    source of finished runs as its first word, `python -m src.report SOURCE`, the command reports on these.
    """

    lengths: list[int]
    """Tokens at which the share of cut notes is told."""
    to: str | None
    """Folder for `report.html` and `report.json`; null for the cohort's own."""

    def problems(self) -> list[str]:
        """Lists one line for each value that cannot be."""
        problems = super().problems()
        if not self.lengths or min(self.lengths) < 16:
            problems.append(f"lengths={self.lengths}: must be numbers of at least 16")
        if self.data.limit is not None:
            problems.append(f"data.limit={self.data.limit}: a report describes every note; leave it out")
        return problems


@dataclass
class RunsReportConfig:
    """Reports on finished runs: results beside the published ones, scaling, cost, errors; a page, tables and figures.

    The source may be the first word alone: `python -m src.report SOURCE`.
    """

    source: str
    """A folder of runs or of offline W&B runs, a sweep's name, `wandb:ENTITY/PROJECT`, or `.../GROUP` after it."""
    out: str
    """Folder that holds the runs of a named sweep."""
    to: str | None
    """Folder of the report; null for `report` in the source's folder, or `reports/NAME` in `out`."""
    data_dir: str | None
    """Where the prepared cohort lies now; null takes the place that the records name."""
    seed: int
    """Of the resampling."""
    against: str | None
    """A run's name: every cell is compared with the cell that it is of, also by training notes; null for no such
    comparison."""

    def problems(self) -> list[str]:
        """Lists one line for each value that cannot be."""
        return [] if self.seed >= 0 else [f"seed={self.seed}: must be at least 0"]


PAGE, NUMBERS = "report.html", "report.json"

ELSEWHERE = "name a folder with to=DIR"


def report(cfg: ReportConfig) -> None:
    """Writes `report.html` and `report.json` into the cohort's folder, and prints the report in short.

    Raises:
        UserError: the cohort or the tokenizer cannot be read, or the folder cannot be written.
    """
    from src.cli.files import atomic_write, check_folder
    from src.cohort.prepared import read_cohort
    from src.reporting.cohort_page import page
    from src.reporting.cohort_report import measure, read_lengths, summary

    out = Path(cfg.to or cfg.cohort_dir)
    check_folder(out, ELSEWHERE)
    cohort = read_cohort(cfg.cohort_dir)
    lengths = read_lengths(cohort, cfg)
    numbers = measure(cohort, lengths.tokens, cfg.lengths)
    written = {
        PAGE: page(numbers, lengths.words, lengths.tokens, lengths.tokenizer),
        NUMBERS: json.dumps({**numbers, "tokenizer": lengths.tokenizer}, indent=2) + "\n",
    }
    for name, text in written.items():
        with atomic_write(out / name) as tmp:
            tmp.write_text(text, "utf-8")
    print(f"{visible(summary(numbers))}\ntokens: {lengths.tokenizer}\nreport: {out / PAGE}, {out / NUMBERS}")


def report_runs(cfg: RunsReportConfig) -> Path:
    """Writes the report on finished runs into a folder of its own, and prints what came out; where the page is.

    Raises:
        UserError: the source cannot be read, or the folder cannot be written.
    """
    from src.cli.files import check_folder
    from src.display.tables import to_text
    from src.reporting.runs_report import compose, write_report
    from src.scaling_analysis.against import compare_against
    from src.scaling_analysis.analysis import analyse
    from src.scaling_analysis.horizons import compare_horizons
    from src.scaling_analysis.run_sources import read_source

    folder = folder_of(cfg)
    check_folder(folder, ELSEWHERE)
    source = read_source(cfg.source, Path(cfg.out))
    data_dir = Path(cfg.data_dir) if cfg.data_dir else None
    scaling = analyse(source, seed=cfg.seed, data_dir=data_dir)
    against = compare_against(source.runs, Path(cfg.against).name, cfg.seed, data_dir) if cfg.against else None
    horizons = compare_horizons(source.runs, scaling)
    composed = compose(cfg.source, source.runs, scaling, data_dir, against, horizons)
    write_report(composed, folder)
    print(visible("\n".join(composed.said)))
    for table in composed.tables:
        if table.name == "against":
            print(f"\n{to_text(table)}\n")
    if composed.outdated:
        print(visible(composed.outdated), file=sys.stderr)
    print(f"report: {folder / PAGE}; tables: {folder / 'tables'}; figures: {folder / 'figures'}")
    return folder / PAGE


def folder_of(cfg: RunsReportConfig) -> Path:
    """Names the folder that a report on runs goes to."""
    if cfg.to:
        return Path(cfg.to)
    if Path(cfg.source).is_dir():
        return Path(cfg.source) / "report"
    return Path(cfg.out) / "reports" / cfg.source.rsplit("/", 1)[-1].removeprefix("wandb:")


def main() -> None:
    """Runs the command: on runs where its first word names their source, on a cohort where it names one, or none."""
    from src.config.cohort_folder import RECORD

    first = sys.argv[1] if sys.argv[1:] else ""
    sys.argv[1:] = with_first_named(sys.argv[1:], "data.dir" if (Path(first) / RECORD).is_file() else "source")
    if sys.argv[1:] and sys.argv[1].startswith("source="):
        command(RunsReportConfig, "report_runs", report_runs, typed="report SOURCE")
    else:
        command(ReportConfig, "report", report)


if __name__ == "__main__":
    main()
