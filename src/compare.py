"""Compares finished runs on one test set: `python -m src.compare RUN_A RUN_B [RUN_C ...]`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from src.cli.command import command


@dataclass
class CompareConfig:
    """Compares finished runs on one test set: paired differences, intervals and p-values of every metric."""

    runs: list[str]
    """Folders of finished runs; on the command line they may stand alone."""
    baseline: str | None
    """Folder of the run that the others are compared with; null compares every two."""
    data_dir: str | None
    """Where the prepared cohort lies now; null takes the place that the first run's record names."""
    out: str | None
    """Folder for `metrics.csv`, `differences.csv` and `comparison.md`; null only prints."""

    def problems(self) -> list[str]:
        """Lists one line for each value that cannot be."""
        from src.runs.folder import RunFolder

        problems = [
            f"runs={run}: no result.json there; it is the folder of a finished run, as runs/NAME"
            for run in self.runs
            if not RunFolder(Path(run)).record.is_file()
        ]
        names = [Path(run).name for run in self.runs]
        if len(self.runs) < 2:
            problems.append("runs: two or more are compared; write python -m src.compare RUN_A RUN_B")
        if twice := {name for name in names if names.count(name) > 1}:
            problems.append(f"runs: {', '.join(sorted(twice))} comes twice; folders need names of their own")
        if self.baseline is not None and Path(self.baseline).name not in names:
            problems.append(f"baseline={self.baseline}: must be one of the runs")
        return problems


def compare(cfg: CompareConfig) -> None:
    """Prints every run's metrics with intervals and the paired differences, and writes all of them to `out`.

    Raises:
        UserError: runs were tested on different notes, or are not finished.
    """
    from src.cli.files import atomic_write
    from src.cli.progress import minutes
    from src.display.spreadsheet import write_frame
    from src.display.tables import table_of, to_markdown
    from src.evaluation.comparison import as_text, read_runs
    from src.evaluation.comparison import compare as compared

    records, runs, space = read_runs([Path(run) for run in cfg.runs], Path(cfg.data_dir) if cfg.data_dir else None)
    comparison = compared(runs, space, Path(cfg.baseline).name if cfg.baseline else None)
    count = len(next(iter(runs.values())).drg)
    print(f"{count:,} test notes; intervals of 95 % and p-values by patient, corrected by Holm for each metric\n")
    for name, record in zip(runs, records, strict=True):
        print(f"{name}: {record.counts['train']:,} training notes, trained in {minutes(record.seconds['training'])}")
    print(f"\n{as_text(comparison)}")
    if cfg.out:
        tables = {"metrics": comparison.metrics, "differences": comparison.differences}
        for name, table in tables.items():
            with atomic_write(Path(cfg.out) / f"{name}.csv") as tmp:
                write_frame(tmp, table)
        with atomic_write(Path(cfg.out) / "comparison.md") as tmp:
            texts = [to_markdown(table_of(table.columns, table.rows(), digits=4)) for table in tables.values()]
            tmp.write_text("\n".join(texts), "utf-8")
        print(f"\ncomparison: {Path(cfg.out) / 'comparison.md'}")


TAKING_A_WORD = (
    "--cfg",
    "-c",
    "--package",
    "-p",
    "--config-path",
    "-cp",
    "--config-name",
    "-cn",
    "--config-dir",
    "-cd",
)
"""Flags of Hydra's that the next word belongs to."""


def with_runs_named(words: Sequence[str]) -> list[str]:
    """Gathers the runs that stand alone among a command's words into one `runs=`.

    >>> with_runs_named(["runs/a", "runs/b", "out=here"])
    ['out=here', "runs=['runs/a','runs/b']"]
    >>> with_runs_named(["--cfg", "job"])
    ['--cfg', 'job']
    """
    runs: list[str] = []
    others: list[str] = []
    before = ""
    for word in words:
        is_run = not word.startswith("-") and before not in TAKING_A_WORD and ("=" not in word or Path(word).is_dir())
        (runs if is_run else others).append(word)
        before = word
    quoted = ",".join("'" + run.rstrip("/").replace("'", "\\'") + "'" for run in runs)
    return others + ([f"runs=[{quoted}]"] if runs else [])


def main() -> None:
    """Runs the command."""
    sys.argv[1:] = with_runs_named(sys.argv[1:])
    command(CompareConfig, "compare", compare)


if __name__ == "__main__":
    main()
