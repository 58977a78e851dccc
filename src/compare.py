"""Compares finished runs on one test set: `python -m src.compare RUN_A RUN_B [RUN_C ...]`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from src.cli.command import command
from src.config.compare import CompareConfig


def compare(cfg: CompareConfig) -> None:
    """Prints every run's metrics with intervals and the paired differences, and writes all of them to `out`.

    Raises:
        UserError: runs were tested on different notes, or are not finished.
    """
    from src.cli.files import atomic_write
    from src.cli.progress import minutes
    from src.display.spreadsheet import write_frame
    from src.evaluation.comparison import as_text, read_runs
    from src.evaluation.comparison import compare as compared
    from src.evaluation.evaluation_report import markdown

    records, runs, space = read_runs([Path(run) for run in cfg.runs], Path(cfg.data_dir) if cfg.data_dir else None)
    found = compared(runs, space, Path(cfg.baseline).name if cfg.baseline else None)
    count = len(next(iter(runs.values())).drg)
    print(f"{count:,} test notes; intervals of 95 % and p-values by patient, corrected by Holm for each metric\n")
    for name, record in zip(runs, records, strict=True):
        print(f"{name}: {record.counts['train']:,} training notes, trained in {minutes(record.seconds['training'])}")
    print(f"\n{as_text(found)}")
    if cfg.out:
        tables = {"metrics": found.metrics, "differences": found.differences}
        for name, table in tables.items():
            with atomic_write(Path(cfg.out) / f"{name}.csv") as tmp:
                write_frame(tmp, table)
        with atomic_write(Path(cfg.out) / "comparison.md") as tmp:
            tmp.write_text("\n\n".join(markdown(table) for table in tables.values()) + "\n", "utf-8")
        print(f"\ncomparison: {Path(cfg.out) / 'comparison.md'}")


def with_runs_named(words: Sequence[str]) -> list[str]:
    """The words of a command, with the runs that stand alone gathered into one `runs=`.

    >>> with_runs_named(["runs/a", "runs/b", "out=here"])
    ['out=here', "runs=['runs/a','runs/b']"]
    """
    alone = [word for word in words if not word.startswith("-") and ("=" not in word or Path(word).is_dir())]
    quoted = ",".join("'" + word.rstrip("/").replace("'", "\\'") + "'" for word in alone)
    return [word for word in words if word not in alone] + ([f"runs=[{quoted}]"] if alone else [])


def main() -> None:
    """The command."""
    sys.argv[1:] = with_runs_named(sys.argv[1:])
    command(CompareConfig, "compare", compare)


if __name__ == "__main__":
    main()
