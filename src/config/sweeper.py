"""Configures how a search chooses its trials: the values of `hydra.sweeper` where its kind is `search`."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Aim(StrEnum):
    """Names the metric of the validation notes that a search makes large."""

    ACCURACY = "accuracy"
    MACRO_F1 = "macro_f1"


@dataclass
class SearchConfig:
    """Optuna's choice of trials."""

    kind: str
    trials: int
    """How many there are, those that failed or were stopped included."""
    metric: Aim
    halving: int | None
    """Of how many trials the best goes on after validations 1, halving, halving squared; null stops none."""
    params: dict[str, Any] = field(default_factory=dict)
    """The words of the space, by key; see `src.cli.search_space`."""

    def problems(self) -> list[str]:
        """Returns one line for each value that cannot be."""
        problems = [f"hydra.sweeper.trials={self.trials}: must be at least 1"] if self.trials < 1 else []
        if self.halving is not None and self.halving < 2:
            problems.append(f"hydra.sweeper.halving={self.halving}: must be at least 2 or null")
        return problems
