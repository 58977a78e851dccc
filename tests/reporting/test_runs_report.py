import csv
import io
import json
import math
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import polars as pl
import pytest

from src.cli.compose import CONF
from src.cli.errors import UserError
from src.display.catalog import MAIN
from src.evaluation.evaluation_record import FOLDER, NUMBERS
from src.metrics.intervals import estimate
from src.reporting.cell_figures import drawn_differences
from src.reporting.findings import best_cell
from src.reporting.law_tables import differences_table, fits_table, held_out_table, predictions_table
from src.reporting.run_errors import known_groups
from src.reporting.runs_report import compose, rendered, write_report
from src.reporting.series import UPPER_BOUND, baselines, main_ground, name_of
from src.runs.finished import Run
from src.runs.record import RunRecord, read_record
from src.scaling_analysis.analysis import analyse
from src.scaling_analysis.result_tables import as_text, tables
from src.scaling_analysis.run_sources import Source
from src.testing.made_up_runs import Truth, grid_of

SIZES = {"femto": 156_320, "pico": 363_072, "nano": 1_328_256}
LENGTHS = (96, 192, 384)


def record(model: str, max_len: int, labels: str, seed: int) -> dict[str, Any]:
    """What a run of a made-up grid would have left: a larger base and more context help, and seeds differ a little."""
    params = SIZES.get(model, 0)
    size = math.log(max(params, 60_000) / 60_000)
    accuracy = 0.1 + 0.09 * size + 0.02 * math.log2(max_len / 96) + 0.01 * (labels == "two") + 0.004 * (seed - 1)
    metrics = {"accuracy": accuracy, "macro_f1": 0.6 * accuracy, "macro_auc": 0.8 + 0.05 * size, "top5": accuracy + 0.3}
    told = {name: estimate(value, 0.01, 1500) for name, value in metrics.items()}
    return {
        "config": {"device": "cpu", "data": {"dir": "nowhere", "limit": 600}},
        "axes": {
            "model": model, "params": params, "max_len": max_len, "lora_r": 8, "lora_alpha": 16, "labels": labels,
            "prompt": "none", "lr": 0.002, "epochs": 2, "batch_size": 4, "seed": seed, "protocol": "clean",
        },
        "cohort": "0123456789abcdef",
        "code": {"commit": "c0ffee", "source": "5eed"},
        "counts": {"train": 6000, "validation": 1685, "test": 1713, "test_drgs": 451, "trainable_parameters": 15_136},
        "metrics": {f"{split}/{name}": value for split in ("val", "test") for name, value in metrics.items()},
        "intervals": {f"test/{name}": [each.low, each.high] for name, each in told.items()},
        "versions": {"python": "3.11", "torch": "2.13.0+cpu"},
        "tokens_seen": max_len * 12_000,
        "seconds": {"training": max_len / 8 + params / 1e5, "total": max_len / 6 + params / 1e5},
    }  # fmt: skip


def curves(seed: int) -> dict[str, dict[int, float]]:
    """A loss that falls, and two validations."""
    return {
        "train/loss": {step: 6 / (1 + step / 800) + 0.05 * seed for step in range(10, 3000, 10)},
        "val/accuracy": {1500: 0.2 + 0.01 * seed, 3000: 0.3 + 0.01 * seed},
    }


@pytest.fixture(scope="module")
def grid() -> list[Run]:
    """Three sizes, three lengths and two seeds, one run not there, and a baseline."""
    points = [(model, length, "two", seed) for model in SIZES for length in LENGTHS for seed in (0, 1)]
    points = [point for point in points if point != ("nano", 384, "two", 1)]
    runs = [Run("-".join(map(str, point)), RunRecord.of(record(*point)), curves(point[-1])) for point in points]
    return [*runs, Run("tfidf", RunRecord.of(record("tfidf", 512, "single", 0)))]


