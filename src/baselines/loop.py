"""Fine-tunes a small network in full: shuffled batches, validation after each epoch, the best epoch's weights kept."""

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import AdamW

from src.cli.progress import Clock, track
from src.config.choices import Precision
from src.config.train import TrainConfig
from src.metrics.definitions import measure_choices
from src.models.engine.packing import send
from src.models.schemes import Scheme
from src.training.divergence import DivergenceWatch, check_scores
from src.training.optimiser import adamw, rate_factor
from src.training.ranks import ALONE
from src.training.scoring import on_the_host
from src.training.throughput import STEPS_BETWEEN_LOGS, ThroughputMeter

ALIKE = 50
"""Batches whose notes are sorted by length together, so that little is padded."""

PATIENCE = 10
"""Epochs without a better validation accuracy after which training ends without `patience=`: CAML's paper's."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """B notes as token ids, with the index of each note's DRG."""

    ids: Sequence[Sequence[int]]
    drg: NDArray[np.int64]

    def order(self, size: int, seed: int, epoch: int) -> list[int]:
        """Draws a new order every epoch, in which batches of `size` hold notes of about the same length."""
        draw = np.random.default_rng([seed, epoch])
        drawn = draw.permutation(len(self.drg))
        lengths = np.array([len(note) for note in self.ids])
        window = size * ALIKE
        some = [drawn[start : start + window] for start in range(0, len(drawn), window)]
        alike = [rows[np.argsort(lengths[rows], kind="stable")] for rows in some]
        batches = [rows[start : start + size] for rows in alike for start in range(0, len(rows), size)]
        last = batches.pop()  # may be smaller: it stays the last
        mixed = [batches[index] for index in draw.permutation(len(batches))]
        return [int(row) for batch in [*mixed, last] for row in batch]

    def batches(self, order: Sequence[int], size: int, device: str) -> Iterator[tuple[Tensor, Tensor, Tensor, int]]:
        """Ids [b, T] padded with 0 on the right, the mask of real ones [b, T], DRGs [b] on the host, and tokens."""
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            note_ids = [torch.tensor(self.ids[row]) for row in rows]
            lengths = [len(ids) for ids in note_ids]
            ids = nn.utils.rnn.pad_sequence(note_ids, batch_first=True)
            mask = torch.arange(ids.shape[1])[None] < torch.tensor(lengths)[:, None]
            ids, mask = send([ids, mask], torch.device(device))
            yield ids, mask, torch.from_numpy(self.drg[list(rows)]), sum(lengths)


class BestEpoch:
    """Keeps the weights of the epoch with the best validation accuracy, and counts those that brought nothing."""

    def __init__(self, network: nn.Module, patience: int) -> None:
        self.network, self.patience = network, patience
        self.weights, self.accuracy = copy.deepcopy(network.state_dict()), -1.0
        self.epoch = self.last = 0

    def add(self, accuracy: float) -> bool:
        """Takes the next epoch's accuracy; says whether so many brought nothing that training ends."""
        self.last += 1
        if accuracy > self.accuracy:
            self.weights, self.accuracy = copy.deepcopy(self.network.state_dict()), accuracy
            self.epoch = self.last
        return self.last - self.epoch >= self.patience

    def reason(self, cfg: TrainConfig) -> str:
        """Says what ended training, and which epoch is kept."""
        ended = f"max_steps={cfg.max_steps}" if cfg.max_steps else f"epochs={cfg.epochs}"
        if self.last - self.epoch >= self.patience:
            ended = f"{self.patience} epochs without a better validation accuracy"
        return f"{ended} ended training after epoch {self.last}; the weights of epoch {self.epoch} are kept"


