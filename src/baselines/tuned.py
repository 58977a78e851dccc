"""Tunes a network in full under a label scheme: what CAML and BERT have in common."""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from src.baselines import bert, caml
from src.baselines.baseline import Baseline
from src.baselines.loop import Encoded, score, tune
from src.cli.signals import Stop
from src.cohort.split import Split
from src.training.predictor import OpenRun, Scores, Training
from src.training.run_data import Notes, RunData


class Tuned(Baseline):
    """Holds a network with what turns text to ids for it."""

    architecture: ClassVar[ModuleType]
    """Where the network is built."""
    reader: ClassVar[Any]
    """What turns text to ids."""

    def __init__(self, data: RunData) -> None:
        super().__init__(data)
        _ = data.scheme, data.device  # refused now where they cannot be had
        self.ids: Any = None
        self.network = nn.Module()

    @property
    def device(self) -> str:
        return self.data.device

    @property
    def head(self) -> list[Tensor]:
        """Lists the weights that `head_lr` is for."""
        return []

    def fit(self, run: OpenRun) -> Training:
        train, validation = (self.data.notes(split) for split in (Split.TRAIN, Split.VALIDATION))
        cfg = self.data.cfg
        self.ids = self.reader.of(train.texts, cfg)
        self.network = self.architecture.build(self.ids, train.texts, self.data.scheme.width, cfg).to(self.data.device)
        steps = tune(
            self.network,
            self.head,
            self.data.scheme,
            (self._encoded(train), self._encoded(validation)),
            cfg,
            self.data.device,
            run.recorder,
        )
        parameters = sum(weight.numel() for weight in self.network.parameters())
        return Training({"trainable_parameters": parameters, "steps": steps})

    def scores(self, split: Split, stop: Stop) -> Scores:
        return self._scores(self.data.notes(split).texts, "scores")

    def score(self, rows: pl.DataFrame, stop: Stop) -> Scores:
        return self._scores(rows["text"].to_list())

    def cut_texts(self, texts: Sequence[str]) -> NDArray[np.int64]:
        return np.maximum(np.array(self.ids.lengths(texts), dtype=np.int64) - self.ids.most, 0)

    def _scores(self, texts: list[str], what: str = "") -> Scores:
        notes = Encoded(self.ids.encode(texts), np.zeros(len(texts), dtype=np.int64))
        self.tokens_scored += sum(len(ids) for ids in notes.ids)
        return score(self.network, self.data.scheme, notes, self.data.cfg, self.data.device, what)

    def write(self, folder: Path) -> None:
        self.ids.save(folder)
        weights = {name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()}
        save_file(weights, folder / "network.safetensors")

    def read(self, folder: Path) -> None:
        self.ids = self.reader.read(folder, self.data.cfg)
        self.network = self.architecture.rebuild(self.ids, self.data.scheme.width, self.data.cfg)
        self.network.load_state_dict(load_file(folder / "network.safetensors"))
        self.network.to(self.data.device)

    def _encoded(self, notes: Notes) -> Encoded:
        return Encoded(self.ids.encode(notes.texts), notes.drg)


class Caml(Tuned):
    """Is CAML: word embeddings, a convolution, and one attention a class."""

    architecture: ClassVar[ModuleType] = caml
    reader: ClassVar[Any] = caml.Words


class Bert(Tuned):
    """Puts a classification head on a BERT's first token."""

    architecture: ClassVar[ModuleType] = bert
    reader: ClassVar[Any] = bert.Pieces

    @property
    def head(self) -> list[Tensor]:
        model: Any = self.network.bert
        inner = f"{model.base_model_prefix}."
        return [weight for name, weight in model.named_parameters() if not name.startswith(inner)]
