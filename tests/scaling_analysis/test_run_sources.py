import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from src.cli.compose import to_schema
from src.cli.errors import UserError
from src.scaling import ScalingConfig, folder_of
from src.scaling_analysis.analysis import analyse
from src.scaling_analysis.result_tables import as_json, tables
from src.scaling_analysis.run_sources import read_source
from src.testing.made_up_runs import Truth, grid_of, write_runs
from src.testing.wandb_here import WandbHere
from tests.forked import Forks

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grid of two sizes, two lengths and two seeds; one run has a metric that is not defined."""
    out = tmp_path_factory.mktemp("grid") / "runs"
    runs = grid_of(Truth(), models=("pico", "nano"), lengths=(96, 192), seeds=2)
    runs[0].record.metrics["test/top5"] = float("nan")
    for run in runs:  # W&B has one history of 300 rows a run to read in each test
        run.curves["train/loss"] = dict(list(run.curves["train/loss"].items())[-20:])
    write_runs(out, runs)
    return out


def copied(forks: Forks, folder: Path, out: Path, mode: str, env: dict[str, str]) -> None:
    assert forks.run(["tests.scaling_analysis.copied", str(folder), str(out), mode], env=env).returncode == 0


@pytest.fixture
def logged_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbHere]:
    with WandbHere() as server:
        for name in list(os.environ):
            if name.startswith("WANDB_") or "proxy" in name.lower():
                monkeypatch.delenv(name)
        for name, value in server.env().items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.mark.slow
def test_records_and_a_project_give_the_same_table(
    folder: Path, tmp_path: Path, logged_in: WandbHere, forks: Forks
) -> None:
    records = tmp_path / "records"
    for run in folder.glob("pico-*"):
        shutil.copytree(run, records / run.name)
    copied(forks, records, tmp_path / "online", "online", dict(os.environ))
    names = (
        str(records),
        "wandb:researcher/drg",
        "wandb:researcher/drg/grid",
    )
    sources = [read_source(name) for name in names]
    told = [analyse(source) for source in sources]
    assert len(sources[0].runs) == 4
    for source, found in zip(sources, told, strict=True):
        assert [run.curves for run in source.runs] == [run.curves for run in sources[0].runs]
        assert tables(found) == tables(told[0])
    assert not logged_in.unknown


@pytest.mark.slow
def test_a_project_without_such_runs_is_one_clear_error(logged_in: WandbHere) -> None:
    with pytest.raises(UserError, match="wandb:researcher/none: cannot be read"):
        read_source("wandb:researcher/none")


def test_a_project_is_named_with_its_entity() -> None:
    with pytest.raises(UserError, match="write wandb:ENTITY/PROJECT"):
        read_source("wandb:drg")


def test_a_run_without_a_record_is_missing_with_its_standing(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    shutil.copytree(folder, out)
    name = sorted(path.name for path in out.iterdir())[0]
    (out / name / "result.json").unlink()
    (out / name / "cell.json").write_text(json.dumps({"words": ["model=nano", "max_len=192", "seed=0"]}))
    (out / name / ".result.json.0a1b2c3d").write_text('{"axes": {"mod')  # a record that is being written
    source = read_source(str(out))
    assert len(source.runs) == 7
    assert [(each.name, each.standing) for each in source.unfinished] == [(name, "waiting")]
    assert [each.words for each in analyse(source).missing] == ["model=nano max_len=192 seed=0"]


def test_a_sweep_names_what_it_asked_for_and_has_not_got(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    shutil.copytree(folder, out)
    cells = [{"name": path.name, "words": [path.name[:4]]} for path in sorted(out.iterdir())][:3]
    cells.append({"name": "never", "words": ["model=femto", "seed=7"]})
    (out / ".sweeps").mkdir()
    (out / ".sweeps" / "mine.json").write_text(json.dumps({"name": "mine", "cells": cells}))
    source = read_source("mine", out)
    assert len(source.runs) == 3
    found = analyse(source)
    assert [(each.words, each.standing) for each in found.missing] == [("model=femto seed=7", "waiting")]


def test_a_damaged_record_is_left_out_and_listed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs"
    shutil.copytree(folder, out)
    first = sorted(out.iterdir())[0]
    (first / "result.json").write_text('{"axes": ')
    before = sorted(out.rglob("*"))
    source = read_source(str(out))
    assert [run.name for run in source.runs] == [path.name for path in sorted(out.iterdir())[1:]]
    assert [(run.name, run.standing) for run in source.unfinished] == [(first.name, "damaged")]
    assert f"{first}/result.json: damaged (no JSON at byte 9); left out" in capsys.readouterr().err
    assert "damaged" in {run.standing for run in analyse(source).missing}
    assert sorted(out.rglob("*")) == before
    for path in out.iterdir():
        (path / "result.json").write_text("[")
    with pytest.raises(UserError, match=f"holds no finished run\n  {first.name}: damaged"):
        read_source(str(out))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no finished run"):
        read_source(str(tmp_path))


def test_the_analysis_goes_beside_its_source(folder: Path) -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        values = OmegaConf.to_container(compose("scaling"))
    assert isinstance(values, dict)
    cfg = to_schema(ScalingConfig, {name: value for name, value in values.items() if name != "hydra"})
    told = {name: folder_of(replace(cfg, source=name)) for name in (str(folder), "mine", "wandb:a/b/mine")}
    assert list(told.values()) == [folder / "scaling", Path("runs/scalings/mine"), Path("runs/scalings/mine")]


def test_the_command_prints_and_writes_the_analysis(
    folder: Path, tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = command("src.scaling", str(folder), f"to={tmp_path / 'out'}")
    assert "8 runs in 4 cells" in done.stdout
    told = json.loads((tmp_path / "out" / "scaling.json").read_text())
    assert told == json.loads(json.dumps(as_json(analyse(read_source(str(folder))))))


def test_what_w_and_b_wrote_offline_is_no_source_and_is_named(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for run in runs.values():
        shutil.copytree(run / "wandb", tmp_path / run.name / "wandb", symlinks=True)
    with pytest.raises(UserError, match=r"holds what W&B wrote, and no result.json; name the folder in which the runs"):
        read_source(str(tmp_path))
    (tmp_path / "single" / "result.json").write_bytes((runs["single"] / "result.json").read_bytes())
    assert [run.name for run in read_source(str(tmp_path)).runs] == ["single"]
    assert f"{tmp_path / 'two'}: holds what W&B wrote, and no result.json; left out" in capsys.readouterr().err


def test_the_folder_of_a_run_is_a_source(folder: Path) -> None:
    run = sorted(folder.iterdir())[0]
    source = read_source(str(run))
    assert [run.name for run in source.runs] == [run.name]
    assert not source.unfinished
