import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest

from src.cohort.prepared import read_cohort
from src.display.figure_style import ReportFigure, inline, svg
from src.reporting.cohort_figures import flow_figure, horizon_figure, label_figure, length_figure
from src.reporting.cohort_page import page
from src.reporting.cohort_report import measure, published_rows, summary

LISTED = [{"drg_code": "001", "description": "A <b>& nothing", "reason": "two DRGs fit", "rows": 12, "patients": 12}]
UNDECIDED = {"descriptions": 1, "rows": 12, "listed": LISTED}
NONE = {"descriptions": 0, "rows": 0, "listed": []}


@pytest.fixture(scope="module")
def told(
    cohort: Path, tmp_path_factory: pytest.TempPathFactory, command: Callable[..., subprocess.CompletedProcess[str]]
) -> tuple[Path, str]:
    """The folder of a report, and what the command printed."""
    out = tmp_path_factory.mktemp("report")
    return out, command("src.report", f"data.dir={cohort}", "model=nano", f"to={out}").stdout


def test_the_command_leaves_a_page_and_numbers(told: tuple[Path, str]) -> None:
    out, printed = told
    numbers = json.loads((out / "report.json").read_text())
    assert summary(numbers) in printed
    assert f"{numbers['splits']['train']['notes']:,}" in (out / "report.html").read_text()


def test_the_page_needs_no_network_and_nothing_beside_it(told: tuple[Path, str]) -> None:
    text = (told[0] / "report.html").read_text()
    assert text.count("<svg ") == text.count("</svg>") == 3
    for outside in ("<script", "<link", "<img", "src=", "@import", 'href="http'):
        assert outside not in text
    assert {link[1:] for link in re.findall(r'href="([^"]+)"', text)} <= set(re.findall(r'id="([^"]+)"', text))


def test_no_report_holds_a_word_of_a_note(told: tuple[Path, str], cohort: Path) -> None:
    out, printed = told
    written = printed + (out / "report.html").read_text() + (out / "report.json").read_text()
    for text in pl.read_parquet(cohort / "notes.parquet")["text"]:
        assert " ".join(text.split()[:4]) not in written


def test_the_numbers_are_those_of_a_plain_count(told: tuple[Path, str], cohort: Path) -> None:
    numbers = json.loads((told[0] / "report.json").read_text())
    notes = pl.read_parquet(cohort / "notes.parquet")
    counts = Counter(notes["drg"].to_list())
    bands = numbers["labels"]["drgs_by_notes"]
    listed = numbers["labels"]["notes_by_drg"]
    assert listed.items() <= dict(counts).items()
    few = notes.group_by("drg").agg(pl.col("subject_id").n_unique()).filter(pl.col("subject_id") < 10)["drg"]
    assert not set(listed) & set(few)
    assert bands["1"] == sum(count == 1 for count in counts.values())
    assert bands["2 to 9"] == sum(2 <= count <= 9 for count in counts.values())
    assert sum(bands.values()) == len(counts)
    assert numbers["words"]["mean"] == pytest.approx(np.mean([len(text.split()) for text in notes["text"]]))
    trained = set(notes.filter(pl.col("split") == "train")["drg"])
    unseen = sum(drg not in trained for drg in notes.filter(pl.col("split") == "test")["drg"])
    assert numbers["labels"]["test_notes_of_drgs_without_a_training_note"] == unseen
    assert numbers["in_two_splits"] == {"patients": 0, "admissions": 0, "texts": 0}


