"""Measures how far explanations of finished runs can be believed, each method of each run on the same test notes.

`python -m src.benchmarks.evidence cohort=DIR runs=DIR,DIR [hospital=DIR] [notes=10] [exact=10] [beam=3]
[sentences=40]` explains the DRG that a run chooses, of the first test notes of at most so many sentences: finding the
limits below grows with the square of their number. Comprehensiveness (high is good) and sufficiency (low is good) are
normalised by what any order of a note's sentences can reach, see src/evidence/faithfulness.py; beside them stand the
two controls, orders drawn at random and a head whose rows are shuffled, and the standard error of the difference from
random over notes. `hospital` is the synthetic one of the cohort, which knows where the facts stand that decide: then
the F1 of the `top=3` sentences, and the F1 and intersection over union of their letters, are shown.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from src.benchmarks.settings import read_settings
from src.cli.command import report_user_errors
from src.cli.errors import UserError
from src.cli.progress import track
from src.cli.signals import Stop
from src.cohort.prepared import read_cohort
from src.cohort.split import Split
from src.config.choices import Method
from src.evidence.explanation import explain_note, methods_of
from src.evidence.faithfulness import ablate, faithfulness, random_order, shuffled_drg
from src.evidence.plausibility import plausibility
from src.evidence.sentences import split_sentences
from src.inference.model import Model, open_model
from src.synthetic.known_evidence import read_known_evidence
from src.training.quiet_libraries import quiet_libraries

DEFAULTS: dict[str, Any] = {
    "cohort": "",
    "runs": "",
    "notes": 10,
    "exact": 10,
    "beam": 3,
    "sentences": 40,
    "top": 3,
    "seed": 0,
    "hospital": "",
}

COLUMNS = ("compr.", "random", "shuffled", "+-", "suff.", "random", "shuffled", "+-", "ms", "F1", "letter F1", "IoU")
"""Of the table; the last three with `hospital` alone."""


@dataclass(frozen=True, eq=False)
class MethodResult:
    """Holds what a method of a run came to."""

    values: NDArray[np.float64]
    """[B, 6]: comprehensiveness of the method, of random orders and of a shuffled head; the same of sufficiency."""
    sentences: pl.DataFrame
    """`id`, `start`, `end`, `score`."""
    ms: float
    """Milliseconds a note."""

    def cells(self, spans: pl.DataFrame | None, top: int) -> list[str]:
        """Writes a row of the table; means over the notes of which orders differ."""
        known = self.values[np.isfinite(self.values).all(1)]
        cells = []
        for first in (0, 3):
            gains = known[:, first] - known[:, first + 1]
            error = gains.std(ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else float("nan")
            cells += [f"{value:.3f}" for value in (*known[:, first : first + 3].mean(0), error)]
        right = plausibility(self.sentences, spans, top) if spans is not None else {}
        shown = [f"{right[name]:.3f}" for name in ("f1", "letter_f1", "letter_iou") if name in right]
        return [*cells, f"{self.ms:,.0f}", *shown]


def measure(
    model: Model, rows: pl.DataFrame, sizes: tuple[int, int], seed: int
) -> Iterator[tuple[Method, MethodResult]]:
    """Measures each method of a run on the DRG that it chooses for each note.

    Args:
        model: the run.
        rows: `id` and `text`.
        sizes: sentences up to which limits are exact, and sets that are followed beyond.
        seed: of the controls.
    """
    chosen = [model.space.codes[index] for index in model.log_probabilities(rows, Stop()).argmax(1)]
    ablated = [ablate(model, text, drg) for text, drg in zip(rows["text"], chosen, strict=True)]
    bounds = [note.limits(*sizes) for note in track(ablated, total=len(ablated), what="limits", unit="note")]
    control = [random_order(note, limits, seed) for note, limits in zip(ablated, bounds, strict=True)]
    shuffled = [shuffled_drg(model, drg, seed + number) for number, drg in enumerate(chosen)]
    for method in methods_of(model):
        start = time.perf_counter()
        scores = [explain_note(model, *note, method=method) for note in zip(rows["text"], chosen, strict=True)]
        ms = (time.perf_counter() - start) * 1000 / rows.height
        without_head = [explain_note(model, *note, method=method) for note in zip(rows["text"], shuffled, strict=True)]
        triples = [
            [
                faithfulness(note, [sentence.score for sentence in sentences], limits),
                random,
                faithfulness(note, [sentence.score for sentence in lost], limits),
            ]
            for note, sentences, lost, limits, random in zip(
                ablated, scores, without_head, bounds, control, strict=True
            )
        ]
        values = [
            [*(result.comprehensiveness for result in triple), *(result.sufficiency for result in triple)]
            for triple in triples
        ]
        notes = zip(rows["id"], scores, strict=True)
        sentences = [{"id": key, **vars(sentence)} for key, of_note in notes for sentence in of_note]
        yield method, MethodResult(np.array(values), pl.DataFrame(sentences), ms)


def _short(notes: pl.DataFrame, sentences: int) -> pl.DataFrame:
    """Picks the notes of at most so many sentences.

    Raises:
        UserError: there is none.
    """
    short = notes.filter(
        pl.Series([len(split_sentences(text)) <= sentences for text in notes["text"]], dtype=pl.Boolean)
    )
    if short.is_empty():
        raise UserError(f"sentences={sentences}: every test note has more; name a larger number")
    return short


def main() -> None:
    """Runs the command."""
    with report_user_errors():
        words = read_settings(sys.argv[1:], DEFAULTS)
        if missing := [key for key in ("cohort", "runs") if not words[key]]:
            raise UserError(f"{missing[0]}: not given; write {missing[0]}=DIR")
        torch.set_num_threads(1)
        quiet_libraries()
        cohort, named = read_cohort(Path(words["cohort"])), pl.col("hadm_id").cast(pl.String).alias("id")
        notes, spans = _short(cohort.notes(Split.TEST), words["sentences"]).head(words["notes"]), None
        if words["hospital"]:
            mentions = read_known_evidence(Path(words["hospital"]), cohort, notes).spans
            spans = mentions.filter(pl.col("decides") != "nothing").select(named, "start", "end")
        rows = notes.select(named, "text")
        shown = COLUMNS if spans is not None else COLUMNS[:-3]
        print(f"{rows.height} test notes; exact limits up to {words['exact']} sentences, else beams of {words['beam']}")
        print(f"{'run':<16} {'method':<21}" + "".join(f"{name:>10}" for name in shown))
        for run in words["runs"].split(","):
            model = open_model(Path(run), "cpu")
            sizes = words["exact"], words["beam"]
            for method, measured in measure(model, rows, sizes, words["seed"]):
                cells = measured.cells(spans, words["top"])
                print(f"{model.run.path.name:<16} {method:<21}" + "".join(f"{cell:>10}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
