"""Train, validation and test by patient: a hash of the patient's number decides, whatever else is in the data."""

import hashlib
from enum import StrEnum


class Split(StrEnum):
    """What a patient's notes are used for."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


def split_of(subject_id: int | str, seed: int, test_share: float, validation_share: float) -> Split:
    """The split of one patient; the same under any row order, library version or other patients.

    >>> split_of(10000032, seed=0, test_share=0.1, validation_share=0.1)
    <Split.TRAIN: 'train'>
    >>> split_of(10000032, seed=0, test_share=1.0, validation_share=0.0)
    <Split.TEST: 'test'>
    """
    digest = hashlib.sha256(f"{seed}:{subject_id}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < test_share:
        return Split.TEST
    return Split.VALIDATION if place < test_share + validation_share else Split.TRAIN
