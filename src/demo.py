"""Runs the main job, end to end, on a synthetic hospital: `python -m src.demo`."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
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
        """Lists one line for each value that cannot be."""
        problems = []
        if self.limit < 10:
            problems.append(f"limit={self.limit}: must be at least 10")
        if self.admissions < 100:
            problems.append(f"admissions={self.admissions}: must be at least 100, or a split stays empty")
        return problems


BASELINES = {"majority": "majority", "tfidf": "TF-IDF + linear"}
"""The lines to beat, by model: names in the table."""

HANDED_OVER = 200
"""Notes for what comes after training: `make desk`, `src.predict`, `src.explain`."""

SCHEMES = {"single": "LLaMA, single", "two": "LLaMA, two"}
"""LLaMA by label scheme: names in the table."""


def demo(cfg: DemoConfig) -> None:
    """Hospital, cohort, the lines to beat, both label schemes side by side, a table with two pictures, and reports.

    Each step is the command that a user would type; a step whose result is there is not done again.

    Raises:
        UserError: a step failed.
    """
    start, out = time.monotonic(), private_folder(Path(cfg.out))
    hospital, cohort, runs = out / "hospital", out / "cohort", out / "runs"
    shares = [f"test_share={cfg.test_share}"]
    _say("first a hospital, its cohort and the lines to beat: a table in about a minute on two cores")
    if not hospital.is_dir():
        _run(["src.hospital", f"out={hospital}", f"admissions={cfg.admissions}", f"seed={cfg.seed}", *shares])
    if not cohort.is_dir():
        shares.append(f"validation_share={cfg.validation_share}")
        _run(["src.prepare", f"data.dir={hospital}", f"data.out={cohort}", *shares])
    _hand_over(hospital, cohort, out / "notes.csv")
    words = [f"data.dir={cohort}", f"data.limit={cfg.limit}", f"out={runs}", f"seed={cfg.seed}", "threads=1"]
    baselines = [["src.train", f"model={model}", f"name={model}", *words] for model in BASELINES]
    _run(*baselines, ["src.report", f"data.dir={cohort}", *cfg.train])
    systems = {runs / model: name for model, name in BASELINES.items()}
    _show(cfg, cohort, systems, out)
    _say("now LLaMA with both label schemes, the longest part: each says every quarter of a minute how much is left")
    words += cfg.train
    _run(*(["src.train", f"labels={scheme}", f"name=llama-{scheme}", *words] for scheme in SCHEMES))
    _run(["src.report", str(runs), f"to={out / 'report'}"])
    _show(cfg, cohort, systems | {runs / f"llama-{scheme}": name for scheme, name in SCHEMES.items()}, out)
    print(f"the demo took {minutes(time.monotonic() - start)}")


def _hand_over(hospital: Path, cohort_dir: Path, path: Path) -> None:
    """Writes some whole notes of the test, as a hospital gives them to a model or to the desk, which know no label."""
    import polars as pl

    from src.cohort.prepared import read_cohort
    from src.cohort.split import Split
    from src.display.spreadsheet import write_frame

    chosen = read_cohort(cohort_dir).notes(Split.TEST, HANDED_OVER)["note_id"]
    notes = pl.read_csv(hospital / "note" / "discharge.csv.gz", columns=["note_id", "hadm_id", "text"])
    with atomic_write(path) as tmp:
        write_frame(tmp, notes.filter(pl.col("note_id").is_in(chosen.implode())).select("hadm_id", "text"))


def _show(cfg: DemoConfig, cohort_dir: Path, systems: Mapping[Path, str], out: Path) -> None:
    """Prints and draws what finished runs came to, each beside TF-IDF + linear on the same test notes."""
    import numpy as np

    from src.cohort.prepared import read_cohort
    from src.cohort.split import Split
    from src.display.tables import Estimate, shown
    from src.evaluation.figures import draw_by_frequency, draw_comparison
    from src.evaluation.groups import mean_estimate
    from src.evaluation.metrics_table import table
    from src.models.labelspace import LabelSpace
    from src.runs.folder import RunFolder
    from src.runs.predictions import read_predictions
    from src.runs.record import read_record

    cohort = read_cohort(cohort_dir)
    space = LabelSpace.from_labels(cohort.labels)
    records = {name: read_record(run) for run, name in systems.items()}
    tests = {name: read_predictions(RunFolder(run).predictions(Split.TEST), space) for run, name in systems.items()}
    right = {name: test.heads["scores"].argmax(1) == test.drg for name, test in tests.items()}
    test, counts = next(iter(tests.values())), next(iter(records.values())).counts
    trained = cohort.rows(Split.TRAIN, cfg.limit)["drg"]
    seen = np.bincount([space.index[code] for code in trained], minlength=len(space.codes))
    rows: dict[str, Any] = {name: record.metrics for name, record in records.items()}
    title = f"{counts['test']:,} test notes, {counts['test_drgs']} DRGs, {counts['train']:,} training notes"
    draw_comparison(out / "comparison.png", rows, title)
    draw_by_frequency(out / "by_frequency.png", right, seen[test.drg], title)
    lines = [f"{title}; a synthetic hospital, seed {cfg.seed}", "", table(rows)]
    for name in [name for name in SCHEMES.values() if name in right]:
        gain = right[name].astype(float) - right[BASELINES["tfidf"]]
        margin = mean_estimate(gain, test.subject_id, share=False)
        of_95 = shown(Estimate(margin.value, margin.low, margin.high))
        lines.append(f"{name} less {BASELINES['tfidf']}: {of_95} in top-1")
    with atomic_write(out / "table.txt") as tmp:
        tmp.write_text("\n".join([*lines, ""]), "utf-8")
    _say("\n".join([*lines, "", f"table: {out / 'table.txt'}"]))
    print(f"pictures: {out / 'comparison.png'}, {out / 'by_frequency.png'}", flush=True)


def _say(text: str) -> None:
    print(f"\n{text}", flush=True)


def _run(*commands: Sequence[str]) -> None:
    """Runs commands side by side, each a module and its words.

    Raises:
        UserError: one of them failed.
    """
    processes = []
    for module, *words in commands:
        print(f"python -m {module} {' '.join(words)}", flush=True)
        # One thread a process: with two on two cores, more threads only wait for each other.
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        processes.append(subprocess.Popen([sys.executable, "-m", module, *words], env=env))
    codes = [process.wait() for process in processes]
    failed = ", ".join(dict.fromkeys(module for (module, *_), code in zip(commands, codes, strict=True) if code))
    if failed:
        raise UserError(f"{failed} failed; its message is above, and running the demo again goes on from there")


def main() -> None:
    """Runs the command."""
    command(DemoConfig, "demo", demo)


if __name__ == "__main__":
    main()
