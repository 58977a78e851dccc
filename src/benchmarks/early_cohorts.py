"""Times making cohorts of what is known before discharge, at MIMIC-IV's size, beside pandas.

`python -m src.benchmarks.early_cohorts [summaries=331793] [small=1000] [rounds=1] [folder=DIR]` writes a hospital of so
many discharge summaries into a folder that goes away (below `folder`), and prepares its cohorts at five horizons. Then
the radiology reports alone are joined to their admissions, up to 24 hours, in order of time: this project's way, and
with pandas where it is installed. Every way is a process of its own, and both joins must find the same reports.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import Any

from src.benchmarks.large_hospital import SMALL, write_large
from src.benchmarks.settings import read_settings
from src.cli.command import report_user_errors
from src.cli.errors import UserError
from src.cli.own_memory import peak_memory
from src.cli.progress import track

NAMES = "[triage,ed,24h,48h,admission]"
HOURS = 24

Shown = Iterator[tuple[int, list[str]]]
"""Yields of each admission the texts of its reports, in order of time."""


def by_prepare(hospital: Path) -> Shown:
    """Prepares the cohorts at all horizons, as the command does."""
    from src.cli.compose import compose, read_command_line
    from src.cohort.build import build
    from src.config.prepare import PrepareConfig

    with tempfile.TemporaryDirectory(dir=hospital) as folder:
        words = [f"data.dir={hospital}", f"data.out={folder}/cohort", f"horizon={NAMES}"]
        (cfg,) = compose(PrepareConfig, read_command_line(words, "prepare"))
        build(cfg)
    yield from ()


def by_charted(hospital: Path) -> Shown:
    """Joins the reports as `prepare` does: texts to a file on disk, places and times in memory."""
    import polars as pl

    from src.cohort.charted import Charted, add_reports
    from src.cohort.horizon import TIMED_TABLES
    from src.cohort.mimic import PATIENTS, find_table, read_table
    from src.cohort.stays import read_stays
    from src.cohort.text_spool import TextSpool

    tables = {table: path for table in TIMED_TABLES if (path := find_table(hospital, table))}
    stays, _ = read_stays(tables, read_table(hospital, PATIENTS))
    last = pl.col("start") + pl.duration(hours=HOURS)
    with tempfile.TemporaryDirectory(dir=hospital) as folder, TextSpool(Path(folder) / "texts") as spool:
        charted = Charted(stays.with_columns(last=last).drop_nulls("start"), spool)
        add_reports(charted, tables, stays, None)
        for piece in charted.pieces().iter_slices(10_000):
            # Above a report stand its stamp, and its hour with the examination.
            texts = (text.split("\n", 2)[2] for text in spool.read(piece["offset"], piece["length"]))
            yield from _by_admission(zip(piece["hadm_id"], texts, strict=True))


def by_pandas(hospital: Path) -> Shown:
    """Joins the reports in memory, as a script would that reads whole tables."""
    import pandas as pd

    def read(table: str, columns: list[str], times: list[str]) -> Any:
        return pd.read_csv(hospital / f"{table}.csv.gz", usecols=[*columns, *times], parse_dates=times)

    stays = read("hosp/admissions", ["subject_id", "hadm_id"], ["admittime", "dischtime", "edregtime"])
    first = read("ed/edstays", ["hadm_id"], ["intime"]).groupby("hadm_id")["intime"].min()
    stays["start"] = stays["edregtime"].fillna(stays["admittime"])
    stays["begin"] = stays["start"].where(~(stays["hadm_id"].map(first) < stays["start"]), stays["hadm_id"].map(first))
    reports = read("note/radiology", ["subject_id", "hadm_id", "text"], ["charttime", "storetime"]).dropna(
        subset=["charttime", "storetime"]
    )
    reports = reports.sort_values("charttime", kind="stable")
    begun = stays.sort_values("begin")[["subject_id", "begin", "dischtime", "hadm_id"]]
    begun = begun.rename(columns={"hadm_id": "within"})
    reports = pd.merge_asof(reports, begun, left_on="charttime", right_on="begin", by="subject_id")
    within = reports["within"].where(reports["charttime"] <= reports["dischtime"])
    reports["hadm_id"] = reports["hadm_id"].fillna(within)
    reports["known"] = reports[["storetime", "charttime"]].max(axis=1)
    reports = reports.drop(columns=["begin", "dischtime", "within"]).merge(stays[["hadm_id", "start"]], on="hadm_id")
    reports = reports[reports["known"] <= reports["start"] + pd.Timedelta(hours=HOURS)]
    reports["text"] = reports["text"].str.strip()
    reports = reports[reports["text"] != ""].sort_values(["hadm_id", "known"], kind="stable")
    yield from _by_admission(zip(reports["hadm_id"].astype(int), reports["text"], strict=True))


def _by_admission(reports: Iterator[tuple[int, str]]) -> Shown:
    for admission, own in groupby(reports, itemgetter(0)):
        yield admission, [text for _, text in own]


_REPORTS = ("hosp/admissions", "ed/edstays", "note/radiology")
WAYS: dict[str, tuple[Callable[[Path], Shown], tuple[str, ...]]] = {
    "all horizons": (by_prepare, ()),
    "reports, 24h": (by_charted, (*_REPORTS, "hosp/patients", "note/radiology_detail")),
    "pandas": (by_pandas, _REPORTS),
}
"""Each way, and the tables that it reads; none stands for all."""


def read_once(way: str, hospital: Path) -> dict[str, Any]:
    """Measures one way in this process: seconds, peak memory in MB, how many reports it shows, and a sum over them.

    Neither importing nor hashing is timed.
    """
    import_module("pandas" if way == "pandas" else "src.cohort.build")
    start, hashing, count, total = time.perf_counter(), 0.0, 0, 0
    for admission, texts in WAYS[way][0](hospital):
        begun = time.perf_counter()
        for text in texts:  # a sum, as reports of one minute may stand in either order
            digest = hashlib.blake2b(f"{admission}\x1f{text}".encode(), digest_size=8).digest()
            total = (total + int.from_bytes(digest, "little")) % 2**64
        count += len(texts)
        hashing += time.perf_counter() - begun
    seconds = time.perf_counter() - start - hashing
    return {"seconds": seconds, "peak": peak_memory() / 2**20, "reports": count, "sum": f"{total:016x}"}


def measured(hospital: Path, rows: Mapping[str, int], rounds: int) -> list[str]:
    """Measures every way that can be, side by side; returns a table, and whether both joins show the same."""
    ways = [way for way in WAYS if way != "pandas" or find_spec("pandas")]
    readings: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for _ in track(range(rounds), total=rounds, what="measuring", unit="round"):
        for way in ways:
            readings[way].append(_in_a_process(way, hospital))
    lines = [f"{rows['note/discharge']:,} summaries, {rows['note/radiology']:,} reports; medians of {rounds} rounds"]
    lines.append(f"{'':<14}{'rows':>12}{'seconds':>9}{'rows/s':>10}{'peak MB':>9}{'reports':>11}")
    for way, runs in readings.items():
        seconds, peak = (median(float(reading[key]) for reading in runs) for key in ("seconds", "peak"))
        count = sum(rows[table] for table in WAYS[way][1] or rows)
        reports = f"{runs[0]['reports']:,}" if WAYS[way][1] else "-"
        lines.append(f"{way:<14}{count:>12,}{seconds:>9.1f}{count / seconds:>10,.0f}{peak:>9,.0f}{reports:>11}")
    if "pandas" not in ways:
        return [*lines, "pandas is not installed: pip install -e '.[benchmark]' -c constraints.txt"]
    sums = {reading["sum"] for way in ("reports, 24h", "pandas") for reading in readings[way]}
    return [*lines, "reports of both joins: " + ("identical" if len(sums) == 1 else "DIFFERENT")]


def _in_a_process(way: str, hospital: Path) -> dict[str, Any]:
    two_threads = {**os.environ, "POLARS_MAX_THREADS": "2", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "src.benchmarks.early_cohorts", f"way={way}", f"folder={hospital}"]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, env=two_threads, check=False)
    if done.returncode:
        raise UserError(f"{way}: ended with {done.returncode}; what it said stands above")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main() -> None:
    """Runs the command."""
    with report_user_errors():
        settings = read_settings(
            sys.argv[1:], {"summaries": 331_793, "small": SMALL, "rounds": 1, "folder": "", "way": ""}
        )
        if settings["way"]:
            print(json.dumps(read_once(settings["way"], Path(settings["folder"]))))
            return
        with tempfile.TemporaryDirectory(dir=settings["folder"] or None) as folder:
            rows = write_large(Path(folder), settings["summaries"], settings["small"])
            print("\n".join(measured(Path(folder), rows, settings["rounds"])))


if __name__ == "__main__":
    main()
