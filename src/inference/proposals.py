"""Says of each encounter which DRGs are likely, whether to decide by them or to defer, and why to defer."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from src.cli.signals import Stop
from src.cohort.weights import Weights
from src.evaluation.prediction_table import label_table
from src.inference.model import Models

NO_TEXT, SHORT, UNFAMILIAR, UNSURE = "no section", "too short", "unlike the training notes", "not sure enough"
CUT = "tokens not read"


@dataclass(frozen=True, eq=False)
class ReadNotes:
    """Holds B encounters that were read, of which n have a text."""

    ids: pl.DataFrame
    """[B] `id`."""
    notes: pl.DataFrame
    """[n] those with a text, as `Proposer.read` takes them."""
    measures: pl.DataFrame
    """[n] `id`, `words`, `unread_tokens` and `unfamiliar`, see `Proposer.decide`."""


@dataclass(frozen=True, eq=False)
class Proposer:
    """Proposes DRGs by some models.

    A note without a text has no DRG. A note is deferred where it has fewer words than the cohort's notes, more new
    words than 99 of 100 validation notes, or where validation notes as sure were right less often than `aim`. Tokens
    that are not read are told, and defer no note: validation notes were cut alike, and the threshold holds for them.
    """

    models: Models
    weights: Weights
    count: int = 5
    """DRGs that are listed."""
    aim: float = 0.9
    """Accuracy that decided notes are to have."""

    @cached_property
    def threshold(self) -> float | None:
        """Is the confidence from which notes are decided; None where validation notes never reach `aim`."""
        return self.models.threshold(self.aim)

    @cached_property
    def labels(self) -> pl.DataFrame:
        """Describes each DRG: `drg` and the other columns of `label_table`."""
        labels = self.models.first.predictor.data.cohort.labels
        return label_table(labels, self.weights).rename({"code": "drg"})

    @property
    def remarks(self) -> list[str]:
        """Says what a reader must know of the weights."""
        codes = self.labels.drop_nulls("base_drg")["drg"].to_list()
        return self.weights.remarks(codes, self.models.drg_version)

    def fingerprint(self, encounters: str = "") -> str:
        """Names by a hash all that decides on proposals, with the fingerprint of the encounters."""
        decisive = {
            "encounters": encounters,
            "models": [(model.fingerprint, model.record.config, model.kept.record) for model in self.models.members],
            "weights": (self.weights.year, sorted(self.weights.of.items())),
            "options": (self.count, self.aim, COLUMNS),
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]

    def propose(self, encounters: pl.DataFrame, stop: Stop) -> pl.DataFrame:
        """Proposes DRGs for B encounters, see `read` and `decide`."""
        return self.decide(self.read(encounters), stop)

    def read(self, encounters: pl.DataFrame) -> ReadNotes:
        """Measures the notes of B encounters, before a network reads them.

        One thread may read the next encounters while another decides on these.

        Args:
            encounters: `id` and `text`, what the models read of the note, null where it has no such section; with the
                columns of `admissions.parquet` where a model reads facts.
        """
        notes = encounters.filter(encounters["text"].fill_null("").str.strip_chars() != "")
        texts = notes["text"]
        measures = pl.DataFrame(
            {
                "id": notes["id"],
                "words": texts.str.extract_all(r"\S+").list.len(),
                "unread_tokens": np.max(
                    [model.predictor.cut_texts(texts.to_list()) for model in self.models.members], 0
                ),
                "unfamiliar": self.models.first.kept.words.unseen_share(texts),
            }
        )
        return ReadNotes(encounters.select("id"), notes, measures)

    def decide(self, read: ReadNotes, stop: Stop) -> pl.DataFrame:
        """Proposes DRGs for B encounters that were read.

        Args:
            read: the encounters.
            stop: raises between batches when a signal came.

        Returns:
            A row an encounter in their order: `id`, the likeliest `drg` with its `title`, `mdc`, `type`, `base_drg`,
            `severity`, `weight` and `gmlos` (days), its `probability`; `drgs` and `probabilities` of the `count`
            likeliest; `decision` (decide or defer) and `reasons` for deferring; `words`, `unread_tokens` and
            `unfamiliar` (share of new words); `drg_version`, of the labels, null for a hospital's own classes;
            `model` and `cohort`, their fingerprints.
        """
        best, shares = self._best(read.notes, stop)
        codes = np.array(self.models.space.codes)
        known = read.measures.with_columns(
            drgs=pl.Series(codes[best].tolist(), dtype=pl.List(pl.String)),
            probabilities=pl.Series(shares.tolist(), dtype=pl.List(pl.Float64)),
        )
        whole = read.ids.join(known, "id", how="left", maintain_order="left")
        whole = whole.with_columns(
            drg=pl.col("drgs").list.first(),
            probability=pl.col("probabilities").list.first(),
            reasons=pl.Series(
                [list(self._reasons(row)) for row in whole.iter_rows(named=True)], dtype=pl.List(pl.String)
            ),
            model=pl.lit("+".join(model.fingerprint for model in self.models.members)),
            drg_version=pl.lit(self.models.drg_version, pl.String),
            cohort=pl.lit(self.models.first.record.cohort),
        )
        deferring = pl.col("reasons").list.eval(~pl.element().str.ends_with(CUT)).list.any()
        whole = whole.with_columns(decision=pl.when(deferring).then(pl.lit("defer")).otherwise(pl.lit("decide")))
        return whole.join(self.labels, "drg", how="left", maintain_order="left").select(*COLUMNS)

    def _best(self, rows: pl.DataFrame, stop: Stop) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Finds each note's likeliest DRGs, [B, count], by position in the label space, and their probabilities."""
        count = min(self.count, len(self.models.space.codes))
        if rows.is_empty():
            return np.zeros((0, count), np.int64), np.zeros((0, count))
        probabilities = self.models.probabilities(rows, stop)
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
        return best, np.take_along_axis(probabilities, best, axis=1)

    def _reasons(self, row: dict[str, object]) -> Iterator[str]:
        kept = self.models.first.kept.record
        words, unread, unfamiliar = row["words"], row["unread_tokens"], row["unfamiliar"]
        if not isinstance(words, int):
            yield f"{NO_TEXT}: {' and '.join(name.replace('_', ' ') for name in kept['sections'])}"
            return
        assert isinstance(unread, int)
        assert isinstance(unfamiliar, float)
        confidence = row["probabilities"][0]  # type: ignore[index]
        if words < kept["fewest_words"]:
            yield f"{SHORT}: {words} words, the cohort's notes have {kept['fewest_words']} or more"
        if unfamiliar > kept["unseen_words"]:
            yield f"{UNFAMILIAR}: {100 * unfamiliar:.0f} % of the words are new"
        if self.threshold is None:
            yield f"{UNSURE}: validation notes are never right as often as {100 * self.aim:.0f} %"
        elif confidence < self.threshold:
            yield f"{UNSURE}: {100 * confidence:.0f} %, needed are {100 * self.threshold:.0f} %"
        if unread:
            yield f"{unread:,} {CUT}"


COLUMNS = (
    "id", "drg", "title", "probability", "base_drg", "severity", "mdc", "type", "weight", "gmlos", "decision",
    "reasons", "drgs", "probabilities", "words", "unread_tokens", "unfamiliar", "drg_version",
    "model", "cohort",
)  # fmt: skip
