"""Writes the folder of a synthetic hospital: its tables, its split, and what is counted of its notes."""

import json
import math
from collections import Counter
from pathlib import Path
from random import Random

import polars as pl

from src.cli.files import atomic_folder
from src.cli.progress import track
from src.cohort.prepared import SPLIT
from src.cohort.split import write_split
from src.synthetic.discharge_summary import write_note
from src.synthetic.early_tables import EARLY_COLUMNS, EarlyTables
from src.synthetic.facts import Admission, admissions
from src.synthetic.hospital_tables import open_tables, open_writers
from src.synthetic.knowledge import knowledge


def write_hospital(out: Path, count: int, seed: int, split_seed: int, test_share: float) -> dict[str, float]:
    """Writes `count` admissions, `split.csv` and `hospital.json` into a folder; returns the counts in the last.

    The key of the split follows from the seed, as all else does: the patients are nobody. What is known before
    discharge has a random source of its own, so that the notes and the labels are those of hospitals without it.

    Raises:
        UserError: `out` holds something.
    """
    random, medicine = Random(seed), knowledge()
    drgs: set[str] = set()
    totals: Counter[str] = Counter()
    words: list[int] = []
    splits: dict[int, str] = {}
    stays = admissions(medicine, count, random, (split_seed, test_share))
    with atomic_folder(out) as folder:
        with open_tables(folder, random) as tables, open_writers(folder, EARLY_COLUMNS) as writers:
            early = EarlyTables(writers, medicine, Random(f"early {seed}"))
            for stay in track(stays, total=count, what="admissions", unit="admission"):
                note = write_note(stay, medicine, random)
                timeline = early.add(stay)
                left = timeline.left_emergency
                tables.add(stay, note, (str(timeline.start), str(left)) if left else ("", ""))
                drgs.add(stay.drg)
                splits[stay.patient.subject_id] = "test" if stay.patient.heldout else "train"
                words.append(note.words)
                totals.update(_coding(stay))
                totals["mcc"] += len(note.mcc_places)
                totals["mcc_late"] += sum(position >= 400 for position in note.mcc_places)
                totals["mcc_implicit"] += note.mcc_implicit
            early.close()
        counts = {
            "admissions": count,
            "seed": seed,
            "drgs": len(drgs),
            "words_mean": round(sum(words) / len(words), 1),
            "words_p90": sorted(words)[math.floor(0.9 * len(words))],
            "coding_noise": round(totals["noise"] / max(1, totals["secondaries"]), 4),
            "mcc_after_word_400": round(totals["mcc_late"] / max(1, totals["mcc"]), 4),
            "mcc_implicit": round(totals["mcc_implicit"] / max(1, totals["mcc"]), 4),
        }
        patients = pl.DataFrame({"subject_id": splits.keys(), "split": splits.values()})
        write_split(folder / SPLIT, patients, Random(f"key {seed}").randbytes(32))
        (folder / "hospital.json").write_text(json.dumps(counts, indent=2) + "\n", "utf-8")
    return counts


def _coding(stay: Admission) -> dict[str, int]:
    """Counts secondary diagnoses that are documented or coded, and those of them that are only one of the two."""
    documented = {code for _, code in stay.documented}
    implied = {extra for condition, _ in stay.documented for extra in condition.extra} | set(stay.principal.extra)
    coded = set(stay.coded) - implied
    return {"noise": len(documented ^ coded), "secondaries": len(documented | coded)}
