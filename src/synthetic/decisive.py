"""Finds which facts of an admission decide its DRG: its base, its CC/MCC state, or both."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from src.cohort.msdrg import Severity, load_drgs
from src.synthetic.facts import Admission
from src.synthetic.grouper import group
from src.synthetic.passage import Fact, Role


class Decides(StrEnum):
    """Names what of the DRG a fact decides."""

    BASE = "base"
    SEVERITY = "severity"
    BOTH = "both"
    NOTHING = "nothing"


SEVERE = (Severity.WITH_CC, Severity.WITH_MCC)


def decisive(stay: Admission) -> dict[Fact, Decides]:
    """Groups the admission without each fact, and with it as the only one of its role, and says what it decides.

    A fact decides what is lost without it, and what it brings about alone: of two MCCs each decides the severity. The
    principal diagnosis decides the base; for no code of the hospital does the grouper take it as its own CC or MCC.
    Procedures decide the severity too where they bring CC or MCC without any secondary diagnosis, as four stents do.
    What was not coded decides nothing.
    """
    done = [code for codes, _ in stay.procedures for code in codes]
    own = [code for code in stay.principal.extra if code != stay.code]
    whole, bare, medical = _state(stay, stay.coded, done), _state(stay, own, done), _state(stay, stay.coded, [])
    decided = {Fact(Role.PRINCIPAL, stay.code): Decides.BASE}
    for condition, code in stay.documented:
        if code in stay.coded:
            codes = [code, *condition.extra]
            without = _state(stay, [other for other in stay.coded if other not in codes], done)
            alone = _state(stay, [*own, *codes], done)
            # States of two bases have no common scale: what is lost with the base is not compared.
            lost = without.base == whole.base and without.severity != whole.severity
            severity = lost or (alone == whole != bare and whole.severity in SEVERE)
            decided[Fact(Role.SECONDARY, code)] = _decides(_base(whole, without, alone, bare), severity)
    for codes_done, _ in stay.procedures:
        without = _state(stay, stay.coded, [code for code in done if code not in codes_done])
        base = _base(whole, without, _state(stay, stay.coded, codes_done), medical)
        decided[Fact(Role.PROCEDURE, "+".join(codes_done))] = _decides(base, base and bare.severity in SEVERE)
    return decided


class _State(NamedTuple):
    base: str
    severity: Severity


def _state(stay: Admission, secondaries: Sequence[str], procedures: Sequence[str]) -> _State:
    """Groups the admission with these codes; a base of no name where the grouper finds none."""
    drg = group(stay.code, secondaries, procedures, sex=stay.patient.sex, alive=not stay.died)
    return _State(load_drgs()[drg].base_drg, load_drgs()[drg].severity) if drg else _State("", Severity.NONE)


def _base(whole: _State, without: _State, alone: _State, bare: _State) -> bool:
    """Says whether a fact decides the base: the whole admission beside it less the fact, with it alone, with none."""
    return without.base != whole.base or alone.base == whole.base != bare.base


def _decides(base: bool, severity: bool) -> Decides:
    if base:
        return Decides.BOTH if severity else Decides.BASE
    return Decides.SEVERITY if severity else Decides.NOTHING
