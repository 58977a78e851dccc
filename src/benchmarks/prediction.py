"""Measures the speed of `src.predict` beside scoring the cohort's test notes by the same run.

`python -m src.benchmarks.prediction RUN HOSPITAL [rounds=5] [notes=0]`: the hospital's discharge summaries of the
run's test notes are read, predicted and written, and the cohort's test notes scored before and after, in one process;
medians of tokens a second and a second of processor time, and their ratios, after the DRGs were held against each
other. With `notes` the summaries are there again and again, under ids of their own, until they are so many. Networks
have one thread; the next notes are read in another.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from src.benchmarks.settings import read_settings
from src.cli.command import report_user_errors
from src.cli.errors import UserError
from src.cli.own_memory import peak_memory
from src.cli.signals import Stop
from src.cohort.sources import MIMIC, mimic_source
from src.cohort.split import Split
from src.cohort.weights import weights_for
from src.config.dialect import Dialect
from src.evaluation.reopen import reopen
from src.inference.encounters import find_notes, open_encounters
from src.inference.model import open_models
from src.inference.parts import Parts, propose_all
from src.inference.prediction_file import write_file
from src.inference.proposals import Proposer
from src.runs.folder import RunFolder
from src.runs.record import read_record
from src.training.quiet_libraries import quiet_libraries

APART = 100_000_000
"""Between ids of an admission's copies."""


def compare(run: Path, hospital: Path, rounds: int, notes: int) -> None:
    """Measures both in turn, and prints tokens a second and their ratios.

    Raises:
        UserError: a prediction is another than the run's score of the note says.
    """
    models = open_models([run], "cpu")
    predictor = reopen(read_record(run), run, "cpu", None)
    predictor.load(RunFolder(run).adapter)
    rows = predictor.data.cohort.notes(Split.TEST, predictor.data.cfg.data.limit)
    proposer = Proposer(models, weights_for(models.drg_version))
    codes = np.array(models.space.codes)
    paces: dict[str, list[NDArray[np.float64]]] = {"scored": [], "predicted": []}
    with tempfile.TemporaryDirectory() as folder:
        once = _original(hospital, rows["hadm_id"], 1, Path(folder) / "once.csv")
        copies = max(1, -(-notes // rows.height))
        many = _original(hospital, rows["hadm_id"], copies, Path(folder) / "many.csv")
        tokens = _predict(proposer, once, Path(folder) / "warm.parquet")
        for turn in range(rounds):
            times = [_now()]
            scores = predictor.scores(Split.TEST, Stop())["scores"]
            times.append(_now())
            read = _predict(proposer, many, out := Path(folder) / f"{turn}.parquet")
            times.append(_now())
            predictor.scores(Split.TEST, Stop())
            times.append(_now())
            before, during, after = np.diff(times, axis=0)
            paces["scored"] += [tokens / before, tokens / after]
            paces["predicted"].append(read / during)
            drgs = codes[scores.argmax(1)]
            expected = {
                str(hadm_id + copy * APART): drg
                for copy in range(copies)
                for hadm_id, drg in zip(rows["hadm_id"], drgs, strict=True)
            }
            if expected != dict(pl.read_parquet(out, columns=["id", "drg"]).iter_rows()):
                raise UserError(f"{run}: predictions differ from the scores of its test notes; speeds are not shown")
    print(f"{rows.height:,} test notes of {tokens:,} tokens, {copies * rows.height:,} summaries, {rounds} rounds")
    fast, slow = (np.median(paces[name], axis=0) for name in ("scored", "predicted"))
    for clock, scored, predicted in zip(("s", "s of processor time"), fast, slow, strict=True):
        print(f"scoring the cohort's test notes  {scored:>10,.0f} tokens/{clock}")
        print(f"src.predict of their summaries   {predicted:>10,.0f} tokens/{clock}, {predicted / scored:.3f} times")
    print(f"largest memory {peak_memory() / 2**20:,.0f} MiB")


def _now() -> NDArray[np.float64]:
    """Reads two clocks: seconds, and seconds of processor time of all threads."""
    return np.array([time.perf_counter(), time.process_time()])


def _original(hospital: Path, admissions: pl.Series, copies: int, path: Path) -> Path:
    """Writes the discharge table of some admissions alone, in so many copies with ids of their own."""
    table = pl.read_csv(mimic_source(hospital).path, columns=list(MIMIC.named.values()), infer_schema_length=None)
    table = table.filter(pl.col("hadm_id").is_in(admissions.implode()))
    with path.open("wb") as file:
        for copy in range(copies):
            own = table.with_columns(pl.col("hadm_id") + copy * APART, pl.format("{}-{}", "note_id", pl.lit(copy)))
            own.write_csv(file, include_header=copy == 0)
    return path


def _predict(proposer: Proposer, notes: Path, out: Path) -> int:
    """Does what `src.predict` does with models that are open; returns the tokens that were read."""
    models = proposer.models
    before, stop = models.tokens_scored, Stop()
    source = find_notes(notes, None, None, Dialect(key=""))
    with open_encounters(source, models.first.kept, None, out, stop) as encounters:
        parts = Parts(out, proposer.fingerprint(encounters.fingerprint))
        with parts.alone():
            propose_all(proposer, encounters, parts, stop)
            write_file(out, pl.scan_parquet(parts.paths), proposer.count)
            parts.remove()
    return models.tokens_scored - before


def main() -> None:
    """Runs the command."""
    with report_user_errors():
        named = [word for word in sys.argv[1:] if "=" not in word]
        words = read_settings([word for word in sys.argv[1:] if "=" in word], {"rounds": 5, "notes": 0})
        if len(named) != 2:
            raise UserError("write python -m src.benchmarks.prediction RUN HOSPITAL")
        torch.set_num_threads(1)
        quiet_libraries()
        compare(Path(named[0]), Path(named[1]), **words)


if __name__ == "__main__":
    main()