@pytest.fixture(scope="module")
def files(grid: list[Run]) -> Mapping[str, bytes]:
    """Every file of the grid's report."""
    return rendered(compose("grid", grid, analyse(Source(tuple(grid)))))


@pytest.fixture(scope="module")
def told(
    runs: Mapping[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
    command: Callable[..., subprocess.CompletedProcess[str]],
) -> tuple[Path, str]:
    """The report on the session's runs, one of them evaluated, and what the command printed."""
    source = tmp_path_factory.mktemp("source") / "runs"
    shutil.copytree(runs["single"].parent, source, ignore=shutil.ignore_patterns("wandb", FOLDER))
    command("src.evaluate", f"run={source / 'two'}")
    done = command("src.report", str(source))
    return source / "report", done.stdout


def test_the_command_names_the_page_that_it_wrote(told: tuple[Path, str]) -> None:
    folder, printed = told
    assert f"report: {folder / 'report.html'}" in printed
    listed = json.loads((folder / "report.json").read_text("utf-8"))["files"]
    assert sorted(listed) == sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_page_reaches_for_nothing_outside_itself(told: tuple[Path, str], files: Mapping[str, bytes]) -> None:
    for page in ((told[0] / "report.html").read_text("utf-8"), files["report.html"].decode()):
        assert not re.findall(r"https?://", re.sub(r'xmlns(:\w+)?="[^"]+"', "", page))
        assert not re.findall(r"url\((?!#)", page)
        for outside in ("<script", "<link", "<img", "<iframe", "src=", "@import"):
            assert outside not in page
        ids = re.findall(r'\bid="([^"]+)"', page)
        assert len(ids) == len(set(ids))
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', page)) <= set(ids)


def test_every_number_of_the_main_table_is_the_mean_of_the_records(grid: list[Run], files: Mapping[str, bytes]) -> None:
    rows = list(csv.DictReader(io.StringIO(files["tables/results.csv"].decode())))
    here = [row for row in rows if row["source"] == "here"]
    assert len(here) == 10
    for row in here:
        mine = [run for run in grid if (run.axes["model"], str(run.axes["max_len"])) == (row["system"], row["max_len"])]
        assert int(row["seeds"]) == len(mine)
        for name in ("macro_f1", "accuracy", "macro_auc"):
            values = [run.record.metrics[f"test/{name}"] for run in mine]
            assert float(row[name]) == pytest.approx(sum(values) / len(values), abs=1e-12)
            assert float(row[f"{name}_low"]) < float(row[name]) < float(row[f"{name}_high"])
            assert f">{float(row[name]):.3f} <small>" in files["report.html"].decode()


def test_the_same_records_give_the_same_bytes(grid: list[Run], files: Mapping[str, bytes]) -> None:
    again = rendered(compose("grid", list(reversed(grid)), analyse(Source(tuple(grid)))))
    assert again.keys() == files.keys()
    assert [name for name in files if again[name] != files[name]] == []


def test_no_report_holds_a_word_of_a_note_or_an_id(told: tuple[Path, str], cohort: Path) -> None:
    folder, printed = told
    kept = [path for path in folder.rglob("*") if path.suffix in (".html", ".json", ".csv", ".md", ".tex")]
    text = " ".join([printed, *(path.read_text("utf-8") for path in kept)])
    words = re.findall(r"[a-z]+", re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL).lower())
    written = {" ".join(words[at : at + 5]) for at in range(len(words))}
    notes = pl.read_parquet(cohort / "notes.parquet")
    for note in notes["text"]:
        spoken = re.findall(r"[a-z]+", note.lower())
        assert not written & {" ".join(spoken[at : at + 5]) for at in range(len(spoken))}
    numbers = set(re.findall(r"\d{8}", text))
    assert not numbers & {str(value) for name in ("subject_id", "hadm_id") for value in notes[name]}


