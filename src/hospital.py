"""Builds a synthetic hospital: `python -m src.hospital out=DIR admissions=20000 seed=0`."""

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random

from src.cli.command import command


@dataclass
class HospitalConfig:
    """Builds a synthetic hospital in MIMIC-IV's file formats."""

    out: str
    """Folder for the hospital; must not hold anything yet."""
    admissions: int
    seed: int
    test_share: float
    """Share of patients whose notes use held-out phrasings; the share that `src.prepare` will test on."""
    split_seed: int
    """The seed that `src.prepare` will split by."""

    def problems(self) -> list[str]:
        """One line for each value that cannot be."""
        problems = []
        if not 1 <= self.admissions <= 900_000:
            problems.append(f"admissions={self.admissions}: must be from 1 to 900000, for hadm_id has eight digits")
        if not 0 <= self.test_share < 1:
            problems.append(f"test_share={self.test_share}: must be at least 0 and below 1")
        if Path(self.out).is_dir() and any(Path(self.out).iterdir()):
            problems.append(f"out={self.out}: the folder is not empty; name another, or remove it first")
        return problems


def hospital(cfg: HospitalConfig) -> None:
    """Writes `note/` and `hosp/` in MIMIC-IV's formats, `hospital.json` with counts, and `split.csv`.

    Some phrasings are held out for the test patients of `split.csv`, which `prepare` follows. Its key follows from the
    seed, as all else does: the patients are nobody.

    Raises:
        UserError: `out` holds something.
    """
    import polars as pl

    from src.cli.files import atomic_folder
    from src.cli.progress import track
    from src.cohort.prepared import SPLIT
    from src.cohort.split import write_split
    from src.synthetic.facts import admissions
    from src.synthetic.knowledge import knowledge
    from src.synthetic.notes import write_note
    from src.synthetic.tables import open_tables

    random, known = Random(cfg.seed), knowledge()
    drgs: Counter[str] = Counter()
    count: Counter[str] = Counter()
    words: list[int] = []
    splits: dict[int, str] = {}
    stays = admissions(known, cfg.admissions, random, (cfg.split_seed, cfg.test_share))
    with atomic_folder(Path(cfg.out)) as folder:
        with open_tables(folder, random) as tables:
            for stay in track(stays, total=cfg.admissions, what="admissions", unit="admission"):
                note = write_note(stay, known, random)
                tables.add(stay, note.text)
                drgs[stay.drg] += 1
                splits[stay.patient.subject_id] = "test" if stay.patient.heldout else "train"
                words.append(note.words)
                documented = {code for _, code in stay.documented}
                implied = {extra for one, _ in stay.documented for extra in one.extra} | set(stay.principal.extra)
                coded = set(stay.coded) - implied
                count["noise"] += len(documented ^ coded)
                count["secondaries"] += len(documented | coded)
                count["mcc"] += len(note.mcc_places)
                count["mcc_late"] += sum(place >= 400 for place in note.mcc_places)
                count["mcc_implicit"] += note.mcc_implicit
        told = {
            "admissions": cfg.admissions,
            "seed": cfg.seed,
            "drgs": len(drgs),
            "words_mean": round(sum(words) / len(words), 1),
            "words_p90": sorted(words)[math.floor(0.9 * len(words))],
            "coding_noise": round(count["noise"] / max(1, count["secondaries"]), 4),
            "mcc_after_word_400": round(count["mcc_late"] / max(1, count["mcc"]), 4),
            "mcc_implicit": round(count["mcc_implicit"] / max(1, count["mcc"]), 4),
        }
        patients = pl.DataFrame({"subject_id": splits.keys(), "split": splits.values()})
        write_split(folder / SPLIT, patients, Random(f"key {cfg.seed}").randbytes(32))
        (folder / "hospital.json").write_text(json.dumps(told, indent=2) + "\n", "utf-8")
    print("\n".join(f"{name}: {value}" for name, value in told.items()))


def main() -> None:
    """The command."""
    command(HospitalConfig, "hospital", hospital)


if __name__ == "__main__":
    main()
