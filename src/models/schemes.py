"""Says what the head's logits mean, and computes the loss on them: the label schemes.

The rest of the code never asks which scheme it holds. Shapes: B notes, D DRGs, K base DRGs, S severities.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from src.cli.errors import UserError
from src.cohort.msdrg import Severity
from src.config.choices import Labels
from src.display.catalog import label_number
from src.models.engine.packing import send
from src.models.labelspace import LabelSpace

STATES = {
    Severity.WITHOUT_CC_MCC: "WITHOUT CC/MCC",
    Severity.WITH_CC: "WITH CC",
    Severity.WITH_MCC: "WITH MCC",
    Severity.WITHOUT_MCC: "WITHOUT MCC",
    Severity.NONE: "NONE",
}
"""CC/MCC states in the words of the titles."""


class Scheme(Protocol):
    """Gives the logits over a label space their meaning."""

    space: LabelSpace
    width: int
    """Logits a note."""
    logits: tuple[str, ...]
    """What each logit stands for: a DRG's code, or a base DRG or a severity in words."""
    words: tuple[str, ...]
    """What each logit stands for in words that a base can read: a title, a base DRG's name, a severity. Those of
    MS-DRGs are in small letters, as notes are written."""

    def logit_indices(self) -> dict[str, list[int]]:
        """Lists the logits that make up each DRG, [D] each."""

    def loss(self, logits: Tensor, drg: Tensor) -> Tensor:
        """Computes the mean loss of `logits` [B, width] against the DRGs' indices `drg` [B], which are on the host."""

    def heads(self, logits: Tensor) -> dict[str, Tensor]:
        """Returns log-probabilities of each head, by the name of their column in the predictions."""

    def predict(self, logits: Tensor) -> Tensor:
        """Returns the index of the best-scored DRG of each note, [B]."""


class SingleLabel:
    """Puts one softmax over all DRGs; the loss is its cross-entropy."""

    def __init__(self, space: LabelSpace) -> None:
        self.space = space
        self.width = len(space.codes)
        self.logits, self.words = space.codes, space.titles

    def logit_indices(self) -> dict[str, list[int]]:
        return {"logit": list(range(self.width))}

    def loss(self, logits: Tensor, drg: Tensor) -> Tensor:
        return cross_entropy(logits, send([drg], logits.device)[0])

    def heads(self, logits: Tensor) -> dict[str, Tensor]:
        return {"scores": log_softmax(logits, -1)}

    def predict(self, logits: Tensor) -> Tensor:
        return logits.argmax(-1)