def test_groups_of_fewer_than_ten_patients_are_left_out(told: tuple[Path, str]) -> None:
    folder, _ = told
    seen = 0
    for path in (folder / "tables").glob("errors_*.csv"):
        for row in csv.DictReader(io.StringIO(path.read_text("utf-8"))):
            seen += "patients" in row
            assert int(row.get("patients") or row.get("notes") or 10) >= 10
    assert seen > 5
    groups = pl.read_csv(folder.parent / "two" / "evaluation" / "by_words.csv", infer_schema=False)
    hidden = groups.filter(pl.col("patients").is_null())["words"]
    shown = (folder / "tables" / "errors_by_words.csv").read_text("utf-8")
    assert 0 < len(hidden) < groups.height
    assert not [words for words in hidden if f"\n{words}," in shown]


def _numbers(text: str) -> list[float]:
    return [float(each.replace(",", "")) for each in re.findall(r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]\d+)?", text)]


def _columns(rows: list[list[str]]) -> list[list[float]]:
    return [_numbers(" ; ".join(row)) for row in rows]


def test_tables_hold_the_same_numbers_in_markdown_and_in_latex(files: Mapping[str, bytes]) -> None:
    names = [name.removesuffix(".csv") for name in files if name.endswith(".csv")]
    assert {"tables/results", "tables/differences", "tables/fits", "tables/cost", "tables/missing"} <= set(names)
    for name in names:
        markdown = files[f"{name}.md"].decode().split("|\n|", 2)[2].strip("|\n ").split("|\n|")
        body = files[f"{name}.tex"].decode().split("\\midrule\n", 1)[1].split("\\bottomrule")[0]
        latex = [line for line in body.splitlines() if line.endswith("\\\\")]
        plain = [[cell.replace("--", " ; ") for cell in re.split(r"(?<!\\)&", line)] for line in latex]
        cells = [line.split(" | ") for line in markdown]
        assert _columns(cells) == _columns(plain)
        assert len(cells) == len(list(csv.reader(io.StringIO(files[f"{name}.csv"].decode())))) - 1


def test_the_csv_has_the_numbers_of_the_markdown_in_full(files: Mapping[str, bytes]) -> None:
    for name in ("results", "cost"):
        rows = list(csv.reader(io.StringIO(files[f"tables/{name}.csv"].decode())))[1:]
        lines = files[f"tables/{name}.md"].decode().split("|\n|", 2)[2].strip("|\n ").split("|\n|")
        for row, line in zip(rows, lines, strict=True):
            full = [value for cell in row for value in _numbers(cell)]
            for shown in _numbers(line):
                assert any(math.isclose(shown, value, abs_tol=6e-4, rel_tol=1e-2) for value in full), (name, shown)


def test_latex_is_balanced_and_escaped(files: Mapping[str, bytes]) -> None:
    for name, held in files.items():
        if not name.endswith(".tex"):
            continue
        text = held.decode()
        assert text.count("{") == text.count("}")
        begun = re.findall(r"\\begin\{(\w+)\}", text)
        assert list(reversed(re.findall(r"\\end\{(\w+)\}", text))) == begun == ["table", "tabular"]
        spec = re.search(r"\\begin\{tabular\}\{@\{\}([lr]+)@\{\}\}", text)
        assert spec
        for line in text.splitlines():
            if line.endswith("\\\\"):
                assert len(re.findall(r"(?<!\\)&", line)) == len(spec[1]) - 1
                assert not re.findall(r"(?<!\\)[%#_]", line)
        assert text.isascii() or not re.findall(r"[^\x00-\x7f]", text.replace("−", ""))


