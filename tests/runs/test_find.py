import json
from pathlib import Path

import pytest

from src.cli.errors import UserError
from src.runs.find import find_runs, read_sweep, run_folders
from src.runs.folder import RunFolder
from src.runs.state import RunStatus


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Two jobs of the sweep `mine`, of which one failed, a folder that is no run, and a hidden one."""
    for name in ("b", "a", "notes", ".hidden"):
        (tmp_path / name).mkdir()
    RunFolder(tmp_path / "a").state.write_text(json.dumps({"state": "failed"}))
    RunFolder(tmp_path / "b").job.write_text(json.dumps({"config": {}, "words": ["seed=1"]}))
    RunFolder(tmp_path / ".hidden").job.write_text("{}")
    (tmp_path / ".sweeps").mkdir()
    cells = [{"name": "b", "words": ["seed=1"]}, {"name": "never", "words": ["seed=2"]}]
    (tmp_path / ".sweeps" / "mine.json").write_text(json.dumps({"cells": cells}))
    return tmp_path


def test_a_folder_lists_its_runs_by_name(out: Path) -> None:
    listed = find_runs(str(out), Path("elsewhere"))
    standings = [(run.folder.name, run.status.standing) for run in listed]
    assert standings == [("a", RunStatus.FAILED), ("b", RunStatus.WAITING)]


def test_the_folder_of_a_run_is_that_run(out: Path) -> None:
    assert [run.folder for run in find_runs(str(out / "a"), out)] == [out / "a"]


def test_a_sweep_lists_what_it_asked_for_in_its_order(out: Path) -> None:
    assert [(run.folder, run.words) for run in find_runs("mine", out)] == [
        (out / "b", "seed=1"),
        (out / "never", "seed=2"),
    ]


def test_an_unknown_sweep_is_refused_with_those_that_there_are(out: Path) -> None:
    with pytest.raises(UserError, match=f"yours: no sweep of that name was started with out={out}; there are mine"):
        read_sweep(out, "yours")


def test_a_job_that_slurm_was_asked_for_is_queued_in_a_folder_and_by_its_own(out: Path) -> None:
    (out / ".slurm").mkdir()
    batch = {"cells": [str(out / "b")], "job": "77", "over": [], "written": 0.0}
    (out / ".slurm" / "x.json").write_text(json.dumps(batch))
    for source in (str(out), str(out / "b"), "mine"):
        (run,) = [run for run in find_runs(source, out) if run.folder.name == "b"]
        assert (run.job, run.status.standing) == ("77_0", RunStatus.QUEUED)


def test_another_mark_of_a_run_lists_other_folders(out: Path) -> None:
    assert run_folders(out, lambda path: path.name == "notes") == [out / "notes"]
    assert run_folders(out / "nowhere") == []
