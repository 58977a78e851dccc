"""Trains LLaMA's LoRA adapters and a classification head over the frozen base."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from src.cli.errors import UserError
from src.cli.signals import Stop
from src.cohort.split import Split
from src.config.train import TrainConfig
from src.models.classifier import Classifier, load_adapters, save_adapters
from src.training.batches import TokenisedNotes
from src.training.fit import fit
from src.training.learner import Learner, Stage
from src.training.learners import open_learners
from src.training.memory import out_of_memory_line
from src.training.predictor import OpenRun, Predictor, Scores, Training
from src.training.ranks import ALONE
from src.training.run_data import RunData, open_data
from src.training.run_plan import plan_lines
from src.training.scoring import score_notes


class Llama(Predictor):
    """Has adapters over a frozen base; its classifier is there once it is fitted or loaded."""

    has_base: ClassVar[bool] = True

    def __init__(self, data: RunData) -> None:
        super().__init__(data)
        # What cannot be had is refused now, before a folder is made.
        _ = data.scheme, data.device, data.tokenizer, data.warm_start
        self.classifier: Classifier | None = None
        self.learner: Learner | None = None

    @property
    def device(self) -> str:
        return self.data.device

    @property
    def wrote_predictions(self) -> bool:
        return self.learner is not None and self.learner.stage is Stage.RECORD

    def listening(self) -> Stop:
        return Stop()

    def fit(self, run: OpenRun) -> Training:
        (training,) = [training for _, training in fit_llamas([self], [run])]
        return training

    def scores(self, split: Split, stop: Stop) -> Scores:
        classifier, learner = self.trained, self.learner
        notes = learner.notes[split] if learner else self.data.tokenised(split)
        return score_notes(
            classifier,
            self.data.scheme,
            notes,
            batch_size=self.data.cfg.batch_size,
            ranks=learner.ranks if learner else ALONE,
            stop=stop,
            device=self.data.device,
            precision=self.data.precision,
            what=f"scores {split}",
        )

    def score(self, rows: pl.DataFrame, stop: Stop) -> Scores:
        ids = [self.data.template.wrap(whole) for whole in self.data.whole_ids(tuple(rows["text"]))]
        notes = TokenisedNotes(ids, [0] * len(ids))
        self.tokens_scored += notes.tokens
        return score_notes(
            self.trained,
            self.data.scheme,
            notes,
            batch_size=self.data.cfg.batch_size,
            ranks=ALONE,
            stop=stop,
            device=self.data.device,
            precision=self.data.precision,
        )

    def cut_texts(self, texts: Sequence[str]) -> NDArray[np.int64]:
        return self.data.cut_texts(texts)

    @property
    def trained(self) -> Classifier:
        """Is the classifier.

        Raises:
            RuntimeError: it was neither fitted nor loaded.
        """
        if self.classifier is None:
            raise RuntimeError("a LLaMA scores when it is fitted or loaded")
        return self.classifier

    def save(self, folder: Path) -> None:
        save_adapters(self.trained, folder)

    def load(self, folder: Path) -> None:
        data = self.data
        self.classifier = load_adapters(data.base(), folder, data.scheme.width, data.device, data.cfg.pooling)

    def keep_stage(self) -> None:
        if self.learner:
            self.learner.scored()

    def reading(self, max_len: int) -> "Llama":
        """Returns the same weights, reading the first `max_len` tokens of each note."""
        shorter = Llama(dataclasses.replace(self.data, cfg=dataclasses.replace(self.data.cfg, max_len=max_len)))
        shorter.classifier = self.trained
        return shorter

    def cut(self, split: Split) -> NDArray[np.bool_]:
        return self.data.cut(split)

    def plan_lines(self) -> list[str]:
        return [*plan_lines(self.data), *(self.data.warm_start.lines() if self.data.warm_start else [])]

    @classmethod
    def out_of_memory_line(cls, cfg: TrainConfig) -> str:
        return out_of_memory_line(open_data(cfg))


def as_llama(predictor: Predictor, refusal: str) -> Llama:
    """Returns a system that is a LLaMA.

    Raises:
        UserError: it is none; the message is `refusal`.
    """
    if not isinstance(predictor, Llama):
        raise UserError(refusal)
    return predictor


def fit_llamas(llamas: Sequence[Llama], runs: Sequence[OpenRun]) -> Iterator[tuple[Llama, Training]]:
    """Trains runs over one copy of the frozen base, and yields each when it has its best epoch's weights.

    Raises:
        UserError: the device, the memory or the weights are not what a configuration says.
        Interrupted: a signal came; the runs are saved.
    """
    untrained = iter(llamas)
    folders, recorders = [run.folder.path for run in runs], [run.recorder for run in runs]
    for learners, setting in open_learners([llama.data for llama in llamas], folders, recorders):
        runs[0].clock.lap("starting")
        fit(learners, setting, runs[0].stop)
        for learner in learners:
            llama, progress = next(untrained), learner.progress
            llama.learner, llama.classifier = learner, learner.classifier
            counts = {
                "trainable_parameters": llama.data.parameters.trained,
                "base_parameters": llama.data.parameters.base,
                "steps": progress.step,
                "best_step": progress.best_step,
                **(llama.data.warm_start.counts if llama.data.warm_start else {}),
            }
            yield llama, Training(counts, {"training": round(progress.seconds, 3)}, progress.tokens_seen)
