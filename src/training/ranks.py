"""Numbers the processes that share a run, and says what each does of it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from src.config.train import TrainConfig


@dataclass(frozen=True)
class Ranks:
    """This process among `count` of them."""

    rank: int = 0
    count: int = 1

    @classmethod
    def current(cls) -> "Ranks":
        """As torch.distributed knows them; one process where it is not in use."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    @property
    def first(self) -> bool:
        """Says whether this process writes and tells."""
        return self.rank == 0

    def mine(self, count: int) -> list[int]:
        """Returns the indices of `count` notes that this process reads: none twice, none left out.

        >>> [Ranks(rank, 3).mine(4) for rank in range(3)]
        [[0, 3], [1], [2]]
        """
        return list(range(self.rank, count, self.count))

    def turns(self, count: int, at_once: int) -> list[list[int]]:
        """The indices this process reads, `at_once` at a time; as many times in every process, some for nothing.

        A process that has fewer reads an empty turn: what all must do at once, all do equally often.

        >>> Ranks(0, 2).turns(5, 2), Ranks(1, 2).turns(5, 2)
        ([[0, 2], [4]], [[1, 3], []])
        """
        mine, longest = self.mine(count), -(-count // self.count)
        return [mine[start : start + at_once] for start in range(0, longest, at_once)]

    def idle_turns(self, count: int, at_once: int) -> int:
        """Counts how many turns of `turns` are empty, all processes together.

        >>> Ranks(0, 2).idle_turns(5, 2), Ranks().idle_turns(5, 2)
        (1, 0)
        """
        every = (Ranks(rank, self.count).turns(count, at_once) for rank in range(self.count))
        return sum(not turn for turns in every for turn in turns)

    def summed(self, value: Tensor) -> Tensor:
        """Returns the sum of a value over all processes."""
        if self.count == 1:
            return value
        value = value.clone()
        dist.all_reduce(value)
        return value

    def average_gradients(self, weights: Sequence[Tensor]) -> None:
        """Averages the gradients of all processes, in one message."""
        if self.count == 1:
            return
        grads = [weight.grad if weight.grad is not None else torch.zeros_like(weight) for weight in weights]
        flat = torch.cat([grad.reshape(-1) for grad in grads])
        dist.all_reduce(flat)
        flat /= self.count
        for weight, grad in zip(weights, flat.split([grad.numel() for grad in grads]), strict=True):
            weight.grad = grad.view_as(weight)

    def gathered(self, mine: Any) -> list[Any]:
        """Returns what every process holds, in the order of their ranks, in every process."""
        if self.count == 1:
            return [mine]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, mine)
        return values


ALONE = Ranks()
"""The only process."""


def is_rank_zero(cfg: TrainConfig) -> bool:
    """Says whether this process tells of the run: Lightning, torchrun and Slurm number those that share one."""
    numbers = ("LOCAL_RANK", "RANK", "NODE_RANK", "SLURM_PROCID")
    return cfg.devices * cfg.nodes == 1 or all(os.environ.get(name, "0") == "0" for name in numbers)
