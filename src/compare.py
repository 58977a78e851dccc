"""Compares finished runs on one test set: `python -m src.compare RUN_A RUN_B [RUN_C ...] [ensemble=true]`."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from src.cli.command import as_list, command

if TYPE_CHECKING:
    import polars as pl


@dataclass
class CompareConfig:
    """Compares finished runs on one test set: paired differences, intervals and p-values of every metric."""

    runs: list[str]
    """Folders of finished runs, or of folders of them; on the command line they may stand alone."""
    baseline: str | None
    """Folder of the run that the others are compared with; null compares every two, and with `ensemble` takes the run
    that is best on validation."""
    data_dir: str | None
    """Where the prepared cohort lies now; null takes the place that the first run's record names."""
    out: str | None
    """Folder for `metrics.csv`, `differences.csv` and `comparison.md`; null only prints."""
    ensemble: bool
    """Adds the mean of the runs that validation chooses."""

    def folders(self) -> list[Path]:
        """Lists the runs, each finished one in a folder that holds several; one that is nowhere stands for itself."""
        from src.runs.find import run_folders
        from src.runs.folder import RunFolder

        listed = [run_folders(Path(run), lambda path: RunFolder(path).record.is_file()) for run in self.runs]
        return [folder for run, within in zip(self.runs, listed, strict=True) for folder in within or [Path(run)]]

    def problems(self) -> list[str]:
        """Lists one line for each value that cannot be."""
        from src.runs.folder import RunFolder

        problems = [
            f"{problem}, or of several" for folder in self.folders() for problem in RunFolder(folder).problems("runs")
        ]
        names = [folder.name for folder in self.folders()]
        if len(names) < 2:
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
    import polars as pl

    from src.cli.json_files import tell_once
    from src.cli.progress import minutes
    from src.cohort.split import Split
    from src.evaluation.comparison import SavedPredictions, as_text, read_runs
    from src.evaluation.comparison import compare as compared
    from src.evaluation.ensemble import ensemble_of
    from src.evaluation.two_systems import several_systems
    from src.runs.find import run_folders
    from src.runs.folder import RunFolder

    unfinished = [
        folder for run in cfg.runs for folder in run_folders(Path(run)) if not RunFolder(folder).record.is_file()
    ]
    if unfinished:
        tell_once(f"not finished, and left out: {', '.join(map(str, unfinished))}")
    if several_systems(cfg.folders()):
        _compare_systems(cfg)
        return
    records, runs, space = read_runs(cfg.folders(), Path(cfg.data_dir) if cfg.data_dir else None)
    baseline = Path(cfg.baseline).name if cfg.baseline else None
    ensemble = None
    if cfg.ensemble:
        ensemble = ensemble_of(SavedPredictions(runs.folders, Split.VALIDATION, space), runs)
        baseline = baseline or ensemble.members["run"][0]
        runs.made[ensemble.name] = ensemble.test
    comparison = compared(runs, space, baseline)
    count = len(next(iter(runs.values())).drg)
    print(f"{count:,} test notes; intervals of 95 % and p-values by patient, corrected by Holm for each metric\n")
    for name, record in zip(runs.folders, records, strict=True):
        print(f"{name}: {record.counts['train']:,} training notes, trained in {minutes(record.seconds['training'])}")
    if ensemble:
        members = ", ".join(ensemble.members.filter(pl.col("member"))["run"])
        print(f"{ensemble.name}: mean of probabilities, members chosen by macro-F1 of validation: {members}")
    print(f"\n{as_text(comparison)}")
    tables = {"metrics": comparison.metrics, "differences": comparison.differences}
    _write(cfg.out, tables | ({"members": ensemble.members} if ensemble else {}))


def _compare_systems(cfg: CompareConfig) -> None:
    """Compares runs of several DRG systems on the test admissions that all label.

    Raises:
        UserError: see `src.evaluation.two_systems.compare_systems`; or a key is given that is of runs of one cohort.
    """
    from src.cli.errors import raise_all
    from src.cli.progress import minutes
    from src.evaluation.comparison import as_text
    from src.evaluation.two_systems import as_text as yardsticks
    from src.evaluation.two_systems import compare_systems

    both = "the runs are of several DRG systems, and so of several cohorts"
    problems = [f"data_dir={cfg.data_dir}: {both}, each where its run's record says; leave data_dir out"]
    problems = problems if cfg.data_dir else []
    raise_all(problems + ([f"ensemble=true: {both}; leave it out"] if cfg.ensemble else []), "compare")
    result = compare_systems(cfg.folders(), Path(cfg.baseline).name if cfg.baseline else None)
    outside = ", ".join(f"{count:,} of {system}" for system, count in result.left_out.items())
    print(
        f"{result.admissions:,} test admissions that all label ({outside} are left out); intervals of 95 % and "
        "p-values by patient, corrected by Holm for each metric\n"
    )
    for name, record in result.records.items():
        seconds = minutes(record.seconds["training"])
        print(f"{name}: {result.systems[name]}, {record.counts['train']:,} training notes, trained in {seconds}")
    print(f"\n{yardsticks(result)}\n\n{as_text(result.comparison)}")
    comparison = result.comparison
    _write(
        cfg.out,
        {"metrics": comparison.metrics, "differences": comparison.differences, "yardsticks": result.yardsticks},
    )


def _write(out: str | None, tables: Mapping[str, "pl.DataFrame"]) -> None:
    """Writes each table to `out` as CSV, and all of them as Markdown; nothing without `out`."""
    from src.cli.files import atomic_write
    from src.display.spreadsheet import write_frame
    from src.display.tables import table_of, to_markdown

    if out:
        for name, table in tables.items():
            with atomic_write(Path(out) / f"{name}.csv") as tmp:
                write_frame(tmp, table)
        with atomic_write(Path(out) / "comparison.md") as tmp:
            texts = [to_markdown(table_of(table.columns, table.rows(), digits=4)) for table in tables.values()]
            tmp.write_text("\n".join(texts), "utf-8")
        print(f"\ncomparison: {Path(out) / 'comparison.md'}")


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
    return others + ([as_list("runs", runs)] if runs else [])


def main() -> None:
    """Runs the command."""
    sys.argv[1:] = with_runs_named(sys.argv[1:])
    command(CompareConfig, "compare", compare)


if __name__ == "__main__":
    main()
