"""Holds one run in training: its classifier and optimiser, its place in the notes, and its best epoch so far."""

import dataclasses
import math
import sys
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from src.cli.errors import UserError
from src.cohort.split import Split
from src.config.choices import Precision
from src.models.classifier import AdapterBatch, Classifier
from src.runs.identity import SAMPLE, another_run, identity
from src.training.batches import Batch, TokenisedNotes, steps_of
from src.training.callback_states import callback_states, load_states
from src.training.checkpoints import read_checkpoint, write_checkpoint
from src.training.divergence import DivergenceWatch
from src.training.optimiser import optimiser_of, rate_factor
from src.training.ranks import Ranks
from src.training.run_data import RunData
from src.training.throughput import STEPS_BETWEEN_LOGS, ThroughputMeter

if TYPE_CHECKING:
    from pytorch_lightning import Callback

MOMENTS = ("exp_avg", "exp_avg_sq")

LATER = ("since_best", "skipped")
"""Fields of `Progress` that checkpoints of before do not have."""


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
    since_best: int = 0
    """Validations in a row without a better one."""
    skipped: int = 0
    """Steps of fp16 whose gradient overflowed: they count, and change nothing but the loss's scale."""


class Learner:
    """Trains a run.

    AdamW with weight decay and, unless the configuration says otherwise, linear decay of the learning rate without
    warm-up, as the paper's code. Every step is a function of the state that `save` writes, and of nothing else: a run
    that goes on equals one that was never stopped.
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
        self.optimiser = optimiser_of(classifier, cfg, data.precision)
        self.leaves = classifier.leaves(apart=cfg.lora.plus is not None)
        self.rate_factor = rate_factor(cfg, len(self.steps))
        scaled = data.precision is Precision.FP16
        self.scaler = torch.amp.GradScaler(torch.device(data.device).type, enabled=scaled)
        """Scales the loss of fp16; elsewhere it leaves everything as it is."""
        self.watch = DivergenceWatch(run_dir, cfg, data.precision, data.device, skips=scaled)
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
        """Computes a micro-batch's part of the step's loss, scaled in fp16."""
        loss = self.scheme.loss(logits, batch.drg) * share
        self._loss += loss.detach() / self.ranks.count
        return self.scaler.scale(loss)

    def update(self, optimiser: Any, at_once: int) -> None:
        """The optimiser step, once all gradients of it are there.

        Args:
            optimiser: the run's own, as Lightning wraps it.
            at_once: notes of a micro-batch.

        Raises:
            RuntimeError: no step is due.
            Diverged: a step is not finite: on a CPU this one, on a GPU one of the last few.
        """
        if self.stage is not Stage.TRAIN:
            raise RuntimeError(f"{self.run_dir}: a step was taken where the run was to {self.stage}")
        cfg, step = self.data.cfg, self.progress.step
        rows = self.steps.rows(step)
        rate = self.optimiser.param_groups[0]["lr"]
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.optimiser)
        norm = torch.nn.utils.clip_grad_norm_(self.leaves, cfg.clip)
        self.watch.add(step + 1, rate, self.ranks.summed(self._loss), norm)
        if self.scaler.is_enabled():
            # As GradScaler.step, which would set it on Lightning's optimiser, or not call that and lose its count.
            self.optimiser.found_inf = norm.isfinite().logical_not().float()
            norm = norm.nan_to_num(0.0, 0.0, 0.0)
        optimiser.step()
        self.scaler.update()
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
            self.check_finite()
            row = self.window.tell(len(self.steps) - self.progress.step, self.ranks)
            self.last_loss = row.get("train/loss", self.last_loss)
            self.due_row = {"train/lr": rate, "train/epoch": self.progress.step / self.steps.per_epoch, **row}
        self._loss = torch.zeros_like(self._loss)

    def _set_rate(self) -> None:
        """Sets the next step's learning rate, a function of its number alone."""
        for group in self.optimiser.param_groups:
            group["lr"] = group["initial_lr"] * self.rate_factor(self.progress.step)

    def check_finite(self) -> None:
        """Holds all steps so far, and the weights, to be finite: no checkpoint and no best epoch is anything else.

        Raises:
            Diverged: something is not.
        """
        self.watch.read()
        skipped, self.watch.skipped, step = self.watch.skipped, 0, self.progress.step
        self.progress.skipped += skipped
        if (scale := self.scaler.get_scale()) < 1:
            raise self.watch.diverged(f"gradients overflow at step {step} however little the loss is scaled")
        if not torch.stack([leaf.isfinite().all() for leaf in self.leaves]).all():
            raise self.watch.diverged(f"weights are not finite after step {step}")
        if skipped and self.ranks.first:
            print(
                f"{self.run_dir}: {skipped} of the steps up to {step} changed nothing, as gradients overflowed fp16; "
                f"the loss is scaled by {scale:g} now",
                file=sys.stderr,
                flush=True,
            )

    def stop_early(self) -> None:
        """Ends training here, after a validation where none was made at this step."""
        self.stopped = True
        if self.stage is Stage.TRAIN:
            self.progress.stage = Stage.SCORE if self.progress.validated == self.progress.step else Stage.VALIDATE

    def validated(self, accuracy: float, loss: float) -> None:
        """Takes a validation's accuracy; the best epoch's weights are kept, and `patience` may end training.

        Raises:
            Diverged: the loss is no number.
        """
        if math.isnan(loss):
            raise self.watch.diverged(f"the validation after step {self.progress.step} has a loss of nan")
        self.progress.validated, self.accuracy = self.progress.step, accuracy
        self.progress.since_best += 1
        if accuracy > self.progress.best:
            self.progress.best, self.progress.best_step, self.progress.since_best = accuracy, self.progress.step, 0
            self.best_weights = {name: weight.detach().clone() for name, weight in self.weights.items()}
        impatient = self.progress.since_best >= (self.data.cfg.patience or math.inf)
        ended = self.stopped or impatient or self.progress.step == len(self.steps)
        self.progress.stage = Stage.SCORE if ended else Stage.TRAIN

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
        """Writes a checkpoint; the first process of several does.

        Raises:
            Diverged: something of it is not finite; the last one is kept.
        """
        self.check_finite()
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
            "progress": self._written_progress(),
        }
        if self.scaler.is_enabled():
            standing["scaler"] = self.scaler.state_dict()
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
        if "scaler" in standing:
            self.scaler.load_state_dict(standing["scaler"])
        self._set_rate()
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(self._fitting(tensors, f"weights/{name}", weight))
                if f"best/{name}" in tensors:
                    self.best_weights[name] = tensors[f"best/{name}"].to(weight.device)
            if any(name.startswith(MOMENTS[0]) for name in tensors):
                for leaf in self.leaves:
                    # A fused optimiser counts steps where the weights are.
                    taken = float(self.progress.step - self.progress.skipped)
                    step = torch.tensor(taken, device=leaf.device if leaf.is_cuda else None)
                    self.optimiser.state[leaf] = {"step": step, **{kind: torch.zeros_like(leaf) for kind in MOMENTS}}
                for moment, by_name in self._moments().items():
                    for name, value in by_name.items():
                        value.copy_(self._fitting(tensors, f"{moment}/{name}", value))
        self.window.load(self.progress.window, self.ranks)
        return True

    def _written_progress(self) -> dict[str, Any]:
        """Returns what a checkpoint keeps of the progress: what earlier versions did not have only where it is used."""
        unused = {name for name in LATER if not getattr(self.progress, name)}
        unused |= {"since_best"} if self.data.cfg.patience is None else set()
        return {name: value for name, value in dataclasses.asdict(self.progress).items() if name not in unused}

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
