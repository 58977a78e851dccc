"""A cohort of a few notes that every machine makes alike, for what was kept of earlier runs."""

import csv
import random
from collections.abc import Callable
from pathlib import Path

import pytest

COLUMNS = ["note", "drg", "patient", "split"]
DRGS = {
    "193": "pneumonia of the left lower lobe",
    "291": "heart failure with fluid overload",
    "292": "heart failure, mild",
    "470": "replacement of the right knee",
    "683": "renal failure after a fall",
    "871": "sepsis from a urinary source",
}
COURSE = ["fever", "cough", "oedema", "dialysis", "furosemide", "ceftriaxone", "walking", "pain", "oxygen", "a drain"]
SPLITS = ["train"] * 20 + ["validation"] * 4 + ["test"] * 4


@pytest.fixture(scope="session")
def few_notes(tmp_path_factory: pytest.TempPathFactory, command: Callable[..., object]) -> Path:
    """The cohort of the runs in `old_run`: 28 notes of six MS-DRGs, from a CSV file."""
    folder = tmp_path_factory.mktemp("few")
    draw = random.Random(17)
    rows = []
    for number, split in enumerate(SPLITS):
        code = sorted(DRGS)[number % len(DRGS)]
        signs = ", ".join(draw.choice(COURSE) for _ in range(9))
        rows.append([f"Admitted for {DRGS[code]}. Treated for {signs}. Day {number}.", code, number // 2 + 1, split])
    with (folder / "notes.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    words = ["data=csv", f"data.path={folder / 'notes.csv'}", "data.text=note", "data.label=drg"]
    command(
        "src.prepare", *words, "data.patient=patient", "data.split=split", "data.labels=drg",
        f"data.out={folder / 'cohort'}",
    )  # fmt: skip
    return folder / "cohort"
