"""Defines the configuration of pretraining a small base."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.config.choices import Objective
from src.config.cohort_folder import RECORD


@dataclass
class PretrainData:
    """Names the prepared cohort."""

    dir: str
    """Folder that `python -m src.prepare` wrote; only its training notes are read."""


@dataclass
class PretrainConfig:
    """Makes a small LLaMA from nothing, or a BERT: a tokenizer, then prediction of words of the training notes."""

    data: PretrainData
    out: str
    """Folder for tokenizer and weights."""
    objective: Objective
    vocab_size: int
    """Tokens of the vocabulary: byte-level BPE, or a BERT's word pieces."""
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    context: int
    """Tokens of the longest text."""
    shortest: int
    """Each note is cut to a random number of tokens from this one to `context`, so that every length is met."""
    course_share: float
    """Share of the course's tokens that are predicted by `objective=next`; the answer's always are."""
    answer_weight: float
    """Weight of a token of the Discharge Diagnosis beside a token of the hospital course, by `objective=next`."""
    batch_tokens: int
    """Tokens an optimiser step, about."""
    epochs: int
    lr: float
    """Peak learning rate, after warm-up over the first 2 % of the steps; decays along a cosine."""
    weight_decay: float
    bf16: bool
    """Matrix products in bf16 by autocast."""
    seed: int
    threads: int | None
    """CPU threads of PyTorch; null leaves its default."""
    device: str

    @property
    def sizes(self) -> dict[str, Any]:
        """Gives the architecture's sizes by the names that transformers has for them."""
        return {
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "max_position_embeddings": self.context,
        }

    def problems(self) -> list[str]:
        """Returns one line for each value that cannot be."""
        bounds = [
            (
                "vocab_size",
                self.vocab_size,
                self.vocab_size >= 300,
                "must be at least 300: bytes, special tokens, merges",
            ),
            (
                "heads",
                self.heads,
                self.hidden_size % (2 * self.heads) == 0,
                "must divide hidden_size into even widths",
            ),
            ("shortest", self.shortest, 32 <= self.shortest <= self.context, "must be from 32 to context"),
            ("course_share", self.course_share, 0 < self.course_share <= 1, "must be above 0 and at most 1"),
            ("epochs", self.epochs, self.epochs >= 1, "must be at least 1"),
            ("lr", self.lr, 0 < self.lr <= 1e6, "must be above 0 and at most 1,000,000"),
        ]
        problems = [f"{key}={value}: {must}" for key, value, holds, must in bounds if not holds]
        if not (Path(self.data.dir) / RECORD).is_file():
            problems.append(f"data.dir={self.data.dir}: no prepared cohort there; make one with python -m src.prepare")
        return problems
