"""Says what the head's logits mean, and computes the loss on them: the label schemes.

The rest of the code never asks which scheme it holds. Shapes: B notes, D DRGs, K base DRGs, S severities.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from src.cli.errors import UserError
from src.cohort.msdrg import MDCS, DrgType, Severity
from src.config.choices import Labels
from src.display.catalog import label_number
from src.models.devices import DeviceTable
from src.models.engine.packing import send
from src.models.labelspace import LabelSpace
from src.models.losses import PLAIN, TrainingLoss

STATES = {
    Severity.WITHOUT_CC_MCC: "WITHOUT CC/MCC",
    Severity.WITH_CC: "WITH CC",
    Severity.WITH_MCC: "WITH MCC",
    Severity.WITHOUT_MCC: "WITHOUT MCC",
    Severity.NONE: "NONE",
    Severity.ILLNESS_1: "SEVERITY OF ILLNESS 1",
    Severity.ILLNESS_2: "SEVERITY OF ILLNESS 2",
    Severity.ILLNESS_3: "SEVERITY OF ILLNESS 3",
    Severity.ILLNESS_4: "SEVERITY OF ILLNESS 4",
}
"""CC/MCC states, and severities of illness, in the words of the titles."""

TYPES = {DrgType.MEDICAL: "medical", DrgType.SURGICAL: "surgical"}
"""What decides a DRG, in words."""


class Scheme(Protocol):
    """Gives the logits over a label space their meaning."""

    space: LabelSpace
    width: int
    """Logits a note."""
    logits: tuple[str, ...]
    """What each logit stands for: a DRG's code, or a base DRG, a severity, an MDC or a type in words."""
    words: tuple[str, ...]
    """What each logit stands for in words that a base can read: a title, a base DRG's name, a severity. Those of
    DRGs are in small letters, as notes are written."""

    def logit_indices(self) -> dict[str, list[int]]:
        """Lists the logits that make up each DRG, [D] each."""

    def loss(self, logits: Tensor, drg: Tensor) -> Tensor:
        """Computes the mean loss of `logits` [B, width] against the DRGs' indices `drg` [B], which are on the host."""

    def heads(self, logits: Tensor) -> dict[str, Tensor]:
        """Returns log-probabilities of each head, by the name of their column in the predictions."""

    def predict(self, logits: Tensor) -> Tensor:
        """Returns the index of the best-scored DRG of each note, [B]."""


class SingleLabel:
    """Puts one softmax over all DRGs; the loss is `training_loss` of it."""

    def __init__(self, space: LabelSpace, training_loss: TrainingLoss = PLAIN) -> None:
        self.space = space
        self.width = len(space.codes)
        self.logits, self.words = space.codes, space.titles
        self._drg_loss = training_loss.of(np.arange(self.width), self.width)

    def logit_indices(self) -> dict[str, list[int]]:
        return {"logit": list(range(self.width))}

    def loss(self, logits: Tensor, drg: Tensor) -> Tensor:
        return self._drg_loss(logits, send([drg], logits.device)[0])

    def heads(self, logits: Tensor) -> dict[str, Tensor]:
        return {"scores": log_softmax(logits, -1)}

    def predict(self, logits: Tensor) -> Tensor:
        return logits.argmax(-1)


