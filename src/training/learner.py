"""Holds one run in training: its classifier and optimiser, its place in the notes, and its best epoch so far."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from src.cli.errors import UserError
from src.cohort.split import Split
from src.models.classifier import AdapterBatch, Classifier
from src.runs.identity import SAMPLE, another_run, identity
from src.training.batches import Batch, TokenisedNotes, steps_of
from src.training.callback_states import callback_states, load_states
from src.training.checkpoints import read_checkpoint, write_checkpoint
from src.training.optimiser import adamw
from src.training.ranks import Ranks
from src.training.run_data import RunData
from src.training.throughput import STEPS_BETWEEN_LOGS, ThroughputMeter

if TYPE_CHECKING:
    from pytorch_lightning import Callback

MOMENTS = ("exp_avg", "exp_avg_sq")


class MicroBatch(NamedTuple):
    """Holds some notes of a step."""

    inputs: AdapterBatch
    """What the classifier reads: tokens, and the dropout of their adapters' inputs."""
    notes: Batch
    share: float
    """By which their loss counts in the step's."""


class Stage(StrEnum):
    """Names what a run does next; a run with a record is done."""

    TRAIN = "train"
    VALIDATE = "validate"
    """The epoch, or the run, that ended with the last step."""
    SCORE = "score"
    RECORD = "record"
    """Its predictions are written."""


@dataclasses.dataclass
class Progress:
    """Says where a run stands; all of it goes into a checkpoint."""

    stage: Stage = Stage.TRAIN
    step: int = 0
    """Optimiser steps done."""
    validated: int = 0
    """Steps after which validation was last done."""
    best: float = -1.0
    """Best accuracy on validation notes."""
    best_step: int = 0
    tokens_seen: int = 0
    notes_seen: int = 0
    seconds: float = 0.0
    """Time in training, earlier starts included."""
    window: dict[str, float] = dataclasses.field(default_factory=dict)
    """Of the next row of the curves."""


