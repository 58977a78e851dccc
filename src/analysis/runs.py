"""Finished runs as every source tells them: a folder of records, offline W&B runs, or a W&B project."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from src.tracking.history import Curves


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        name: of its folder, which is its W&B run's id.
        record: `axes`, `cohort`, `code`, `counts`, `metrics`, `intervals`, `tokens_seen` and `seconds` as `result.json`
            has them; `config` where the source has it.
        curves: what it logged, by metric and step.
        folder: where its predictions are; None when it comes from W&B.
    """

    name: str
    record: Mapping[str, Any]
    curves: Curves = field(default_factory=dict)
    folder: Path | None = None

    @property
    def axes(self) -> Mapping[str, Any]:
        """The grid's axes."""
        return dict(self.record["axes"])

    @property
    def metrics(self) -> Mapping[str, float | None]:
        """Final metrics by name, such as `test/accuracy`."""
        return dict(self.record["metrics"])
