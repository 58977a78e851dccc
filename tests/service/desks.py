"""A desk of made-up cases, which needs no run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from src.cohort.msdrg import load_drgs
from src.cohort.weights import Weights, weights_for
from src.service.access import Access, Expose
from src.service.action_log import ActionLog
from src.service.allotted_cases import Allotted
from src.service.api import new_app
from src.service.desk import Desk, add_desk
from src.service.scoring_queue import ScoringQueue
from src.service.worklist import Encounter, Worklist, worth_of

NOTE = "Brief Hospital Course:\nDyspnea improved. <script>alert(1)</script> Diuresis was continued.\nDischarge: home."


def proposal(*drgs: str, share: float = 0.6, reasons: tuple[str, ...] = ()) -> dict[str, Any]:
    """What `Proposer.propose` gives for a case."""
    drg = load_drgs()[drgs[0]] if drgs else None
    return {
        "drg": drg and drg.code, "title": drg and drg.title, "mdc": drg and drg.mdc, "drgs": list(drgs) or None,
        "probability": share if drg else None, "decision": "defer" if reasons else "decide", "reasons": list(reasons),
        "probabilities": [share, *[(1 - share) / len(drgs)] * (len(drgs) - 1)] if drgs else None,
        "model": "run:1", "cohort": "c0",
    }  # fmt: skip


def scored_worklist(weights: Weights, cases: Mapping[str, Mapping[str, Any]]) -> Worklist:
    """A worklist of which nothing is left to score."""

    def score(cases: Sequence[Encounter]) -> list[Encounter]:
        raise AssertionError("every case is scored")

    scored = [
        Encounter(name, NOTE, 4.0, row, worth_of(row["drgs"], row["probabilities"], weights.of))
        for name, row in cases.items()
    ]
    return Worklist(scored, ScoringQueue(lambda rows: rows, 1), score)


def desk_of(
    log: Path,
    study: Mapping[str, Mapping[str, Allotted]] | None = None,
    proposals: Mapping[str, Mapping[str, Any]] | None = None,
    tokens: Mapping[str, str] | None = None,
    worklist: Worklist | None = None,
) -> tuple[FastAPI, Desk]:
    """A service with the desk alone, and the desk."""
    cases = proposals or {
        "c1": proposal("291", "292", "293", "189"),
        "c2": proposal("313", reasons=("not sure enough: 60 %, needed are 80 %",)),
        "c3": proposal(reasons=("no section: hospital course",)),
    }
    weights: Weights = weights_for("v34")
    opened = ActionLog(log)
    desk = Desk(
        worklist=worklist or scored_worklist(weights, cases),
        log=opened,
        access=Access(Expose.LOOPBACK, tokens or {}, opened.key()),
        system="MS-DRG v34",
        titles={code: drg.title for code, drg in load_drgs().items()},
        drgs=load_drgs(),
        weights=weights,
        study=study,
        explain=lambda note, drg, against: [("Dyspnea improved.", 0.7), ("<script>alert(1)</script>", 0.2)],
    )
    app = new_app()
    add_desk(app, desk)
    return app, desk
