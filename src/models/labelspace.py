"""Says which DRG each logit stands for, and base DRG, severity, MDC and type of each: the label space.

Numpy only: evaluation reads it without torch. Letters of shapes: D DRGs, K base DRGs, S severities.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from src.cli.errors import UserError


class Label(Protocol):
    """Says what a label space needs to know of a class; `src.cohort.msdrg.Drg` is one."""

    @property
    def code(self) -> str:
        """Is the class's code, unique in the label space."""

    @property
    def base_drg(self) -> str | None:
        """Names the base DRG; None for labels that have none."""

    @property
    def severity(self) -> int | None:
        """Is the CC/MCC state or the severity of illness; None for labels that have none."""

    @property
    def mdc(self) -> str | None:
        """Is the major diagnostic category, which may be empty; None for labels that have none."""

    @property
    def type(self) -> str | None:
        """Says whether it is medical or surgical; None for labels that are neither."""


def check_classes(codes: Sequence[str], where: str) -> None:
    """Says that a model has nothing to learn where all training notes are of one class.

    Raises:
        UserError: they are.
    """
    if codes and len(set(codes)) == 1:
        raise UserError(
            f"{where}: 1 class in {len(codes):,} training notes, and a model needs two; "
            "prepare other labels, or write a larger data.limit"
        )


@dataclass(frozen=True, eq=False)
class LabelSpace:
    """Holds the DRGs in the order of the logits, and how each is made of a base DRG and a severity.

    Labels of another hospital may have neither: then K = S = 0 and the arrays over DRGs are empty.
    """

    codes: tuple[str, ...]
    """DRG codes in the order of the logits, D of them."""
    index: Mapping[str, int]
    """Position of each code in `codes`."""
    bases: tuple[str, ...]
    """Names of the base DRGs, in the order of their first DRG; K of them."""
    severities: tuple[int, ...]
    """The CC/MCC states, or severities of illness, in use, ascending; S of them."""
    base: NDArray[np.int64]
    """[D]: position of each DRG's base in `bases`."""
    severity: NDArray[np.int64]
    """[D]: position of each DRG's state in `severities`."""
    drg: NDArray[np.int64]
    """[K, S]: position in `codes` of the DRG of a base and a state; -1 where that base lacks the state."""
    titles: tuple[str, ...]
    """What each DRG is called, [D], in small letters; a label that has no title is called by its code, as it is."""
    mdcs: tuple[str, ...]
    """The MDCs in use, ascending; none where a label has no MDC or no type."""
    types: tuple[str, ...]
    """The types in use, ascending; none where `mdcs` is empty."""
    mdc: NDArray[np.int64]
    """[D]: position of each DRG's MDC in `mdcs`."""
    type: NDArray[np.int64]
    """[D]: position of each DRG's type in `types`."""

    @property
    def has_severity(self) -> bool:
        """Every DRG is a base DRG with a severity, so that `labels=two` is possible."""
        return bool(self.bases)

    @property
    def kind(self) -> str:
        """Says what its labels are called: a hospital's own are no DRGs, and have no base DRG."""
        return "DRGs" if self.bases else "classes"

    @property
    def states(self) -> NDArray[np.bool_]:
        """Marks the states that exist for each base, [K, S]."""
        return self.drg >= 0

    @classmethod
    def from_labels(cls, labels: Sequence[Label]) -> "LabelSpace":
        """Builds the label space of `labels`, which stand in the order of the logits.

        Raises:
            UserError: there is no label, a code comes twice, or two codes share base DRG and severity.

        >>> from types import SimpleNamespace as Drg
        >>> major = Drg(code="280", base_drg="INFARCTION", severity=2, mdc="05", type="M")
        >>> plain = Drg(code="281", base_drg="INFARCTION", severity=3, mdc="05", type="M")
        >>> pain = Drg(code="313", base_drg="CHEST PAIN", severity=4, mdc="05", type="M")
        >>> space = LabelSpace.from_labels([major, plain, pain])
        >>> space.bases, space.severities, space.mdcs, space.types
        (('INFARCTION', 'CHEST PAIN'), (2, 3, 4), ('05',), ('M',))
        >>> space.drg.tolist()
        [[0, 1, -1], [-1, -1, 2]]
        >>> own = Drg(code="stroke", base_drg=None, severity=None, mdc=None, type=None)
        >>> LabelSpace.from_labels([own]).has_severity
        False
        """
        codes = tuple(label.code for label in labels)
        index = {code: i for i, code in enumerate(codes)}
        if not codes:
            raise UserError("the cohort has no labels")
        if len(index) < len(codes):
            twice = next(code for i, code in enumerate(codes) if index[code] != i)
            raise UserError(f"label {twice} comes twice in the cohort's labels")
        pairs = [(label.base_drg, label.severity) for label in labels]
        complete = [(name, int(state)) for name, state in pairs if name is not None and state is not None]
        pairs_used = complete if len(complete) == len(codes) else []
        bases = tuple(dict.fromkeys(name for name, _ in pairs_used))
        severities = tuple(sorted({state for _, state in pairs_used}))
        base_index = {name: i for i, name in enumerate(bases)}
        base = np.array([base_index[name] for name, _ in pairs_used], dtype=np.int64)
        severity = np.array([severities.index(state) for _, state in pairs_used], dtype=np.int64)
        drg = _drg_of(codes, base, severity, (len(bases), len(severities)))
        levels = [(label.mdc, label.type) for label in labels if label.mdc is not None and label.type is not None]
        levels_used = levels if len(levels) == len(codes) else []
        mdcs, mdc = _classes([name for name, _ in levels_used])
        types, kinds = _classes([name for _, name in levels_used])
        titles = tuple(str(getattr(label, "title", "")).lower() or label.code for label in labels)
        arrays = (base, severity, drg, titles, mdcs, types, mdc, kinds)
        return cls(codes, MappingProxyType(index), bases, severities, *arrays)


def _classes(values: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Lists the values in use, ascending, and the position of each of `values` in that list."""
    classes = tuple(sorted(set(values)))
    return classes, np.array([classes.index(value) for value in values], dtype=np.int64)


def _drg_of(
    codes: tuple[str, ...], base: NDArray[np.int64], severity: NDArray[np.int64], shape: tuple[int, int]
) -> NDArray[np.int64]:
    drg = np.full(shape, -1, dtype=np.int64)
    for index, (k, s) in enumerate(zip(base, severity, strict=True)):
        if drg[k, s] >= 0:
            same = f"labels {codes[drg[k, s]]} and {codes[index]}"
            raise UserError(f"{same} have the same base DRG and severity: their titles do not tell them apart")
        drg[k, s] = index
    return drg
