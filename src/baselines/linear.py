"""Predicts the commonest DRGs, or by a linear model of TF-IDF, alone or with the facts of the admission."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from src.baselines.baseline import Baseline
from src.baselines.features import Facts
from src.baselines.tfidf import TfidfLinear, linear_scores, vectorizer
from src.cli.signals import Stop
from src.cohort.split import Split
from src.training.predictor import OpenRun, Scores, Training
from src.training.run_data import RunData


class Majority(Baseline):
    """Gives every note the DRGs of the training notes, as often as they come; half a note more for each DRG."""

    def __init__(self, data: RunData) -> None:
        super().__init__(data)
        self.counts: NDArray[np.float64] = np.zeros(0)

    def fit(self, run: OpenRun) -> Training:
        drg = self.data.notes(Split.TRAIN).drg
        self.counts = np.bincount(drg, minlength=len(self.data.space.codes)) + np.float64(0.5)
        return Training({"trainable_parameters": len(self.counts), "steps": 0})

    def score(self, rows: pl.DataFrame, stop: Stop) -> Scores:
        shares = np.log(self.counts / self.counts.sum()).astype(np.float32)
        return {"scores": np.tile(shares, (rows.height, 1))}

    def write(self, folder: Path) -> None:
        save_file({"counts": self.counts}, folder / "majority.safetensors")

    def read(self, folder: Path) -> None:
        self.counts = load_file(folder / "majority.safetensors")["counts"]


class Linear(Baseline):
    """Weights words and word pairs by TF-IDF, with one linear classifier a DRG."""

    facts: Facts | None = None

    def __init__(self, data: RunData) -> None:
        super().__init__(data)
        self.weights: dict[str, NDArray[Any]] = {}
        self.vocabulary: dict[str, int] = {}

    def fit(self, run: OpenRun) -> Training:
        train = self.data.notes(Split.TRAIN)
        if self.facts:
            self.facts.fit(train.rows)
        more = self._facts(train.rows)
        model = TfidfLinear(self.data.cfg.seed).fit(self.reads(train.texts), train.drg.tolist(), more)
        self.vocabulary, self.weights = model.learnt()
        parameters = int(self.weights["coef"].size + self.weights["intercept"].size)
        return Training({"trainable_parameters": parameters, "steps": 0})

    def score(self, rows: pl.DataFrame, stop: Stop) -> Scores:
        more = self._facts(rows)
        words = vectorizer(self.vocabulary, self.weights["idf"])
        values = linear_scores(words.transform(self.reads(rows["text"].to_list())), more, self.weights)
        return {"scores": expand_to_all_drgs(values, self.weights["classes"], len(self.data.space.codes))}

    def reads(self, texts: list[str]) -> list[str]:
        """Cuts each text where it stops reading."""
        return texts

    def _facts(self, rows: pl.DataFrame) -> Any:
        from sklearn.preprocessing import normalize

        return normalize(self.facts.of(rows)) if self.facts else None

    def write(self, folder: Path) -> None:
        save_file(self.weights, folder / "linear.safetensors")
        facts = self.facts.learnt() if self.facts else None
        text = json.dumps({"vocabulary": self.vocabulary, "facts": facts})
        (folder / "linear.json").write_text(text, "utf-8")

    def read(self, folder: Path) -> None:
        self.weights = load_file(folder / "linear.safetensors")
        learnt = json.loads((folder / "linear.json").read_text("utf-8"))
        self.vocabulary = learnt["vocabulary"]
        self.facts = Facts.from_learnt(learnt["facts"]) if learnt["facts"] else None


class CutLinear(Linear):
    """Reads of each note what a LLaMA reads: what `max_len` tokens of the tokenizer at `model.path` keep."""

    def cut(self, split: Split) -> NDArray[np.bool_]:
        return self.data.cut(split)

    def cut_texts(self, texts: Sequence[str]) -> NDArray[np.int64]:
        return self.data.cut_texts(texts)

    def reads(self, texts: list[str]) -> list[str]:
        return self.data.kept_texts(texts)


class Fusion(Linear):
    """Reads the admission's facts too.

    They stand beside the words as further columns; those of an admission have length 1, as its words have.
    """

    def __init__(self, data: RunData) -> None:
        super().__init__(data)
        self.facts = Facts(coded=False)


def expand_to_all_drgs(values: NDArray[np.floating], classes: NDArray[np.int64], drgs: int) -> NDArray[np.float32]:
    """[B, D] log-probabilities from the values of the classes met in training; a note's others are below them."""
    from src.metrics.definitions import log_softmax

    whole = np.repeat(values.min(1, keepdims=True) - np.float64(1), drgs, axis=1)
    whole[:, classes] = values
    return log_softmax(whole).astype(np.float32)
