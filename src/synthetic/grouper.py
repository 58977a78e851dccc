"""Groups admissions by the real MS-DRG logic (`drgpy`, v36), brought to v34."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from src.cohort.crosswalk import counterpart


@cache
def engine() -> Any:
    """Loads the v36 grouper."""
    from drgpy.msdrg import DRGEngine

    return DRGEngine("v36")


def group(
    principal: str, secondaries: Sequence[str], procedures: Sequence[str], *, sex: str, alive: bool
) -> str | None:
    """Groups an admission into its v34 DRG; None when the grouper finds none or its codes contradict each other.

    >>> group("I5023", ["N179"], [], sex="F", alive=True)
    '292'
    """
    drg = engine().get_drg(
        [principal, *secondaries],
        list(procedures),
        gender=sex,
        is_alive=alive,
        discharge_status="01" if alive else "20",
    )
    if not str(drg).isdigit():
        return None
    code = f"{int(drg):03d}"
    # v36 grouped these by severity; v34 did by diagnosis: ectopic pregnancy, threatened abortion, false labour.
    if code in ("817", "818", "819", "831", "832", "833"):
        for start, older in (("O00", "777"), ("O200", "778"), ("O47", "780")):
            if principal.startswith(start):
                return older
    return counterpart(code, "v34") if code not in ("998", "999") else None


@cache
def level(code: str) -> str:
    """Returns `MCC`, `CC` or nothing, by the CC and MCC lists."""
    return str(engine().ccmap.get(code, {}).get("level", ""))
