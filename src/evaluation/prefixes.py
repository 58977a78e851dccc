"""The truncation curve of one adapter: what it scores when it reads fewer tokens of a note than in training."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.cli.errors import UserError
from src.cli.files import atomic_write
from src.cli.progress import track
from src.cli.signals import Stop
from src.cohort.split import Split
from src.config.prepare import DrgSystem
from src.display.spreadsheet import write_frame
from src.evaluation.figures import draw_prefixes
from src.evaluation.metrics_table import table
from src.models.engine.packing import Packed
from src.models.prompts import prompt_template
from src.runs.folder import SCORED, RunFolder
from src.runs.predictions import Predictions
from src.training.llama import Llama, as_llama
from src.training.notes import split_rows, token_lengths
from src.training.outcome import measured
from src.training.predictor import Predictor, Scores
from src.training.ranks import ALONE
from src.training.run_data import RunData
from src.training.scoring import check_device, on_the_host


def check_prefixes(predictor: Predictor, lengths: Sequence[int], run: Path) -> None:
    """Refuses lengths that a finished run cannot be read at.

    Raises:
        UserError: it reads no tokens, or was trained on fewer.
    """
    if not lengths:
        return
    cfg = predictor.data.cfg
    as_llama(predictor, f"prefixes={lengths}: model={cfg.model.name} reads words, not tokens; leave prefixes out")
    if over := [length for length in lengths if length > cfg.max_len]:
        raise UserError(f"prefixes={over}: above max_len={cfg.max_len}, with which {run} was trained")


def score_prefixes(llama: Llama, split: Split, lengths: Sequence[int]) -> dict[int, Predictions]:
    """Scores one split's notes for each number of tokens, equal to an evaluation with that `max_len`.

    Attention is causal: where nothing stands after a note, one forward at the longest length holds every
    shorter reading, and a note shorter than a length is read to its own end. Words that a prompt appends
    stand after the cut, so that each length is then a reading, and a forward, of its own.
    """
    heads: Mapping[int, Scores]
    if one_forward(llama):
        heads = _score_in_one_forward(llama.reading(max(lengths)), split, lengths)
    else:
        heads = {length: llama.reading(length).scores(split, Stop()) for length in lengths}
    return {length: llama.data.predictions(split, heads[length]) for length in lengths}


def one_forward(llama: Llama) -> bool:
    """Says whether a shorter reading of a note is the beginning of its longest one."""
    cfg = llama.data.cfg
    return not prompt_template(llama.data.tokenizer, cfg.prompt, cfg.max_len).last


def _score_in_one_forward(
    llama: Llama, split: Split, lengths: Sequence[int]
) -> dict[int, dict[str, NDArray[np.float32]]]:
    data, classifier = llama.data, llama.trained
    notes = data.tokenised(split)
    turns = ALONE.turns(len(notes), data.cfg.batch_size)
    parts: dict[int, dict[str, list[Tensor]]] = {length: {} for length in lengths}
    check_device(classifier, data.device)
    classifier.eval()
    with torch.inference_mode():
        for rows in track(turns, total=len(turns), what=f"scores {split}", unit="batch"):
            packed = notes.batch(rows).notes
            logits = classifier.logits_at(packed, ends(packed, lengths).flatten()).view(len(lengths), len(rows), -1)
            for length, cut_logits in zip(lengths, logits, strict=True):
                for name, scores in data.scheme.heads(cut_logits).items():
                    parts[length].setdefault(name, []).append(scores.float())
    return {length: on_the_host(heads) for length, heads in parts.items()}


def ends(notes: Packed, lengths: Sequence[int]) -> Tensor:
    """[len(lengths), B]: place in the row of the last token of each note that is read to at most each length.

    >>> from src.models.engine.packing import pack
    >>> ends(pack([[5, 6, 7], [8, 9]]), [1, 2, 3]).tolist()
    [[0, 3], [1, 4], [2, 4]]
    """
    full_lengths = torch.tensor(notes.lengths)
    return torch.stack([notes.last - full_lengths + full_lengths.clamp(max=length) for length in lengths])


def report_prefixes(predictor: Predictor, prefixes: Sequence[int], run: Path) -> str:
    """Measures validation and test at fewer tokens and at all, and writes `prefixes.csv` and `prefixes.png`.

    Returns:
        The test curve as a table, and where the files are.
    """
    llama = as_llama(predictor, f"{run}: reads no tokens")
    cfg = llama.data.cfg
    lengths = sorted({*prefixes, cfg.max_len})
    curves = {}
    for split in SCORED:
        scored = score_prefixes(llama, split, lengths).items()
        curves[split] = {length: measured(predictions, split, llama.data.space) for length, predictions in scored}
    rows = [row for split, curve in curves.items() for row in _rows(llama.data, split, curve)]
    with atomic_write(RunFolder(run).prefixes) as tmp:
        write_frame(tmp, pl.DataFrame(rows))
    test = curves[Split.TEST]
    draw_prefixes(RunFolder(run).prefixes_figure, test, f"{run.name}: test notes cut to fewer tokens than in training")
    method = "one forward for all lengths"
    if not one_forward(llama):
        method = f"prompt={cfg.prompt} puts words after the cut, so each length was read in a forward of its own"
    apr = llama.data.cohort.record["drg_version"] == DrgSystem.APR
    shown = table({f"{length:,}": metrics for length, metrics in test.items()}, noun="tokens", apr=apr)
    return f"{shown}\n{method}; {RunFolder(run).prefixes}, {RunFolder(run).prefixes_figure}"


def _rows(data: RunData, split: Split, curve: Mapping[int, Mapping[str, float]]) -> list[dict[str, str | int | float]]:
    template_tokens = prompt_template(data.tokenizer, data.cfg.prompt, data.cfg.max_len).tokens
    notes = split_rows(data.cohort, split, data.cfg.data.limit)["row"].to_numpy()
    full_lengths = data.tokens.lengths(notes) + template_tokens
    rows: list[dict[str, str | int | float]] = []
    for length, metrics in curve.items():
        kept = token_lengths(full_lengths, length)
        columns = {name.partition("/")[2]: value for name, value in metrics.items()}
        size = {"mean_tokens": kept["mean_kept"], "share_cut": kept["share_cut"]}
        rows.append({"split": str(split), "max_len": length, "notes": len(notes), **size, **columns})
    return rows
