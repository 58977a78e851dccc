"""The main job, end to end, on a synthetic hospital: `python -m src.demo`."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.cli.command import command
from src.cli.errors import UserError
from src.cli.files import atomic_write, private_folder
from src.cli.progress import minutes


@dataclass
class DemoConfig:
    """Runs the main job end to end on a synthetic hospital, and ends with a table and pictures."""

    out: str
    """Folder for everything that the demo makes; what is there already is used again."""
    admissions: int
    seed: int
    test_share: float
    validation_share: float
    limit: int
    """Notes taken from each split."""
    train: list[str]
    """Words added to both training commands."""

    def problems(self) -> list[str]:
        """One line for each value that cannot be."""
        problems = []
        if self.limit < 10:
            problems.append(f"limit={self.limit}: must be at least 10")
        if self.admissions < 100:
            problems.append(f"admissions={self.admissions}: must be at least 100, or a split stays empty")
        return problems


SCHEMES = ("single", "two")


def demo(cfg: DemoConfig) -> None:
    """Hospital, cohort, both label schemes side by side, the closing table with two pictures, and the runs' report.

    Each step is the command that a user would type; a step whose result is there is not done again.

    Raises:
        UserError: a step failed.
    """
    start, out = time.monotonic(), private_folder(Path(cfg.out))
    hospital, cohort = out / "hospital", out / "cohort"
    shares = [f"test_share={cfg.test_share}"]
    if not hospital.is_dir():
        _run("src.hospital", f"out={hospital}", f"admissions={cfg.admissions}", f"seed={cfg.seed}", *shares)
    if not cohort.is_dir():
        _run(
            "src.prepare",
            f"data.dir={hospital}",
            f"data.out={cohort}",
            *shares,
            f"validation_share={cfg.validation_share}",
        )
    words = [
        f"data.dir={cohort}",
        f"data.limit={cfg.limit}",
        f"out={out / 'runs'}",
        f"seed={cfg.seed}",
        "threads=1",
        *cfg.train,
    ]
    jobs = [_start("src.train", f"labels={scheme}", f"name=llama-{scheme}", *words) for scheme in SCHEMES]
    codes = [job.wait() for job in jobs]
    if any(codes):
        raise UserError("a training run failed; its message is above, and running the demo again goes on from there")
    _close(cfg, cohort, [out / "runs" / f"llama-{scheme}" for scheme in SCHEMES], out)
    _run("src.report", str(out / "runs"), f"to={out / 'report'}")
    print(f"the demo took {minutes(time.monotonic() - start)}")


def _close(cfg: DemoConfig, cohort_dir: Path, runs: list[Path], out: Path) -> None:
    import numpy as np

    from src.cohort.prepared import read_cohort
    from src.cohort.split import Split
    from src.evaluation.figures import draw_by_frequency, draw_comparison
    from src.evaluation.metrics_table import table
    from src.evaluation.reference_points import baselines
    from src.models.labelspace import LabelSpace
    from src.runs.folder import RunFolder
    from src.runs.predictions import read_predictions
    from src.runs.record import read_record

    cohort = read_cohort(cohort_dir)
    space = LabelSpace.from_labels(cohort.labels)
    records = {f"LLaMA, {run.name.removeprefix('llama-')}": read_record(run) for run in runs}
    rows: dict[str, Any] = {**baselines(cohort, cfg.limit), **{name: run.metrics for name, run in records.items()}}
    counts = next(iter(records.values())).counts
    train = cohort.notes(Split.TRAIN, cfg.limit)
    seen = np.bincount([space.index[code] for code in train["drg"]], minlength=len(space.codes))
    files = [RunFolder(run).predictions(Split.TEST) for run in runs]
    tests = {name: read_predictions(path, space) for name, path in zip(records, files, strict=True)}
    right = {name: predictions.heads["scores"].argmax(1) == predictions.drg for name, predictions in tests.items()}
    drg = next(iter(tests.values())).drg
    title = f"{counts['test']:,} test notes, {counts['test_drgs']} DRGs, {counts['train']:,} training notes"
    draw_comparison(out / "comparison.png", rows, title)
    draw_by_frequency(out / "by_frequency.png", right, seen[drg], title)
    text = f"{title}; a synthetic hospital, seed {cfg.seed}\n\n{table(rows)}\n"
    with atomic_write(out / "table.txt") as tmp:
        tmp.write_text(text, "utf-8")
    print(f"\n{text}\ntable: {out / 'table.txt'}\npictures: {out / 'comparison.png'}, {out / 'by_frequency.png'}")


def _start(module: str, *words: str) -> subprocess.Popen[bytes]:
    print(f"python -m {module} {' '.join(words)}", flush=True)
    # One thread a run: with two runs on two cores, more threads only wait for each other.
    return subprocess.Popen([sys.executable, "-m", module, *words], env={**os.environ, "OMP_NUM_THREADS": "1"})


def _run(module: str, *words: str) -> None:
    if _start(module, *words).wait():
        raise UserError(f"{module} failed; its message is above")


def main() -> None:
    """The command."""
    command(DemoConfig, "demo", demo)


if __name__ == "__main__":
    main()