def test_every_figure_is_there_as_svg_and_as_pdf_with_its_fonts(files: Mapping[str, bytes]) -> None:
    names = {name.removesuffix(".svg") for name in files if name.endswith(".svg")}
    assert names == {name.removesuffix(".pdf") for name in files if name.endswith(".pdf")}
    told = json.loads(files["report.json"])["figures"]
    assert names == {f"figures/{name}" for name in told}
    for of in ("by_size", "by_context", "heat", "cells", "differences", "by_cost"):
        assert f"figures/macro_f1_{of}" in names
    for name in names:
        root = ElementTree.fromstring(files[f"{name}.svg"].decode())
        assert float(root.attrib["width"].removesuffix("pt")) <= 3.46 * 72 + 1
        pdf = files[f"{name}.pdf"]
        assert b"/FontFile2" in pdf  # TrueType, embedded
        assert b"/CreationDate" not in pdf
    assert all("95 %" in each["caption"] for name, each in told.items() if not name.startswith("learning"))


def test_what_came_out_follows_from_the_records(files: Mapping[str, bytes]) -> None:
    said = " ".join(json.loads(files["report.json"])["what_came_out"])
    assert "A larger base helps in macro-F1: 6 of 6 steps" in said
    assert "The best of 1 baselines by macro-F1 is tfidf" in said
    assert "Held out, nano 384 was predicted" in said
    assert "1 more runs belong to the grid and are not finished" in said
    assert "model=nano max_len=384 seed=1" in files["tables/missing.csv"].decode()


def test_the_upper_bound_is_a_model_of_conf_and_never_the_best_system() -> None:
    bound = record(UPPER_BOUND, 96, "two", 0)
    bound["metrics"] = dict.fromkeys(bound["metrics"], 0.99)
    records = [*(record(model, 96, "two", 0) for model in (*SIZES, "tfidf")), bound]
    runs = [Run(entry["axes"]["model"], RunRecord.of(entry)) for entry in records]
    assert f"name: {UPPER_BOUND}\n" in (CONF / "model" / f"{UPPER_BOUND}.yaml").read_text("utf-8")
    whole, without_base, bound_alone = (analyse(Source(tuple(some))) for some in (runs, runs[-2:], runs[-1:]))
    assert [name_of(whole, index) for index in baselines(whole, MAIN)] == ["tfidf"]
    best = best_cell(without_base, MAIN)
    assert best is not None
    assert name_of(without_base, best) == "tfidf"
    assert best_cell(bound_alone, MAIN) is None


def test_runs_without_a_grid_have_no_section_on_scaling(told: tuple[Path, str]) -> None:
    folder, _ = told
    page = (folder / "report.html").read_text("utf-8")
    heads = re.findall(r"<h2[^>]*>([^<]+)</h2>(.{20})", page, flags=re.DOTALL)
    assert "How it scales" not in [head for head, _ in heads]
    assert [head for head, _ in heads][:2] == ["What came out", "Results beside the published"]
    assert "Label scheme" in page or "label scheme" in page
    assert not (folder / "tables" / "fits.csv").exists()


def test_the_training_command_names_every_axis(files: Mapping[str, bytes]) -> None:
    first, second = json.loads(files["report.json"])["commands"]
    assert first.startswith("python -m src.train -m model=femto,pico,nano max_len=96,192,384 lora.r=8")
    assert first.endswith("seed=0,1 data.dir=COHORT data.limit=600")
    assert second.startswith("python -m src.train model=tfidf")