class TwoLabel:
    """Puts one softmax over base DRGs and one over severities, recombined to DRGs.

    The loss is CE(base) + severity_weight * CE(severity); the paper's weight is 0.5. A DRG is scored
    as log p(base) + log p(severity | base), the severities renormalised over those the base has.

    Raises:
        UserError: the label space has no base DRGs and severities.
    """

    def __init__(self, space: LabelSpace, severity_weight: float, name: str = "two") -> None:
        if not space.has_severity:
            raise UserError(f"labels={name}: these labels have no base DRG and severity; write labels=single")
        self.space = space
        self.severity_weight = severity_weight
        self.bases, self.severities = space.states.shape
        self.width = self.bases + self.severities
        states = [STATES[Severity(state)] for state in space.severities]
        self.logits = (*(f"base DRG {name}" for name in space.bases), *(f"severity {state}" for state in states))
        self.words = tuple(words.lower() for words in (*space.bases, *states))
        self._base = torch.as_tensor(space.base)
        self._severity = torch.as_tensor(space.severity)
        self._impossible = ~torch.as_tensor(space.states)
        self._tables: dict[torch.device, tuple[Tensor, Tensor, Tensor]] = {}

    def logit_indices(self) -> dict[str, list[int]]:
        severity = self.bases + self.space.severity
        return {"base_logit": self.space.base.tolist(), "severity_logit": severity.tolist()}

    def loss(self, logits: Tensor, drg: Tensor) -> Tensor:
        return self.loss_of(logits, *send(self.targets(drg), logits.device))

    def targets(self, drg: Tensor) -> list[Tensor]:
        """Looks up base and severity of each DRG, on the host as `drg` is."""
        return [self._base[drg], self._severity[drg]]

    def loss_of(self, logits: Tensor, base_target: Tensor, severity_target: Tensor) -> Tensor:
        """Computes the loss against targets on the device."""
        base, severity = logits.split([self.bases, self.severities], -1)
        return cross_entropy(base, base_target) + self.severity_weight * cross_entropy(severity, severity_target)

    def heads(self, logits: Tensor) -> dict[str, Tensor]:
        base, severity = logits.split([self.bases, self.severities], -1)
        base_of, severity_of, impossible = self.tables(base.device)
        # Renormalised over the states that a base has, or a DRG would lose what its base's missing states take.
        possible = severity[:, None, :].masked_fill(impossible, -torch.inf)
        given_base = log_softmax(possible, -1)[:, base_of, severity_of]
        base_scores = log_softmax(base, -1)
        return {
            "scores": base_scores[:, base_of] + given_base,
            "base_scores": base_scores,
            "severity_scores": log_softmax(severity, -1),
        }

    def predict(self, logits: Tensor) -> Tensor:
        return self.heads(logits)["scores"].argmax(-1)

    def tables(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Returns base and severity of each DRG, [D], and which severities a base lacks, [K, S]; sent once a device."""
        if device not in self._tables:
            base, severity, impossible = (table.to(device) for table in (self._base, self._severity, self._impossible))
            self._tables[device] = base, severity, impossible
        return self._tables[device]


class JointLabel:
    """Trains softmaxes over DRGs, base DRGs and severities together; a DRG's score is informed by all three.

    A DRG's logit is its own plus those of its base and of its severity, so that a DRG with few notes is scored by
    what its base and its severity have learnt, and its own logit learns where that is not enough. The loss is
    CE(DRG) + CE(base) + severity_weight * CE(severity).

    Raises:
        UserError: the label space has no base DRGs and severities.
    """

    def __init__(self, space: LabelSpace, severity_weight: float) -> None:
        self._parts = TwoLabel(space, severity_weight, "joint")
        self.space = space
        self.width = len(space.codes) + self._parts.width
        self.logits = (*space.codes, *self._parts.logits)
        self.words = (*space.titles, *self._parts.words)

    def logit_indices(self) -> dict[str, list[int]]:
        own = len(self.space.codes)
        parts = {name: [own + index for index in indices] for name, indices in self._parts.logit_indices().items()}
        return {"logit": list(range(own)), **parts}

    def loss(self, logits: Tensor, drg: Tensor) -> Tensor:
        own, parts = logits.split([len(self.space.codes), self._parts.width], -1)
        target, *of_parts = send([drg, *self._parts.targets(drg)], logits.device)
        return cross_entropy(self._whole(own, parts), target) + self._parts.loss_of(parts, *of_parts)

    def heads(self, logits: Tensor) -> dict[str, Tensor]:
        own, parts = logits.split([len(self.space.codes), self._parts.width], -1)
        return {**self._parts.heads(parts), "scores": log_softmax(self._whole(own, parts), -1)}

    def predict(self, logits: Tensor) -> Tensor:
        own, parts = logits.split([len(self.space.codes), self._parts.width], -1)
        return self._whole(own, parts).argmax(-1)

    def _whole(self, own: Tensor, parts: Tensor) -> Tensor:
        base, severity = parts.split([self._parts.bases, self._parts.severities], -1)
        base_of, severity_of, _ = self._parts.tables(base.device)
        return own + base[..., base_of] + severity[..., severity_of]


SCHEMES: dict[Labels, Callable[[LabelSpace, float], Scheme]] = {
    Labels.SINGLE: lambda space, _: SingleLabel(space),
    Labels.TWO: TwoLabel,
    Labels.JOINT: JointLabel,
}
"""Every label scheme, from a label space and the severity's weight."""


def build_scheme(labels: Labels, space: LabelSpace, severity_weight: float) -> Scheme:
    """Builds the scheme that `labels=` names.

    Raises:
        UserError: it is in the enum alone, or the label space lacks what it needs.
    """
    if labels not in SCHEMES:
        raise UserError(f"labels={labels}: there is no such scheme; add it to src/models/schemes.py::SCHEMES")
    label_number(labels)  # a run that has ended is too late to find that it has none
    return SCHEMES[labels](space, severity_weight)
