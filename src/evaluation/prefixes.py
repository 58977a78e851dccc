"""A truncation curve shows what one adapter scores when it reads fewer tokens of a note than in training."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.cli.files import atomic_write
from src.cli.progress import track
from src.cohort.split import Split
from src.display.spreadsheet import write_frame
from src.evaluation.figures import draw_prefixes
from src.evaluation.metrics_table import table
from src.models.classifier import Classifier
from src.models.engine.packing import Packed
from src.models.prompts import prompt_template
from src.runs.folder import RunFolder
from src.runs.predictions import Predictions
from src.training.batches import TokenisedNotes
from src.training.context import Session
from src.training.notes import split_rows, token_lengths
from src.training.outcome import measured, predictions_of, score_split
from src.training.ranks import ALONE
from src.training.scoring import check_device, on_the_host


def score_prefixes(
    session: Session, classifier: Classifier, split: Split, lengths: Sequence[int]
) -> dict[int, Predictions]:
    """Scores one split's notes at each number of tokens, as an evaluation with that `max_len` does.

    Attention is causal: where nothing stands after a note, one forward at the longest length holds every
    shorter reading, and a note shorter than a length is read to its own end. Words that a prompt appends
    stand after the cut, so that each length is then a reading, and a forward, of its own.
    """
    if not one_forward(session):
        cuts = {length: _with_max_len(session, length) for length in lengths}
        return {length: score_split(cut, classifier, cut.notes(split), split)[0] for length, cut in cuts.items()}
    notes = _with_max_len(session, max(lengths)).notes(split)
    heads = _score_in_one_forward(session, classifier, notes, lengths, f"scores {split}")
    return {length: predictions_of(session, notes, split, heads[length]) for length in lengths}


def one_forward(session: Session) -> bool:
    """Says whether a shorter reading of a note is the beginning of its longest one."""
    return not prompt_template(session.tokenizer, session.cfg.prompt, session.cfg.max_len).last


def _with_max_len(session: Session, length: int) -> Session:
    return dataclasses.replace(session, cfg=dataclasses.replace(session.cfg, max_len=length))


def _score_in_one_forward(
    session: Session, classifier: Classifier, notes: TokenisedNotes, lengths: Sequence[int], label: str
) -> dict[int, dict[str, NDArray[np.float32]]]:
    turns = ALONE.turns(len(notes), session.cfg.batch_size)
    parts: dict[int, dict[str, list[Tensor]]] = {length: {} for length in lengths}
    check_device(classifier, session.device)
    classifier.eval()
    with torch.inference_mode():
        for rows in track(turns, total=len(turns), what=label, unit="batch"):
            packed = notes.batch(rows).notes
            logits = classifier.logits_at(packed, ends(packed, lengths).flatten()).view(len(lengths), len(rows), -1)
            for length, cut_logits in zip(lengths, logits, strict=True):
                for name, scores in session.scheme.heads(cut_logits).items():
                    parts[length].setdefault(name, []).append(scores.float())
    return {length: on_the_host(heads) for length, heads in parts.items()}


def ends(notes: Packed, lengths: Sequence[int]) -> Tensor:
    """Finds the last token of each note that is read to at most each length, [len(lengths), B] positions in the row.

    >>> from src.models.engine.packing import pack
    >>> ends(pack([[5, 6, 7], [8, 9]]), [1, 2, 3]).tolist()
    [[0, 3], [1, 4], [2, 4]]
    """
    full_lengths = torch.tensor(notes.lengths)
    return torch.stack([notes.last - full_lengths + full_lengths.clamp(max=length) for length in lengths])


def measure_prefixes(
    session: Session, classifier: Classifier, split: Split, lengths: Sequence[int]
) -> dict[int, dict[str, float]]:
    """Measures one split for each number of tokens, under names such as `test/accuracy`."""
    scored = score_prefixes(session, classifier, split, lengths)
    return {length: measured(predictions, split, session.space) for length, predictions in scored.items()}


def report_prefixes(session: Session, curves: Mapping[Split, Mapping[int, Mapping[str, float]]], run: Path) -> str:
    """Writes `prefixes.csv` and `prefixes.png` into the run's folder, and gives the test curve as a table of text."""
    rows = [row for split, curve in curves.items() for row in _rows(session, split, curve)]
    with atomic_write(RunFolder(run).prefixes) as tmp:
        write_frame(tmp, pl.DataFrame(rows))
    test = curves[Split.TEST]
    draw_prefixes(RunFolder(run).prefixes_figure, test, f"{run.name}: test notes cut to fewer tokens than in training")
    method = "one forward for all lengths"
    if not one_forward(session):
        method = (
            f"prompt={session.cfg.prompt} puts words after the cut, so each length was read in a forward of its own"
        )
    shown = table({f"{length:,}": metrics for length, metrics in test.items()}, noun="tokens")
    return f"{shown}\n{method}; {RunFolder(run).prefixes}, {RunFolder(run).prefixes_figure}"


def _rows(
    session: Session, split: Split, curve: Mapping[int, Mapping[str, float]]
) -> list[dict[str, str | int | float]]:
    template_tokens = prompt_template(session.tokenizer, session.cfg.prompt, session.cfg.max_len).tokens
    notes = split_rows(session.cohort, split, session.cfg.data.limit)["row"].to_numpy()
    full_lengths = session.tokens.lengths(notes) + template_tokens
    rows: list[dict[str, str | int | float]] = []
    for length, metrics in curve.items():
        kept = token_lengths(full_lengths, length)
        columns = {name.partition("/")[2]: value for name, value in metrics.items()}
        size = {"mean_tokens": kept["mean_kept"], "share_cut": kept["share_cut"]}
        rows.append({"split": str(split), "max_len": length, "notes": len(notes), **size, **columns})
    return rows