def test_an_interrupted_write_leaves_the_report_that_was_there(
    grid: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = compose("grid", grid[:2], analyse(Source(tuple(grid[:2]))))
    folder = tmp_path / "report"
    write_report(report, folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    real = Path.write_bytes

    def breaks(self: Path, data: bytes) -> int:
        if self.name == "report.html":
            raise KeyboardInterrupt
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", breaks)
    for place in (folder, tmp_path / "new"):
        with pytest.raises(KeyboardInterrupt):
            write_report(report, place)
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_folder_with_something_else_in_it_is_not_replaced(grid: list[Run], tmp_path: Path) -> None:
    report = compose("grid", grid[:2], analyse(Source(tuple(grid[:2]))))
    write_report(report, tmp_path / "report")
    write_report(report, tmp_path / "report")
    (tmp_path / "report" / "mine.txt").write_text("", "utf-8")
    with pytest.raises(UserError, match="to=DIR"):
        write_report(report, tmp_path / "report")
    assert (tmp_path / "report" / "mine.txt").is_file()


def test_a_source_that_is_none_is_named(
    tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    for source in (str(tmp_path), "no-such-sweep"):
        told = command("src.report", source, f"out={tmp_path}", ok=False)
        assert told.returncode == 2
        assert source in told.stderr
        assert "Traceback" not in told.stderr
    assert list(tmp_path.iterdir()) == []


def evaluated(run_dir: Path, **tables: list[dict[str, Any]]) -> Path:
    """A run's folder with an evaluation that holds these tables."""
    (run_dir / FOLDER).mkdir(parents=True)
    (run_dir / FOLDER / NUMBERS).write_text(json.dumps({"version": 1, "notes": 40, "tables": tables}), "utf-8")
    return run_dir


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "no JSON at byte 1"),
        ('{"version": 1, "notes": 4, "tables": {"by_mdc": [{"mdc": 1}]}}', "tables.by_mdc is not of the kind list"),
        ('{"version": 2, "notes": 4, "tables": {}}', "version 2, and this code reads version 1"),
    ],
)
def test_a_damaged_evaluation_is_named(content: str, reason: str, runs: Mapping[str, Path], tmp_path: Path) -> None:
    folder = evaluated(tmp_path / "single")
    (folder / FOLDER / NUMBERS).write_text(content, "utf-8")
    run = Run("single", read_record(runs["single"]), {}, folder)
    with pytest.raises(UserError, match=r"evaluation\.json: damaged") as refusal:
        compose("x", [run], analyse(Source((run,))))
    assert reason in str(refusal.value)
    assert f"python -m src.evaluate run={folder}" in str(refusal.value)


NO_GROUP = {"patients": None, "notes": None, "top1": None, "top1_low": None, "top1_high": None, "top5": None}
GROUP = {**NO_GROUP, "patients": 20, "notes": 20, "top1": 0.5, "top5": 1.0}
GAP = {"gap": None, "gap_low": None, "gap_high": None, "p_holm": None}
NOT_DECIDED = dict.fromkeys(
    ("threshold", *(f"{name}{end}" for name in ("coverage", "accuracy") for end in ("", "_low", "_high")))
)

NOTHING_MEASURED = {
    "p_holm": None,
    **dict.fromkeys(f"{name}{end}" for name in ("value", "difference") for end in ("", "_low", "_high")),
}


@pytest.mark.parametrize(
    "tables",
    [
        {},
        {"by_mdc": [], "slices": [], "confusions": [], "selective": []},
        {"by_mdc": [{"mdc": "01", **NO_GROUP}], "slices": [{"attribute": "sex", "group": "F", **NO_GROUP, **GAP}]},
        {"by_training_notes": [{"training_notes": name, **GROUP, "drgs": 2, "macro_f1": None} for name in "01"]},
        {"slices": [{"attribute": "sex", "group": name, **GROUP, **GAP} for name in "FM"]},
        {"selective": [{"aim": 0.9, **NOT_DECIDED}]},
        {"adjustment": [{"point": "as trained", "tau": 0.0, "metric": "macro_f1", **NOTHING_MEASURED}]},
    ],
    ids=["nothing", "empty", "hidden groups", "no interval", "no gap", "nothing decided", "nothing measured"],
)
def test_an_evaluation_of_which_little_is_known_makes_a_report(
    tables: dict[str, list[dict[str, Any]]], grid: list[Run], tmp_path: Path
) -> None:
    run = Run(grid[0].name, grid[0].record, {}, evaluated(tmp_path / "run", **tables))
    report = compose("x", [run], analyse(Source((run,))))
    written = rendered(report)
    assert report.errors is not None
    shown = [
        name
        for name, rows in tables.items()
        if rows and (rows[0].get("patients") or name in ("selective", "adjustment"))
    ]
    assert [table.name for table in report.errors.tables] == [f"errors_{name}" for name in shown]
    assert b"What it gets wrong" in written["report.html"]


