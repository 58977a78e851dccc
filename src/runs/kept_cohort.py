"""What a run keeps of its cohort, so that it predicts without: labels, how notes are read, words.

`cohort.json` in the run's folder holds no note and no id; `words.npz` says which words training notes have, as bits.
"""

import json
import zipfile
import zlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from src.cli.errors import UserError
from src.cli.files import atomic_write
from src.cli.json_files import Damaged, Schema, read_json
from src.cohort.familiar_words import FamiliarWords, familiar_words
from src.cohort.prepared import COHORT, Cohort
from src.cohort.sections import WHOLE_NOTE
from src.cohort.split_names import Split
from src.config.prepare import Protocol
from src.runs.folder import RunFolder

KEPT: Schema = {
    **COHORT,
    "sections": list[str],
    "headings": list[str],
    "fewest_words": int,
    "horizon?": {"name": str, "hours": int | None},
    "origin?": str,
    "unseen_words": float,
}
"""Of a cohort at a horizon, `origin` is the fingerprint of the cohort of discharge."""

UNFAMILIAR = 0.99
"""The quantile of validation notes above whose share of new words a note is unlike the training notes."""


@dataclass(frozen=True, eq=False)
class KeptCohort:
    """Holds what prediction needs of a cohort."""

    record: dict[str, Any]
    """What `cohort.json` of a run holds, see `KEPT`: a cohort's, but for its counts."""
    words: FamiliarWords

    @property
    def protocol(self) -> Protocol:
        """Says by whose rules sections are found."""
        return Protocol.PAPER if self.record.get("protocol") == Protocol.PAPER else Protocol.CLEAN

    def reading_whole(self) -> "KeptCohort":
        """Returns the same for notes that hold nothing but what a model reads."""
        return replace(self, record={**self.record, "protocol": "own", "sections": [WHOLE_NOTE], "headings": []})

    def write(self, folder: RunFolder) -> None:
        """Writes both files into a run's folder."""
        with atomic_write(folder.words) as tmp:
            self.words.save(tmp)
        with atomic_write(folder.cohort) as tmp:
            tmp.write_text(json.dumps(self.record, indent=2) + "\n", "utf-8")


def kept_of(cohort: Cohort, limit: int | None = None) -> KeptCohort:
    """Takes of a cohort what a run of `data.limit` notes keeps; reads its training and validation notes once."""
    words = familiar_words(cohort.texts(Split.TRAIN, limit))
    shares = [words.unseen_share(texts) for texts in cohort.texts(Split.VALIDATION, limit)]
    unseen = float(np.quantile(np.concatenate(shares), UNFAMILIAR)) if shares else 1.0
    # Cohorts of an earlier version do not say by which headings and how few words.
    record = {"headings": [], "fewest_words": 1, **cohort.record, "unseen_words": unseen}
    return KeptCohort(
        {key.removesuffix("?"): record[key.removesuffix("?")] for key in KEPT if key.removesuffix("?") in record}, words
    )


def kept_record(folder: RunFolder) -> dict[str, Any]:
    """Reads what a run kept of its cohort's record; nothing where an earlier version trained it, or it is damaged."""
    try:
        return read_json(folder.cohort, KEPT)
    except (FileNotFoundError, UserError):
        return {}


def read_kept(folder: RunFolder) -> KeptCohort | None:
    """Reads what a finished run kept; None where an earlier version trained it, and kept nothing.

    Raises:
        UserError: a file of it is damaged.
    """
    instead = "train the run again, or remove both cohort.json and words.npz there and name its cohort with data_dir="
    if not folder.cohort.exists():
        return None
    record = read_json(folder.cohort, KEPT, instead)
    try:
        return KeptCohort(record, FamiliarWords.load(folder.words))
    except (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise Damaged(folder.words, type(error).__name__, instead) from None
