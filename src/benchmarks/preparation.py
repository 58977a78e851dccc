"""Times reading discharge summaries and finding hospital courses, beside the paper's way.

`python -m src.benchmarks.preparation HOSPITAL [notes=20000] [bytes=10000] [rounds=3]` writes a discharge file of that
many notes of that mean length, and reads it with pandas and `re` as the paper's code does, with this project's reader
under both protocols, and by inflating alone. Every reading is a process of its own on one thread.
"""

import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from statistics import median

from src.benchmarks.settings import read_settings
from src.cli.command import report_user_errors
from src.cli.errors import UserError
from src.cli.own_memory import peak_memory
from src.cli.progress import track

LINES = r"((?:\n.*)+?)"
"""As few lines as will do: which is tried to the note's end, and back from there."""

BLANKS = " " * 24
PATTERNS = (
    re.compile(rf"Brief Hospital Course.*\n*{LINES}(?:Medications on Admission|___  on Admission|___ on Admission)"),
    re.compile(rf"Brief Hospital Course.*\n*{LINES}Discharge Medications"),
    re.compile(rf"(?:[Bb]?rief Hospital Course|HOSPITAL COURSE){BLANKS}.*\n*{LINES}{BLANKS}(?:Medications|Discharge)"),
    re.compile(r"(?:Mg-[12].|LACTATE-[12].|Epi-|Gap-|COUNT-|TRF-)___(.*\n*(?:\n.*)+?)Medications on Admission"),
)
"""What the paper's four patterns find, written anew; the third never fits."""

FEWEST_WORDS = 41


def by_pandas(path: Path) -> Iterator[tuple[str, str]]:
    """Reads the paper's way: the whole table, then the first pattern that fits, then the words."""
    import pandas as pd

    table = pd.read_csv(path)
    table["course"] = table["text"].map(_first)
    table = table.dropna(subset=["course"])
    table = table[table["course"].map(lambda text: len(text.split()) >= FEWEST_WORDS)].drop_duplicates("course")
    yield from zip(table["note_id"], table["course"], strict=True)


def _first(text: str) -> str | None:
    """Searches as the paper's code does: a pattern that fits is searched again for its text."""
    for pattern in PATTERNS:
        if pattern.search(text):
            match = pattern.search(text)
            return match.group(1) if match else None
    return None


def by_protocol(path: Path, protocol: str) -> Iterator[tuple[str, str]]:
    """Reads this project's way, as `prepare` goes: texts to a heap on disk, ids and counts in memory."""
    import polars as pl

    from src.cohort.build import with_diagnosis
    from src.cohort.read_notes import gather
    from src.cohort.sections import Sections
    from src.cohort.sources import MIMIC, Source
    from src.cohort.text_spool import TextSpool

    extract = with_diagnosis(Sections(), None if protocol == "paper" else ["hospital_course"])
    with tempfile.TemporaryDirectory() as folder, TextSpool(Path(folder) / "texts") as heap:
        rows, _ = gather(Source(path, MIMIC), extract, heap)
        rows = rows.filter(pl.col("words") >= FEWEST_WORDS).filter(pl.col("digest").is_first_distinct())
        for piece in rows.iter_slices(2_000):
            yield from zip(piece["note"], heap.read(piece["text_at"], piece["text_bytes"]), strict=True)


def by_inflating(path: Path) -> Iterator[tuple[str, str]]:
    """Inflates every byte and looks at none, which is the floor."""
    from isal import igzip

    with igzip.open(path) as file:
        while file.read(4 << 20):
            pass
    yield from ()


WAYS: dict[str, Callable[[Path], Iterator[tuple[str, str]]]] = {
    "pandas + re": by_pandas,
    "paper": lambda path: by_protocol(path, "paper"),
    "clean": lambda path: by_protocol(path, "clean"),
    "inflate only": by_inflating,
}


def read_once(way: str, path: Path) -> dict[str, float | str]:
    """Measures one reading in this process: seconds, peak memory in MB, and a hash of the texts.

    Neither importing nor hashing is timed.
    """
    import_module("pandas" if way == "pandas + re" else "src.cohort.build")
    start, digest, hashing = time.perf_counter(), hashlib.sha256(), 0.0
    for note, text in WAYS[way](path):
        begun = time.perf_counter()
        digest.update(f"{note}\x1f{text}\x1e".encode())
        hashing += time.perf_counter() - begun
    seconds = time.perf_counter() - start - hashing
    return {"seconds": seconds, "peak": peak_memory() / 2**20, "texts": digest.hexdigest()}