class TwoLabel:
    """Puts one softmax over base DRGs and one over severities, recombined to DRGs.

    The loss is CE(base) + severity_weight * CE(severity), or another `training_loss` for CE; the paper's weight is
    0.5. A DRG is scored as log p(base) + log p(severity | base), the severities renormalised over those the base has.

    Raises:
        UserError: the label space has no base DRGs and severities.
    """

    def __init__(
        self, space: LabelSpace, severity_weight: float, training_loss: TrainingLoss = PLAIN, name: str = "two"
    ) -> None:
        if not space.has_severity:
            raise UserError(f"labels={name}: these labels have no base DRG and severity; write labels=single")
        self.space = space
        self.severity_weight = severity_weight
        self.bases, self.severities = space.states.shape
        self.width = self.bases + self.severities
        states = [STATES[Severity(state)] for state in space.severities]
        self.logits = (
            *(f"base DRG {name}" for name in space.bases),
            *(f"severity {state.removeprefix('SEVERITY ')}" for state in states),
        )
        self.words = tuple(words.lower() for words in (*space.bases, *states))
        self._base_loss = training_loss.of(space.base, self.bases)
        self._severity_loss = training_loss.of(space.severity, self.severities)
        self.base, self.severity = (
            DeviceTable(torch.as_tensor(space.base)),
            DeviceTable(torch.as_tensor(space.severity)),
        )
        self._impossible = DeviceTable(~torch.as_tensor(space.states))

    def logit_indices(self) -> dict[str, list[int]]:
        severity = self.bases + self.space.severity
        return {"base_logit": self.space.base.tolist(), "severity_logit": severity.tolist()}

    def loss(self, logits: Tensor, drg: Tensor) -> Tensor:
        return self.loss_of(logits, *send(self.targets(drg), logits.device))

    def targets(self, drg: Tensor) -> list[Tensor]:
        """Looks up base and severity of each DRG, on the host as `drg` is."""
        return [self.base.host[drg], self.severity.host[drg]]

    def loss_of(self, logits: Tensor, base_target: Tensor, severity_target: Tensor) -> Tensor:
        """Computes the loss against targets on the device."""
        base, severity = logits.split([self.bases, self.severities], -1)
        weighted = self.severity_weight * self._severity_loss(severity, severity_target)
        return self._base_loss(base, base_target) + weighted

    def heads(self, logits: Tensor) -> dict[str, Tensor]:
        base, severity = logits.split([self.bases, self.severities], -1)
        base_of, severity_of = self.base.on(base.device), self.severity.on(base.device)
        # Renormalised over the states that a base has, or a DRG would lose what its base's missing states take.
        possible = severity[:, None, :].masked_fill(self._impossible.on(base.device), -torch.inf)
        given_base = log_softmax(possible, -1)[:, base_of, severity_of]
        base_scores = log_softmax(base, -1)
        return {
            "scores": base_scores[:, base_of] + given_base,
            "base_scores": base_scores,
            "severity_scores": log_softmax(severity, -1),
        }

    def predict(self, logits: Tensor) -> Tensor:
        return self.heads(logits)["scores"].argmax(-1)


class JointLabel:
    """Trains softmaxes over DRGs, base DRGs and severities together; a DRG's score is informed by all three.

    A DRG's logit is its own plus those of its base and of its severity, so that a DRG with few notes is scored by
    what its base and its severity have learnt, and its own logit learns where that is not enough. The loss is
    CE(DRG) + CE(base) + severity_weight * CE(severity).

    Raises:
        UserError: the label space has no base DRGs and severities.
    """

    def __init__(
        self, space: LabelSpace, severity_weight: float, training_loss: TrainingLoss = PLAIN, name: str = "joint"
    ) -> None:
        self._parts = TwoLabel(space, severity_weight, training_loss, name)
        self._drg_loss = training_loss.of(np.arange(len(space.codes)), len(space.codes))
        self.space = space
        self.width = len(space.codes) + self._parts.width
        self.logits = (*space.codes, *self._parts.logits)
        self.words = (*space.titles, *self._parts.words)

    def logit_indices(self) -> dict[str, list[int]]:
        own = len(self.space.codes)
        parts = {name: [own + index for index in indices] for name, indices in self._parts.logit_indices().items()}
        return {"logit": list(range(own)), **parts}

    def loss(self, logits: Tensor, drg: Tensor) -> Tensor:
        return self.loss_of(logits, *send(self.targets(drg), logits.device))

    def targets(self, drg: Tensor) -> list[Tensor]:
        """Returns each DRG with its base and severity, on the host as `drg` is."""
        return [drg, *self._parts.targets(drg)]

    def loss_of(self, logits: Tensor, drg_target: Tensor, base_target: Tensor, severity_target: Tensor) -> Tensor:
        """Computes the loss against targets on the device."""
        own, parts = logits.split([len(self.space.codes), self._parts.width], -1)
        of_parts = self._parts.loss_of(parts, base_target, severity_target)
        return self._drg_loss(self._whole(own, parts), drg_target) + of_parts

    def heads(self, logits: Tensor) -> dict[str, Tensor]:
        own, parts = logits.split([len(self.space.codes), self._parts.width], -1)
        return {**self._parts.heads(parts), "scores": log_softmax(self._whole(own, parts), -1)}

    def predict(self, logits: Tensor) -> Tensor:
        own, parts = logits.split([len(self.space.codes), self._parts.width], -1)
        return self._whole(own, parts).argmax(-1)

    def _whole(self, own: Tensor, parts: Tensor) -> Tensor:
        base, severity = parts.split([self._parts.bases, self._parts.severities], -1)
        base_of, severity_of = self._parts.base.on(base.device), self._parts.severity.on(base.device)
        return own + base[..., base_of] + severity[..., severity_of]


