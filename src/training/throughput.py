"""Measures what a run tells of its training: means over the notes since it last told, speed, memory, time left."""

import time

import torch
from torch import Tensor

from src.cli.own_memory import peak_memory
from src.cohort.disclosure import MIN_GROUP_PATIENTS
from src.models.devices import busy_percent, peak_bytes
from src.training.ranks import Ranks

STEPS_BETWEEN_LOGS = 10
GIB = 2**30

LOGGED = (
    "train/loss", "train/lr", "train/grad_norm", "train/epoch", "train/tokens_per_second", "train/padding",
    "train/memory_gib", "train/gpu_memory_gib", "train/seconds_left",
)  # fmt: skip
"""What a run logs of its training."""


class ThroughputMeter:
    """Sums since the last row of the curves; nothing is read from the device until a row is due.

    A row is of `MIN_GROUP_PATIENTS` notes or more: the loss of a step of few would tell of single admissions.
    """

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self._begin()

    def _begin(self) -> None:
        self._loss, self._norm = torch.zeros(2, dtype=torch.float64, device=self.device).unbind()
        self.notes = self.steps = self.tokens = self.wasted = 0
        self._since, self._worked = time.monotonic(), time.process_time()

    def add(self, loss: Tensor, norm: Tensor, notes: int, tokens: int, wasted: int) -> None:
        """Adds an optimiser step.

        Args:
            loss: mean over its notes, this process's part of it.
            norm: of the gradient, before it was clipped.
            notes: that it read, all processes together.
            tokens: of those notes.
            wasted: tokens that were computed for nothing: padding, or so that all processes compute equally often.
        """
        self._loss += loss * notes
        self._norm += norm * notes
        self.notes += notes
        self.steps += 1
        self.tokens += tokens
        self.wasted += wasted

    def tell(self, steps_left: int, ranks: Ranks) -> dict[str, float]:
        """Returns the row that is due, and begins anew; nothing, and goes on, while the notes are few."""
        if self.notes < MIN_GROUP_PATIENTS:
            return {}
        seconds = max(time.monotonic() - self._since, 1e-9)
        row = {
            "train/loss": float(ranks.summed(self._loss)) / self.notes,
            "train/grad_norm": float(self._norm) / self.notes,
            "train/tokens_per_second": self.tokens / seconds,
            "train/padding": self.wasted / (self.tokens + self.wasted),
            "train/cpu_percent": 100 * (time.process_time() - self._worked) / seconds,
            "train/memory_gib": peak_memory() / GIB,
            "train/seconds_left": steps_left * seconds / max(self.steps, 1),
        }
        if (peak := peak_bytes(self.device)) is not None:
            row["train/gpu_memory_gib"] = peak / GIB
        if (busy := busy_percent(self.device)) is not None:
            row["train/gpu_percent"] = busy
        self._begin()
        return row

    def state(self, ranks: Ranks) -> dict[str, float]:
        """Returns what a checkpoint keeps, so that a run that goes on tells the same; every process asks at once."""
        return {"loss": float(ranks.summed(self._loss)), "norm": float(self._norm), "notes": self.notes}

    def load(self, state: dict[str, float], ranks: Ranks) -> None:
        """Goes on from a checkpoint; the first process holds the sum of all losses."""
        self._begin()
        if state:
            self._loss += state["loss"] if ranks.first else 0.0
            self._norm += state["norm"]
            self.notes = int(state["notes"])