def longer_lists(texts: Sequence[str], size: int) -> dict[str, str]:
    """Says what makes summaries of `size` bytes on average of `texts`, by the heading below which it goes.

    Three fifths of what is added are laboratory results before the hospital course, two fifths drugs after it.
    """
    mean = sum(map(len, texts)) / len(texts)
    lines = "___ 06:50AM BLOOD WBC-8.1 RBC-4.02* Hgb-11.9* Hct-36.0 MCV-90 MCH-29.6 Plt Ct-245\n"
    drugs = "7. Metoprolol Succinate XL 50 mg PO DAILY \nRX *metoprolol succinate 50 mg 1 tablet by mouth daily\n"
    return {
        "Pertinent Results:\n": lines * max(0, round(0.6 * (size - mean) / len(lines))),
        "Discharge Medications:\n": drugs * max(0, round(0.4 * (size - mean) / len(drugs))),
    }


def lengthened(text: str, more: Mapping[str, str]) -> str:
    """Adds to a summary what `longer_lists` gives."""
    for heading, added in more.items():
        text = text.replace(heading, heading + added, 1)
    return text


def write_notes(hospital: Path, path: Path, notes: int, size: int) -> None:
    """Writes a discharge file of `notes` notes of `size` bytes on average: the hospital's own, with longer lists."""
    import csv

    from src.cohort.mimic import NOTES, find_table

    source = find_table(hospital, NOTES)
    if source is None:
        raise UserError(f"{hospital}: no note/discharge.csv.gz; build one with python -m src.hospital out={hospital}")
    opener = gzip.open if source.suffix == ".gz" else open
    with opener(source, "rt", encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    more = longer_lists([row[-1] for row in rows], size)
    with gzip.open(path, "wt", compresslevel=1, encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for number in track(range(notes), total=notes, what="writing", unit="note"):
            row = list(rows[number % len(rows)])
            row[0], row[2] = f"{row[0]}-{number}", str(20_000_000 + number)
            row[-1] = lengthened(row[-1], more)
            if number >= len(rows):  # no exact duplicate of an earlier round
                row[-1] = row[-1].replace("Course:\n", f"Course:\nStay {number // len(rows)}. ", 1)
            writer.writerow(row)


def main() -> None:
    """Runs the command."""
    with report_user_errors():
        hospital, *words = sys.argv[1:] or [""]
        if not hospital or "=" in hospital:
            raise UserError("python -m src.benchmarks.preparation HOSPITAL [notes=20000] [bytes=10000] [rounds=3]")
        settings = read_settings(words, {"notes": 20_000, "bytes": 10_000, "rounds": 3, "way": ""})
        if settings["way"]:
            print(json.dumps(read_once(settings["way"], Path(hospital))))
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "discharge.csv.gz"
            write_notes(Path(hospital), path, settings["notes"], settings["bytes"])
            _compare(path, settings["notes"], settings["rounds"])


def _compare(path: Path, notes: int, rounds: int) -> None:
    readings: dict[str, list[dict[str, float | str]]] = {way: [] for way in WAYS}
    for _ in track(range(rounds), total=rounds, what="measuring", unit="round"):
        for way in WAYS:
            readings[way].append(_in_a_process(way, path))
    first = median(float(reading["seconds"]) for reading in readings["pandas + re"])
    print(f"{notes:,} notes, {path.stat().st_size / 1e6:,.0f} MB compressed; medians of {rounds} rounds, one thread")
    print(f"{'':<14}{'notes/s':>10}{'times pandas + re':>20}{'peak MB':>10}")
    for way, runs in readings.items():
        seconds, peak = (median(float(reading[key]) for reading in runs) for key in ("seconds", "peak"))
        print(f"{way:<14}{notes / seconds:>10,.0f}{first / seconds:>20.1f}{peak:>10,.0f}")
    same = {str(reading["texts"]) for way in ("pandas + re", "paper") for reading in readings[way]}
    print("texts of pandas + re and of paper: " + ("identical" if len(same) == 1 else "DIFFERENT"))


def _in_a_process(way: str, path: Path) -> dict[str, float | str]:
    one_thread = {**os.environ, "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "src.benchmarks.preparation", str(path), f"way={way}"]
    done = subprocess.run(words, capture_output=True, text=True, env=one_thread, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        raise UserError(f"{way}: {''.join(last)}; pandas comes with pip install -e '.[benchmark]' -c constraints.txt")
    result: dict[str, float | str] = json.loads(done.stdout)
    return result


if __name__ == "__main__":
    main()