class LevelsLabel:
    """Adds softmaxes over MDCs and over medical and surgical to those of `JointLabel`.

    A DRG's logit is its own plus those of its base, severity, MDC and type. The loss is CE(DRG) + CE(base) +
    severity_weight * (CE(severity) + CE(MDC) + CE(type)): one weight for all that is coarser than a base DRG.

    Raises:
        UserError: the label space has no MDCs and types.
    """

    def __init__(self, space: LabelSpace, severity_weight: float, training_loss: TrainingLoss = PLAIN) -> None:
        if not space.mdcs:
            if space.has_severity:
                raise UserError("labels=levels: APR-DRG's MDCs and types are not public; write labels=joint")
            raise UserError("labels=levels: these labels have no MDC and no type; write labels=single")
        self._joint = JointLabel(space, severity_weight, training_loss, "levels")
        self._mdc_loss = training_loss.of(space.mdc, len(space.mdcs))
        self._type_loss = training_loss.of(space.type, len(space.types))
        self.space = space
        self.severity_weight = severity_weight
        self._widths = [self._joint.width, len(space.mdcs), len(space.types)]
        self.width = sum(self._widths)
        kinds = [TYPES[DrgType(kind)] for kind in space.types]
        self.logits = (*self._joint.logits, *(MDCS[mdc] for mdc in space.mdcs), *kinds)
        mdcs = (MDCS[mdc].removeprefix(f"MDC {mdc} ").lower() for mdc in space.mdcs)
        self.words = (*self._joint.words, *mdcs, *kinds)
        self._mdc, self._type = DeviceTable(torch.as_tensor(space.mdc)), DeviceTable(torch.as_tensor(space.type))

    def logit_indices(self) -> dict[str, list[int]]:
        mdc, kind = self._joint.width + self.space.mdc, self.width - len(self.space.types) + self.space.type
        return {**self._joint.logit_indices(), "mdc_logit": mdc.tolist(), "type_logit": kind.tolist()}

    def loss(self, logits: Tensor, drg: Tensor) -> Tensor:
        _, mdc, kind = logits.split(self._widths, -1)
        targets = [*self._joint.targets(drg), self._mdc.host[drg], self._type.host[drg]]
        *of_joint, mdc_target, type_target = send(targets, logits.device)
        coarse = self._mdc_loss(mdc, mdc_target) + self._type_loss(kind, type_target)
        return self._joint.loss_of(self._informed(logits), *of_joint) + self.severity_weight * coarse

    def heads(self, logits: Tensor) -> dict[str, Tensor]:
        return self._joint.heads(self._informed(logits))

    def predict(self, logits: Tensor) -> Tensor:
        return self._joint.predict(self._informed(logits))

    def _informed(self, logits: Tensor) -> Tensor:
        """Returns the logits of `JointLabel`, in which MDC and type are part of a DRG's own."""
        joint, mdc, kind = logits.split(self._widths, -1)
        own, parts = joint.split([len(self.space.codes), joint.shape[-1] - len(self.space.codes)], -1)
        mdc_of, type_of = self._mdc.on(logits.device), self._type.on(logits.device)
        return torch.cat([own + mdc[..., mdc_of] + kind[..., type_of], parts], -1)


SCHEMES: dict[Labels, Callable[[LabelSpace, float, TrainingLoss], Scheme]] = {
    Labels.SINGLE: lambda space, _, training_loss: SingleLabel(space, training_loss),
    Labels.TWO: TwoLabel,
    Labels.JOINT: JointLabel,
    Labels.LEVELS: LevelsLabel,
}
"""Every label scheme, from a label space, the severity's weight and the loss of its softmaxes."""


def build_scheme(
    labels: Labels, space: LabelSpace, severity_weight: float, training_loss: TrainingLoss = PLAIN
) -> Scheme:
    """Builds the scheme that `labels=` names.

    Raises:
        UserError: it is in the enum alone, or the label space lacks what it needs.
    """
    if labels not in SCHEMES:
        raise UserError(f"labels={labels}: there is no such scheme; add it to src/models/schemes.py::SCHEMES")
    label_number(labels)  # a run that has ended is too late to find that it has none
    return SCHEMES[labels](space, severity_weight, training_loss)