def test_the_flow_of_each_horizon_stands_in_one_picture_without_small_counts(
    early_cohort: Path, command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    steps = [("notes of the cohort", 0, 774), ("with times in hosp/admissions", 4, 770)]
    steps += [("in the house still at 24h", 70, 700), ("with something known at 24h", 0, 700)]
    path = early_cohort / "horizons" / "24h" / "cohort.json"
    flow = [dict(zip(("step", "excluded", "left"), step, strict=True)) for step in steps]
    path.write_text(json.dumps({**json.loads(path.read_text()), "flow": flow}))
    printed = command("src.report", f"data.dir={early_cohort}", "model=nano", f"to={tmp_path}").stdout
    assert "      700  known at 24h" in printed
    numbers = json.loads((tmp_path / "report.json").read_text())
    assert list(numbers["horizons"]) == ["triage", "ed", "admission", "24h", "48h"]
    joined = {"step": "with times in hosp/admissions; in the house still at 24h", "excluded": 74, "left": 700}
    assert numbers["horizons"]["24h"] == [flow[0], joined]
    (names,) = horizon_figure(numbers["horizons"]).legends
    drawn = [text.get_text() for text in names.get_texts()]
    assert drawn[0] == "read"
    assert "without times in hosp/admissions; in the house still" in drawn


def test_a_patient_or_text_in_two_splits_is_counted(cohort: Path, tmp_path: Path) -> None:
    shutil.copytree(cohort, tmp_path / "cohort")
    notes = pl.read_parquet(cohort / "notes.parquet")
    one = notes.filter(pl.col("split") == "train").head(1)
    leak = one.with_columns(split=pl.lit("test"), hadm_id=pl.lit(1, dtype=pl.Int64))
    pl.concat([notes, leak]).write_parquet(tmp_path / "cohort" / "notes.parquet")
    numbers = measure(read_cohort(tmp_path / "cohort"), np.full(notes.height + 1, 9), [16])
    assert numbers["in_two_splits"] == {"patients": 1, "admissions": 0, "texts": 1}


def test_cut_notes_are_those_longer_than_the_length(cohort: Path) -> None:
    whole = np.full(pl.read_parquet(cohort / "notes.parquet").height, 256)
    whole[:3] = 257
    cut = measure(read_cohort(cohort), whole, [256, 512])["tokens"]["share_cut"]
    assert cut == {"256": 3 / len(whole), "512": 0.0}


def test_the_paper_stands_beside_what_it_tells_and_not_known_beside_the_rest(told: tuple[Path, str]) -> None:
    numbers = json.loads((told[0] / "report.json").read_text())
    paper = {row["what"]: row["paper"] for row in numbers["beside_the_paper"]}
    assert paper["training and validation notes"] + paper["test notes"] == paper["notes"] == 262_436
    assert paper["mean tokens of a note"] == "not known"
    same = {row["what"]: row["here"] for row in published_rows(numbers)}
    assert same["DRGs of the version"] == paper["DRGs of the version"] == 757
    assert same["base DRGs of the version"] == paper["base DRGs of the version"] == 340


@pytest.mark.parametrize("rows", [None, NONE, UNDECIDED])
def test_undecided_descriptions_are_listed_when_the_record_has_them(
    rows: dict[str, object] | None, told: tuple[Path, str]
) -> None:
    numbers = {**json.loads((told[0] / "report.json").read_text()), "undecided": rows}
    text = page(numbers, np.arange(41, 500), np.arange(41, 500), "a tokenizer")
    assert ("name no DRG for certain" in text) is (rows is not None)
    assert ("A &lt;b&gt;&amp; nothing" in text) is (rows is UNDECIDED)
    assert ("undecided: 1 descriptions on 12 rows" in summary(numbers)) is (rows is UNDECIDED)


def test_pictures_are_whole_svg_and_the_same_each_time() -> None:
    flow = [{"step": "summaries", "excluded": 0, "left": 9}, {"step": "a < b & c", "excluded": 2, "left": 7}]
    splits = {"train": {"notes": 6, "patients": 5, "drgs": 3}, "test": {"notes": 1, "patients": 1, "drgs": 1}}
    lengths = np.arange(41, 3000)
    makers: list[Callable[[], object]] = [
        lambda: flow_figure(flow, splits),
        lambda: horizon_figure({"ed": flow, "24h": flow[:1]}),
        lambda: label_figure([5, 1, 1], {"1": 2, "2 to 9": 1}),
        lambda: length_figure(lengths, lengths, {"256": 0.9, "2048": 0.3, "100000": 0.0}),
    ]
    for make in makers:
        text = svg(ReportFigure("name", "title", "", make()))
        shown = inline(text, "name", "what it <shows>").replace("xlink:href", "href")
        assert ElementTree.fromstring(shown).get("aria-label") == "what it <shows>"
        assert svg(ReportFigure("name", "title", "", make())) == text


def test_a_folder_that_cannot_be_written_is_named(
    cohort: Path, tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (tmp_path / "file").write_text("")
    told = command("src.report", f"data.dir={cohort}", f"to={tmp_path / 'file'}", ok=False)
    assert told.returncode == 2
    assert "to=DIR" in told.stderr


def test_a_limit_is_refused(cohort: Path, command: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    told = command("src.report", f"data.dir={cohort}", "data.limit=5", ok=False)
    assert "describes every note" in told.stderr


def test_classes_of_a_hospitals_own_are_called_so(
    tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    rows = [
        f"the {kind} note of number {index} in whole words,{kind}" for kind in ("left", "right") for index in range(40)
    ]
    (tmp_path / "notes.csv").write_text("\n".join(["TEXT,LABEL", *rows]) + "\n")
    words = [f"data.path={tmp_path / 'notes.csv'}", "data.text=TEXT", "data.label=LABEL", "data.words=3"]
    command("src.prepare", "data=csv", *words, f"data.out={tmp_path / 'own'}")
    printed = command("src.report", str(tmp_path / "own"), "model=femto").stdout
    assert "labels: 2 classes of 2\n" in printed
    page = (tmp_path / "own" / "report.html").read_text("utf-8")
    for text in (printed, page):
        assert "DRG" not in text
        assert "Beside the paper" not in text
        assert "paper" not in text


def test_the_first_word_alone_may_be_the_run(
    tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    for words in (["src.evaluate", str(tmp_path)], ["src.export", str(tmp_path), f"out={tmp_path / 'out'}"]):
        assert f"run={tmp_path}: no result.json there" in command(*words, ok=False).stderr
