"""Runs at horizons of one cohort: how they are asked for and named, found again, and compared."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from src.cli.compose import compose, compose_points, read_command_line
from src.cli.errors import UserError
from src.cli.signals import Stop
from src.cohort.prepared import read_cohort
from src.config.dialect import Dialect
from src.config.train import TrainConfig
from src.display.figure_style import settings
from src.evaluation.reopen import config_of
from src.inference.encounters import find_notes, open_encounters
from src.inference.model import open_models
from src.reporting.horizon_section import horizon_drawings, horizon_sentences, horizon_tables
from src.reporting.reproduce import training_commands
from src.reporting.series import name_of
from src.runs.finished import Run, read_run
from src.runs.job import read_job
from src.runs.record import read_cohort_of, read_record
from src.scaling_analysis.analysis import analyse
from src.scaling_analysis.horizons import ACCURACY, Horizons, compare_horizons, early_enough
from src.scaling_analysis.result import Scaling
from src.scaling_analysis.run_sources import Source
from src.tracking.guard import LeakError, guarded_config, public_name

HORIZONS = ("triage", "24h", "discharge")


@pytest.fixture(scope="module")
def early(once: Callable[..., Path], hospital: Path, command: Callable[..., object]) -> Path:
    """The hospital's cohort at two horizons, and runs at them beside it."""

    def make(out: Path) -> None:
        command("src.prepare", f"data.dir={hospital}", f"data.out={out / 'cohort'}", "horizon=[triage,24h]")
        words = ["model=tfidf,structured", f"horizon={','.join(HORIZONS)}", "epochs=2", "threads=1"]
        command("src.train", "-m", *words, f"data.dir={out / 'cohort'}", f"out={out / 'runs'}", "wandb.mode=disabled")

    return once("early", make)


def at(early: Path, model: str, horizon: str) -> Path:
    middle = "" if horizon == "discharge" else f"{horizon}-"
    (run,) = (early / "runs").glob(f"{model}-len512-r8-single-{middle}s0-c*")
    return run


def compared(folders: list[Path]) -> tuple[list[Run], Scaling, Horizons | None]:
    runs = [read_run(folder) for folder in folders]
    scaling = analyse(Source(tuple(runs)))
    return runs, scaling, compare_horizons(runs, scaling)


def asked(*words: str) -> TrainConfig:
    (cfg,) = compose(TrainConfig, read_command_line(list(words), "train"))
    return cfg


def test_a_horizon_is_in_names_records_and_what_w_and_b_may_have_but_for_discharge(early: Path) -> None:
    for horizon in HORIZONS:
        run = at(early, "tfidf", horizon)
        record = read_record(run)
        assert record.axes.get("horizon", "discharge") == record.config["horizon"] == horizon
        folder = early / "cohort" if horizon == "discharge" else early / "cohort" / "horizons" / horizon
        assert record.cohort == read_cohort(folder).fingerprint
        assert record.config["data"]["dir"] == str(early / "cohort")
        assert read_job(run)["cohort"] == record.cohort
        assert public_name(run.name) == run.name
        assert guarded_config({"horizon": horizon}) == {"horizon": horizon}
    assert "horizon" not in read_record(at(early, "tfidf", "discharge")).axes
    with pytest.raises(LeakError, match="horizon: its value"):
        guarded_config({"horizon": "Smith"})


def test_the_folder_of_the_horizon_is_found_below_the_cohort_or_is_named_itself(early: Path) -> None:
    below = early / "cohort" / "horizons" / "24h"
    for folder in (early / "cohort", below):
        assert asked(f"data.dir={folder}", "model=tfidf", "horizon=24h").cohort_dir == below
    assert asked(f"data.dir={below}", "model=tfidf").cohort_dir == below
    assert asked(f"data.dir={early / 'cohort'}", "model=tfidf").cohort_dir == early / "cohort"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("horizon=48h", "was prepared for triage, 24h; prepare it with python -m src.prepare data.dir=MIMIC "
                        "data.out=NEW horizon=[triage,24h,48h]"),
        ("horizon=0h", "horizon=0h: must be triage, ed, admission, discharge, or hours from 1h to 720h"),
        ("horizon=24h model=codes_upper_bound", "reads codes assigned after discharge; leave it out"),
    ],
)  # fmt: skip
def test_a_horizon_that_cannot_be_says_what_to_do(words: str, message: str, early: Path) -> None:
    with pytest.raises(UserError) as error:
        asked(f"data.dir={early / 'cohort'}", *words.split())
    assert message in str(error.value)


def test_a_sweep_leaves_codes_out_before_discharge_and_a_search_has_one_horizon(early: Path) -> None:
    words = [f"data.dir={early / 'cohort'}", "-m", "model=tfidf,codes_upper_bound", "horizon=24h,discharge"]
    composed = compose_points(TrainConfig, read_command_line(words, "train"))
    assert len(composed.points) == 3
    assert "model=codes_upper_bound horizon=24h: left out" in composed.dropped[0]
    words = [f"data.dir={early / 'cohort'}", "-m", "hydra/sweeper=search", "seed=0,1", "horizon=24h,discharge"]
    with pytest.raises(UserError, match="horizon=24h,discharge: names other notes"):
        compose_points(TrainConfig, read_command_line(words, "train"))


