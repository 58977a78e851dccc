"""Opens the coder's desk: reads a study's allocation, and has the encounters scored."""

from functools import lru_cache
from pathlib import Path

import polars as pl

from src.cli.signals import Stop
from src.cohort.msdrg import load_drgs
from src.inference.proposals import Proposer
from src.service.access import Access
from src.service.action_log import ActionLog
from src.service.allotted_cases import read_allocation
from src.service.case_page import Explain
from src.service.desk import Desk
from src.service.scoring_queue import ScoringQueue
from src.service.served_notes import text_finder
from src.service.worklist import make_worklist


def open_desk(
    proposer: Proposer,
    queue: ScoringQueue,
    log: ActionLog,
    access: Access,
    encounters: pl.DataFrame,
    study: Path | None,
    explain: Explain | None = None,
) -> Desk:
    """Opens the desk.

    Args:
        proposer: what proposes DRGs.
        queue: its thread owns the model once the service runs, and makes explanations.
        log: what coders did.
        access: who may log in.
        encounters: see `src.service.served_notes.read_encounters`.
        study: a study's allocation.
        explain: marks the sentences that speak for a DRG; without it nothing is marked.

    Raises:
        UserError: the allocation cannot be read, or names other cases.
    """
    first = proposer.models.first
    version = first.kept.record.get("drg_version")
    drgs = load_drgs(version) if version else {}
    titles = {code: drg.title for code, drg in drgs.items()}
    allocation = read_allocation(study, set(encounters["id"])) if study else None
    worklist = make_worklist(
        encounters, text_finder(first.kept), lambda rows: proposer.propose(rows, Stop()), proposer.weights.of
    )
    explained = None
    if explain is not None:
        explained = lru_cache(1_000)(lambda text, drg, against: queue.call(explain, text, drg, against).result())
    return Desk(
        worklist=worklist,
        log=log,
        access=access,
        titles=titles or dict.fromkeys(proposer.models.space.codes, ""),
        drgs=drgs,
        weights=proposer.weights,
        study=allocation,
        explain=explained,
    )
