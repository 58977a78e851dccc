"""Holds one run as a W&B server does: what it was told of it, streams, files, and how `Api().runs` finds it."""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

HISTORY, EVENTS, SUMMARY, CONSOLE = "wandb-history.jsonl", "wandb-events.jsonl", "wandb-summary.json", "output.log"


@dataclass
class SentRun:
    """Holds one run as it was sent.

    Attributes:
        project: where it is.
        name: its id, unique in its project.
        number: its place among all runs.
        told: the last value of each variable that describes it: `groupName`, `jobType`, `tags`, `config`, ...
        lines: of each stream by their place.
        files: uploaded ones by name.
        exit_code: None while it goes on.
    """

    project: str
    name: str
    number: int
    told: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def id(self) -> str:
        """Is the server's own name for it."""
        return f"run{self.number}"

    def rows(self, stream: str) -> list[str]:
        """Lists the lines of a stream in order."""
        return [line for _, line in sorted(self.lines[stream].items())]

    @property
    def history(self) -> list[dict[str, Any]]:
        """Reads the rows of its history."""
        return [json.loads(line) for line in self.rows(HISTORY)]

    @property
    def summary(self) -> dict[str, Any]:
        """Reads its summary, the last that was sent."""
        lines = self.rows(SUMMARY)
        return dict(json.loads(lines[-1])) if lines else dict(json.loads(self.told.get("summaryMetrics") or "{}"))

    @property
    def config(self) -> dict[str, Any]:
        """Reads its configuration, without W&B's own part."""
        entries = json.loads(self.told.get("config") or "{}")
        return {name: value["value"] for name, value in entries.items() if name != "_wandb"}

    def matches(self, filters: Mapping[str, Any]) -> bool:
        """Says whether a filter of `Api().runs` means it: equality, `$in`, `$ne`, `$and`, `$or`."""
        for key, wanted in filters.items():
            if key == "$and":
                holds = all(self.matches(part) for part in wanted)
            elif key == "$or":
                holds = any(self.matches(part) for part in wanted)
            else:
                holds = _fits(self._value(key), wanted)
            if not holds:
                return False
        return True

    def _value(self, key: str) -> Any:
        names = {"group": "groupName", "jobType": "jobType", "display_name": "displayName", "tags": "tags"}
        if key in ("name", "state"):
            return self.name if key == "name" else self.state
        if key.startswith("config."):
            return self.config.get(key.removeprefix("config.").removesuffix(".value"))
        if key.startswith("summary_metrics."):
            return self.summary.get(key.removeprefix("summary_metrics."))
        return self.told.get(names[key])

    @property
    def state(self) -> str:
        """Is its state as W&B calls it."""
        return "running" if self.exit_code is None else "failed" if self.exit_code else "finished"


def _fits(value: Any, wanted: Any) -> bool:
    if not isinstance(wanted, Mapping):
        return wanted in value if isinstance(value, list) else bool(value == wanted)
    ((operator, operand),) = wanted.items()
    values = value if isinstance(value, list) else [value]
    inside = any(element in operand for element in values) if operator in ("$in", "$nin") else operand in values
    return {"$in": inside, "$nin": not inside, "$ne": not inside, "$eq": inside}[operator]