def tune(
    network: nn.Module,
    head: Sequence[Tensor],
    scheme: Scheme,
    notes: tuple[Encoded, Encoded],
    cfg: TrainConfig,
    device: str,
    log: Any,
) -> int:
    """Trains every weight with AdamW; the optimiser steps it took.

    Args:
        network: from ids and their mask to logits [b, scheme.width].
        head: those of its weights that `head_lr` is for.
        scheme: the loss on them.
        notes: of training and validation.
        cfg: learning rates and their course, batch size, epochs and seed.
        device: where the network is.
        log: W&B's recorder, or Lightning's stand-in for none.
    """
    train, validation = notes
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    optimiser = _optimiser(weights, head, cfg)
    per_epoch = math.ceil(len(train.drg) / cfg.batch_size)
    steps, window = cfg.max_steps or cfg.epochs * per_epoch, ThroughputMeter(device)
    factor = rate_factor(cfg, steps)
    watch = DivergenceWatch(f"{cfg.model.name} {cfg.labels}", cfg, Precision.FP32, device)
    clock = Clock(total=steps, what=f"{cfg.model.name} {cfg.labels}", unit="step")
    best, step = BestEpoch(network, cfg.patience or PATIENCE), 0
    for epoch in range(cfg.epochs):
        network.train()
        order = train.order(cfg.batch_size, cfg.seed, epoch)
        for ids, mask, drg, read in train.batches(order, cfg.batch_size, device):
            for group in optimiser.param_groups:
                group["lr"] = group["initial_lr"] * factor(step)
            loss = scheme.loss(network(ids, mask), drg)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(weights, cfg.clip)
            watch.add(step + 1, optimiser.param_groups[0]["lr"], loss.detach(), norm)
            optimiser.step()
            optimiser.zero_grad()
            step += 1
            clock.step(partial("loss {:.3f}".format, loss.detach()))
            window.add(loss.detach(), norm, len(drg), read, mask.numel() - read)
            if step % STEPS_BETWEEN_LOGS == 0 or step % per_epoch == 0:
                rates = {"train/lr": optimiser.param_groups[0]["lr"], "train/epoch": step / per_epoch}
                log.log_metrics({**rates, **window.tell(steps - step, ALONE)}, step)
            if step == steps:
                break
        watch.read()
        scores = score(network, scheme, validation, cfg, device)["scores"]
        measured = measure_choices(scores.argmax(1), validation.drg, scores.shape[1])
        log.log_metrics({f"val/{name}": value for name, value in measured.items()}, step)
        accuracy = measured["accuracy"]
        print(f"{cfg.model.name} {cfg.labels}: epoch {epoch + 1}, validation accuracy {accuracy:.3f}", flush=True)
        if best.add(accuracy) or step == steps:
            break
    print(f"{cfg.model.name} {cfg.labels}: {best.reason(cfg)}", flush=True)
    network.load_state_dict(best.weights)
    return step


def _optimiser(weights: Sequence[Tensor], head: Sequence[Tensor], cfg: TrainConfig) -> AdamW:
    """Makes the optimiser, with a group for the head where it has a rate of its own; `initial_lr` is a group's peak."""
    apart = set(map(id, head if cfg.head_lr is not None else ()))
    optimiser = adamw([weight for weight in weights if id(weight) not in apart], cfg.lr, cfg.weight_decay)
    if apart:
        optimiser.add_param_group({"params": list(head), "lr": cfg.head_lr})
    for group in optimiser.param_groups:
        group["initial_lr"] = group["lr"]
    return optimiser


def score(
    network: nn.Module, scheme: Scheme, notes: Encoded, cfg: TrainConfig, device: str, what: str = ""
) -> dict[str, NDArray[np.float32]]:
    """Computes the log-probabilities of each head of the scheme for every note, in order."""
    network.eval()
    parts: dict[str, list[Tensor]] = {}
    batches = notes.batches(range(len(notes.drg)), cfg.batch_size, device)
    total = math.ceil(len(notes.drg) / cfg.batch_size)
    with torch.inference_mode():
        for ids, mask, _, _ in track(batches, total=total, what=what, unit="batch") if what else batches:
            for name, scores in scheme.heads(network(ids, mask)).items():
                parts.setdefault(name, []).append(scores.float())
    heads = on_the_host(parts)
    check_scores(heads, what or "validation", Precision.FP32)
    return heads