class Learner:
    """Trains a run.

    AdamW with weight decay and linear decay of the learning rate without warm-up, as the paper's code. Every step is a
    function of the state that `save` writes, and of nothing else: a run that goes on equals one that was never stopped.
    """

    def __init__(
        self,
        data: RunData,
        classifier: Classifier,
        notes: Mapping[Split, TokenisedNotes],
        run_dir: Path,
        recorder: Any,
        ranks: Ranks,
        callbacks: "Sequence[Callback]" = (),
    ) -> None:
        cfg = data.cfg
        self.data, self.classifier, self.run_dir, self.recorder = data, classifier, run_dir, recorder
        self.callbacks = list(callbacks)
        """The user's; their states go into checkpoints."""
        self.notes, self.ranks, self.scheme = notes, ranks, data.scheme
        self.steps = steps_of(cfg, notes[Split.TRAIN])
        self.weights = classifier.trained()
        self.leaves = classifier.leaves()
        self.optimiser = adamw(self.leaves, cfg.lr, cfg.weight_decay)
        self.progress = Progress()
        self.best_weights: dict[str, Tensor] = {}
        self.accuracy = self.last_loss = float("nan")
        self.window = ThroughputMeter(data.device)
        self._loss = torch.zeros((), device=data.device)
        self._since = time.monotonic()
        self.stopped = False
        """Whether a callback ended training before its last step."""
        self.due_row: dict[str, float] = {}
        """Of the curves, to be logged."""
        self._set_rate()

    @property
    def stage(self) -> Stage:
        """Names what the run does next."""
        return self.progress.stage

    @property
    def trained(self) -> bool:
        """Says whether every step is done and validated."""
        return self.stage in (Stage.SCORE, Stage.RECORD)

    def steps_to_validations(self) -> list[int]:
        """Steps from now to each validation that is left; 0 for one that is owed."""
        step = self.progress.step
        later = [end - step for end in self.steps.ends if end > step and not (self.stopped or self.trained)]
        return [0, *later] if self.stage is Stage.VALIDATE else later

    def micro_batches(self, step: int, at_once: int) -> list[MicroBatch]:
        """This process's notes of a step, `at_once` at a time, each with its share of the step's loss.

        The shares of all processes add up to the number of processes: gradients are averaged over them.
        """
        rows = self.steps.rows(step)
        of = len(rows) / self.ranks.count
        turns = self.ranks.turns(len(rows), at_once)
        return [self.micro_batch(step, rows, some or [0], of if some else float("inf")) for some in turns]

    def micro_batch(self, step: int, rows: list[int], indices: list[int], of: float) -> MicroBatch:
        """Returns the notes of some indices of a step, and their share of its loss: their number over `of`."""
        batch = self.steps.notes.batch([rows[index] for index in indices])
        noise = self.steps.noise(step, indices, self.data.cfg.lora.dropout)
        return MicroBatch(AdapterBatch(self.classifier, batch.notes, noise), batch, len(indices) / of)

    def loss(self, logits: Tensor, batch: Batch, share: float) -> Tensor:
        """Computes a micro-batch's part of the step's loss."""
        loss = self.scheme.loss(logits, batch.drg) * share
        self._loss += loss.detach() / self.ranks.count
        return loss

    def update(self, optimiser: Any, at_once: int) -> None:
        """The optimiser step, once all gradients of it are there.

        Args:
            optimiser: the run's own, as Lightning wraps it.
            at_once: notes of a micro-batch.

        Raises:
            RuntimeError: no step is due.
        """
        if self.stage is not Stage.TRAIN:
            raise RuntimeError(f"{self.run_dir}: a step was taken where the run was to {self.stage}")
        cfg, step = self.data.cfg, self.progress.step
        rows = self.steps.rows(step)
        rate = self.optimiser.param_groups[0]["lr"]
        norm = torch.nn.utils.clip_grad_norm_(self.leaves, cfg.clip)
        optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.progress.step += 1
        self._set_rate()
        ended = self.steps.is_validated(self.progress.step)
        self.progress.stage = Stage.VALIDATE if ended else Stage.TRAIN
        self.progress.notes_seen += len(rows)
        tokens = int(self.steps.notes.lengths[rows].sum())
        self.progress.tokens_seen += tokens
        idle = self.ranks.idle_turns(len(rows), at_once)
        self.window.add(self._loss, norm, len(rows), tokens, idle * int(self.steps.notes.lengths[rows[0]]))
        if self.progress.step % STEPS_BETWEEN_LOGS == 0 or ended:
            row = self.window.tell(len(self.steps) - self.progress.step, self.ranks)
            self.last_loss = row.get("train/loss", self.last_loss)
            self.due_row = {"train/lr": rate, "train/epoch": self.progress.step / self.steps.per_epoch, **row}
        self._loss = torch.zeros_like(self._loss)

    def _set_rate(self) -> None:
        """Sets the next step's learning rate, a function of its number alone."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.data.cfg.lr * (1 - self.progress.step / len(self.steps))

    def stop_early(self) -> None:
        """Ends training here, after a validation where none was made at this step."""
        self.stopped = True
        if self.stage is Stage.TRAIN:
            self.progress.stage = Stage.SCORE if self.progress.validated == self.progress.step else Stage.VALIDATE

    def validated(self, accuracy: float) -> None:
        """Takes a validation's accuracy; the best epoch's weights are kept."""
        self.progress.validated, self.accuracy = self.progress.step, accuracy
        ended = self.stopped or self.progress.step == len(self.steps)
        self.progress.stage = Stage.SCORE if ended else Stage.TRAIN
        if accuracy > self.progress.best:
            self.progress.best, self.progress.best_step = accuracy, self.progress.step
            self.best_weights = {name: weight.detach().clone() for name, weight in self.weights.items()}

    def take_best(self) -> None:
        """Sets the weights of the epoch with the best validation accuracy."""
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(self.best_weights[name])

    def scored(self) -> None:
        """Notes that the predictions are written: a run that goes on reads them."""
        if self.stage is Stage.SCORE:
            self.progress.stage = Stage.RECORD
            self.save()

    def save(self) -> None:
        """Writes a checkpoint; the first process of several does."""
        now = time.monotonic()
        self.progress.seconds, self._since = self.progress.seconds + now - self._since, now
        self.progress.window = self.window.state(self.ranks)
        if not self.ranks.first:
            return
        tensors: dict[str, Tensor] = {f"weights/{name}": weight for name, weight in self.weights.items()}
        tensors |= {f"best/{name}": weight for name, weight in self.best_weights.items()}
        for moment, by_name in self._moments().items():
            tensors |= {f"{moment}/{name}": value for name, value in by_name.items()}
        data = self.data
        config = dataclasses.asdict(data.cfg)
        decided = {"config": config, "cohort": data.cohort.fingerprint, "sample": SAMPLE}
        standing: dict[str, Any] = {
            "identity": self._identity(),
            **decided,
            "progress": dataclasses.asdict(self.progress),
        }
        if self.callbacks:
            states, state_tensors = callback_states(self.callbacks)
            tensors |= state_tensors
            standing |= {"stopped": self.stopped, "callbacks": states}
        write_checkpoint(self.run_dir, tensors, standing)

    def restore(self) -> bool:
        """Goes on from the newest whole checkpoint; False where there is none.

        Raises:
            UserError: the checkpoint is of another configuration, cohort or model.
        """
        if (checkpoint := read_checkpoint(self.run_dir, self.ranks.first)) is None:
            return False
        tensors, standing = checkpoint
        if standing["identity"] != self._identity():
            raise another_run(self.data.cfg, self.data.cohort.fingerprint, self.run_dir, standing)
        self.progress = self._progress(standing["progress"])
        self.stopped = standing.get("stopped", False)
        load_states(self.callbacks, standing.get("callbacks", {}), tensors)
        self._set_rate()
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(self._fitting(tensors, f"weights/{name}", weight))
                if f"best/{name}" in tensors:
                    self.best_weights[name] = tensors[f"best/{name}"].to(weight.device)
            if any(name.startswith(MOMENTS[0]) for name in tensors):
                for leaf in self.leaves:
                    # A fused optimiser counts steps where the weights are.
                    step = torch.tensor(float(self.progress.step), device=leaf.device if leaf.is_cuda else None)
                    self.optimiser.state[leaf] = {"step": step, **{kind: torch.zeros_like(leaf) for kind in MOMENTS}}
                for moment, by_name in self._moments().items():
                    for name, value in by_name.items():
                        value.copy_(self._fitting(tensors, f"{moment}/{name}", value))
        self.window.load(self.progress.window, self.ranks)
        return True

    def _progress(self, written: Mapping[str, Any]) -> Progress:
        """Reads a checkpoint's progress; those of earlier versions name no stage.

        Raises:
            UserError: an earlier version took a step where a validation was due.
        """
        if "stage" in written:
            return Progress(**{**written, "stage": Stage(written["stage"])})
        step, steps = written["step"], self.steps
        ended = step if steps.is_validated(step) else step - step % steps.per_epoch
        if step > len(steps) or written["validated"] < ended < step:
            raise UserError(
                f"{self.run_dir}: its checkpoint was written by an earlier version that left out the validation after "
                f"step {min(ended, len(steps))}; remove the folder and train the run again"
            )
        stage = Stage.SCORE if step == len(steps) else Stage.TRAIN
        return Progress(**written, stage=Stage.VALIDATE if written["validated"] < ended else stage)

    def _moments(self) -> dict[str, dict[str, Tensor]]:
        """Returns the optimiser's moments of each weight, views of its state; none before the first step."""
        states = [self.optimiser.state[leaf] for leaf in self.leaves if leaf in self.optimiser.state]
        return {kind: self.classifier.spread([state[kind] for state in states]) for kind in MOMENTS if states}

    def _fitting(self, tensors: Mapping[str, Tensor], name: str, like: Tensor) -> Tensor:
        if name not in tensors or tensors[name].shape != like.shape:
            raise UserError(f"{self.run_dir}: its checkpoint does not fit this model ({name}); is model.path the same?")
        return tensors[name]

    def _identity(self) -> str:
        return identity(self.data.cfg, self.data.cohort.fingerprint)