def test_a_run_finds_the_horizon_of_a_cohort_that_was_moved(early: Path, tmp_path: Path) -> None:
    run = at(early, "structured", "24h")
    record = read_record(run)
    moved = shutil.copytree(early / "cohort", tmp_path / "moved")
    for folder in (moved, moved / "horizons" / "24h"):
        assert read_cohort_of(record, run, folder).folder == moved / "horizons" / "24h"
        assert config_of(record, "cpu", str(folder), run).cohort_dir == moved / "horizons" / "24h"
    with pytest.raises(UserError, match="triage: not the cohort of horizon=24h that"):
        read_cohort_of(record, run, moved / "horizons" / "triage")


def test_a_run_at_a_horizon_predicts_notes_as_they_stand_from_facts_of_then(
    early: Path, hospital: Path, tmp_path: Path
) -> None:
    models = open_models([at(early, "structured", "24h")], "cpu")
    held = pl.read_parquet(early / "cohort" / "horizons" / "24h" / "admissions.parquet")
    rows = pl.read_parquet(early / "cohort" / "horizons" / "24h" / "notes.parquet").head(40)
    path = tmp_path / "notes.csv"
    rows.select(id="hadm_id", text="text").write_csv(path)
    source = find_notes(path, "text", "id", Dialect(key=""))
    with open_encounters(source, models.first.kept, hospital / "hosp", tmp_path / "out.csv", Stop()) as encounters:
        read = encounters.piece(0, 40)
    assert [text.split() for text in read["text"]] == [text.split() for text in rows["text"]]
    facts = rows.select("hadm_id").join(held, "hadm_id", how="left", maintain_order="left").drop("hadm_id")
    assert read.select(facts.columns).equals(facts)


def test_each_horizon_is_compared_with_discharge_on_the_admissions_of_all(early: Path) -> None:
    folders = [at(early, model, horizon) for model in ("tfidf", "structured") for horizon in HORIZONS]
    _, scaling, horizons = compared(folders)
    assert horizons is not None
    assert [[cell.horizon for cell in line] for line in horizons.lines] == [list(HORIZONS)] * 2
    scored = {run.name: pl.read_parquet(run / "predictions.parquet") for run in folders}
    common = set.intersection(*(set(rows["hadm_id"]) for rows in scored.values()))
    assert horizons.admissions == len(common) > 30
    for line in horizons.lines:
        right = []
        for cell in line:
            (name,) = scaling.cells[cell.cell].runs
            rows = scored[name].filter(pl.col("hadm_id").is_in(list(common)))
            metadata = pl.read_parquet_metadata(early / "runs" / name / "predictions.parquet")
            codes = np.array(json.loads(metadata["scores"]))
            right.append(float((codes[rows["scores"].to_numpy().argmax(1)] == rows["drg"].to_numpy()).mean()))
            assert cell.common[ACCURACY] == pytest.approx(right[-1])
            whole = scored[at(early, "tfidf", "discharge").name]
            assert cell.reached == pytest.approx(scored[name].height / whole.height)
        for cell, own in zip(line[:-1], right[:-1], strict=True):
            apart = cell.differences[ACCURACY]
            assert apart.value == pytest.approx(own - right[-1])
            assert apart.low <= apart.value <= apart.high
        assert not line[-1].differences
        enough = [cell.horizon for cell, own in zip(line, right, strict=True) if own >= 0.8 * right[-1]]
        assert early_enough(line) == enough[0]


def test_the_report_shows_horizons_in_tables_pictures_names_and_commands(early: Path) -> None:
    folders = [at(early, "tfidf", horizon) for horizon in HORIZONS]
    runs, scaling, horizons = compared(folders)
    assert horizons is not None
    reached, beside = horizon_tables(scaling, horizons)
    assert [row[2] for row in reached.rows] == [row[2] for row in beside.rows] == list(HORIZONS)
    assert [name_of(scaling, cell.cell) for cell in horizons.lines[0]] == ["tfidf triage", "tfidf 24h", "tfidf"]
    (sentence,) = horizon_sentences(scaling, horizons)
    assert sentence.startswith("Tfidf: 80 % of discharge's top-1 ")
    with settings():
        drawn = horizon_drawings(scaling, horizons)
    assert [figure.name for figure in drawn] == ["horizon_macro_f1", "horizon_accuracy"]
    (trained,) = training_commands(runs)
    assert "horizon=24h,discharge,triage" in trained.words


def test_of_cohorts_of_one_size_that_of_discharge_is_shown_first(early: Path) -> None:
    discharged = read_run(at(early, "tfidf", "discharge"))
    for name in ("0", "f"):
        record = replace(discharged.record, cohort=name, axes={**discharged.record.axes, "horizon": "admission"})
        grounds = analyse(Source((replace(discharged, record=record), discharged))).grounds
        assert [ground.cohort for ground in grounds] == [discharged.record.cohort, name]


def test_runs_of_one_horizon_have_no_such_section(early: Path) -> None:
    assert compared([at(early, model, "24h") for model in ("tfidf", "structured")])[2] is None


def test_runs_of_cohorts_of_different_origins_are_never_compared(early: Path, tmp_path: Path) -> None:
    folders = [shutil.copytree(at(early, "tfidf", horizon), tmp_path / horizon) for horizon in HORIZONS]
    kept = json.loads((tmp_path / "24h" / "cohort.json").read_text("utf-8"))
    assert kept["origin"] == read_record(tmp_path / "discharge").cohort
    (tmp_path / "24h" / "cohort.json").write_text(json.dumps({**kept, "origin": "0123456789abcdef"}))
    _, _, horizons = compared(folders)
    assert horizons is not None
    assert [[cell.horizon for cell in line] for line in horizons.lines] == [["triage", "discharge"]]
