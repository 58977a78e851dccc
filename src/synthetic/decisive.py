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


def decisive(stay: Admission) -> dict[Fact, Decides]:
    """Groups the admission without each fact, and with it as the only one of its role, and says what it decides.

    A fact decides what is lost without it, and what it brings about alone: of two MCCs each decides the severity. The
    severity is compared within a base DRG, as the states of two have no common scale. The principal diagnosis decides
    the base, and the severity too where it is CC or MCC without any secondary diagnosis. What was not coded decides
    nothing.
    """
    done = [code for codes, _ in stay.procedures for code in codes]
    own = [code for code in stay.principal.extra if code != stay.code]
    whole, bare = _state(stay, stay.coded, done), _state(stay, own, done)
    by_itself = bare.severity in (Severity.WITH_CC, Severity.WITH_MCC)
    decided = {Fact(Role.PRINCIPAL, stay.code): Decides.BOTH if by_itself else Decides.BASE}
    for condition, code in stay.documented:
        if code in stay.coded:
            codes = [code, *condition.extra]
            without = _state(stay, [other for other in stay.coded if other not in codes], done)
            decided[Fact(Role.SECONDARY, code)] = _decides(whole, without, _state(stay, [*own, *codes], done), bare)
    bare = _state(stay, stay.coded, [])
    for codes_done, _ in stay.procedures:
        without = _state(stay, stay.coded, [code for code in done if code not in codes_done])
        alone = _state(stay, stay.coded, codes_done)
        decided[Fact(Role.PROCEDURE, "+".join(codes_done))] = _decides(whole, without, alone, bare)
    return decided


class _State(NamedTuple):
    base: str
    severity: Severity


def _state(stay: Admission, secondaries: Sequence[str], procedures: Sequence[str]) -> _State:
    """Groups the admission with these codes; a base of no name where the grouper finds none."""
    drg = group(stay.code, secondaries, procedures, sex=stay.patient.sex, alive=not stay.died)
    return _State(load_drgs()[drg].base_drg, load_drgs()[drg].severity) if drg else _State("", Severity.NONE)


def _decides(whole: _State, without: _State, alone: _State, bare: _State) -> Decides:
    """Compares the whole admission with it less a fact, with that fact as the only one, and with none.

    >>> low, high = _State("HEART FAILURE", Severity.WITHOUT_CC_MCC), _State("HEART FAILURE", Severity.WITH_MCC)
    >>> _decides(high, high, high, low).value, _decides(high, high, low, low).value
    ('severity', 'nothing')
    """
    base = without.base != whole.base or alone.base == whole.base != bare.base
    severity = (without.base == whole.base and without != whole) or (bare.base == whole.base and alone == whole != bare)
    return {(True, True): Decides.BOTH, (True, False): Decides.BASE, (False, True): Decides.SEVERITY}.get(
        (base, severity), Decides.NOTHING
    )