def test_an_evaluation_by_an_earlier_version_is_named_with_what_to_do(
    told: tuple[Path, str], tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    source = tmp_path / "runs"
    shutil.copytree(told[0].parent, source, ignore=shutil.ignore_patterns("report"))
    (source / "two" / FOLDER / NUMBERS).unlink()
    done = command("src.report", str(source))
    asked = f"python -m src.evaluate run={source / 'two'} writes what is needed."
    assert f"two was evaluated by an earlier version, of which no errors can be shown; {asked}\n" in done.stderr
    assert asked in (source / "report" / "report.html").read_text("utf-8")
    assert not list((source / "report" / "tables").glob("errors_*"))


def test_pictures_of_two_cohorts_show_the_one_with_more_cells_alone() -> None:
    shorter = grid_of(Truth(), lengths=(96, 192), seeds=2, cohort="another cohort")
    scaling = analyse(Source((*grid_of(Truth(), seeds=2), *shorter)))
    assert {step.ground for step in scaling.differences} == {0, 1}
    assert {step.ground for step in drawn_differences(scaling, "test/accuracy")} == {main_ground(scaling)}


def test_tables_of_two_cohorts_say_of_each_row_whose_it_is_and_those_of_one_do_not() -> None:
    first, second = (grid_of(Truth(), seeds=2, cohort=cohort) for cohort in ("5f2c0b1a9d7e", "e01d77a4c3b2"))
    both, alone = analyse(Source((*first, *second))), analyse(Source(tuple(first)))
    for lay_out in (differences_table, fits_table, predictions_table, held_out_table):
        table, one = lay_out(both), lay_out(alone)
        assert Counter(row[0] for row in table.rows) == dict.fromkeys(("5f2c0b1a", "e01d77a4"), len(one.rows))
        assert [column.head for column in table.columns] == ["cohort", *(column.head for column in one.columns)]
    for name in ("differences", "fits", "predictions", "held_out"):
        assert {row["cohort"] for row in tables(both)[name]} == {"5f2c0b1a9d7e", "e01d77a4c3b2"}
        assert all("cohort" not in row for row in tables(alone)[name])
    text = as_text(both, ["test/accuracy"])
    assert "cohort=5f2c0b1a9d7e" in text
    assert "cohort=e01d77a4c3b2" in text


def test_a_report_fits_a_thousand_curves_by_drawing_a_few(grid: list[Run]) -> None:
    drawn = compose("grid", grid, analyse(Source(tuple(grid)))).drawings
    (loss,) = [each for each in drawn if each.name == "learning_training_loss"]
    assert len(loss.figure.axes[0].lines) == 8
    assert "The 8 cells of 9" in loss.caption


def test_runs_of_which_only_wandbs_part_is_known_make_a_report_too(grid: list[Run]) -> None:
    known = ("axes", "cohort", "counts", "metrics", "intervals", "tokens_seen", "seconds")
    runs = tuple(Run(run.name, RunRecord.of({name: getattr(run.record, name) for name in known})) for run in grid)
    report = compose("wandb:entity/project", runs, analyse(Source(runs)))
    assert "device-hours" in " ".join(report.said)
    assert report.commands[0].words.endswith("data.dir=COHORT")
    assert not [drawing for drawing in report.drawings if drawing.name.startswith("learning")]


def test_what_is_left_out_cannot_be_told_by_subtraction() -> None:
    names, patients, notes = ["01", "02", "03", "04"], [30, 20, 12, None], [31, 21, 13, None]
    groups = [
        dict(zip(("mdc", "patients", "notes"), row, strict=True)) for row in zip(names, patients, notes, strict=True)
    ]
    assert [row["mdc"] for row in known_groups(groups, notes=68)] == ["01", "02"]
    assert [row["mdc"] for row in known_groups(groups, notes=65)] == ["01", "02", "03"]
