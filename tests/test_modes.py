"""What one small hospital leaves on a disk is readable by its owner alone, also where folders were there before."""

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import SHORT
from tests.forked import Forks


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def open_to_others(folder: Path, bits: int) -> list[str]:
    paths = [folder, *folder.rglob("*")]
    return [str(path) for path in paths if not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) & bits]


def test_every_file_of_a_cohort_and_a_run_is_private(
    hospital: Path, tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    cohort, out = tmp_path / "cohort", tmp_path / "runs"
    run = out / "mine"
    for folder in (cohort, run, run / "evaluation", run / "checkpoints", run / "wandb", tmp_path / "export"):
        folder.mkdir(parents=True, mode=0o755)
    (run / "log.txt").write_text("of an earlier version")
    (run / "evaluation" / "notes.csv").write_text("of an earlier version")
    command("src.prepare", f"data.dir={hospital}", f"data.out={cohort}")
    tokens = cohort / "tokens"
    tokens.mkdir(mode=0o755)
    command("src.train", f"data.dir={cohort}", f"out={out}", "name=mine", "wandb.mode=offline", *SHORT)
    command("src.evaluate", f"run={run}", "device=cpu", "prefixes=[16]")
    command("src.export", f"run={run}", f"out={tmp_path / 'export'}", "device=cpu")
    words = [f"data.dir={cohort}", f"out={out}", "model=tfidf", "data.limit=48", "wandb.mode=offline", "seed=1,2"]
    command("src.train", "-m", *words)
    command("src.report", str(out), f"data_dir={cohort}")
    command("src.report", f"data.dir={cohort}", f"to={tmp_path / 'page'}")
    command("src.audit", str(run))
    for folder in (cohort, run, tmp_path / "export", tmp_path / "page", *(path for path in out.iterdir())):
        assert not open_to_others(folder, 0o077), folder
    assert list((run / "wandb").rglob("*.wandb"))
    assert len(list(out.glob("*/log.txt"))) == 3
    names = {path.name for path in tmp_path.rglob("*")}
    assert {"notes.parquet", "ids.npy", "notes.csv", "last.safetensors", "history.jsonl", "prefixes.csv"} <= names
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path, out)} <= {0o700, 0o755}


def test_modes_are_the_groups_where_it_was_chosen(hospital: Path, tmp_path: Path, forks: Forks) -> None:
    words = ["src.prepare", f"data.dir={hospital}", f"data.out={tmp_path / 'cohort'}"]
    assert forks.run(words, env={**os.environ, "DRG_LLAMA_ACCESS": "group"}).returncode == 0
    assert not open_to_others(tmp_path / "cohort", 0o027)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "cohort").iterdir()}
    assert modes.pop("split.key") == 0o600  # whoever has it finds whose ids a published split holds
    assert set(modes.values()) == {0o640}


BESIDE = (
    "import subprocess, sys, wandb\n"
    "run = wandb.init(mode='offline', dir=sys.argv[1])\n"  # tells its children of its own service
    "subprocess.run([sys.executable, '-m', 'src.train', *sys.argv[2:]], check=True)\n"
    "run.finish()\n"
)


def test_what_the_service_of_anothers_wandb_writes_for_a_run_is_private(
    cohort: Path, tmp_path: Path, forks: Forks
) -> None:
    words = [f"data.dir={cohort}", f"out={tmp_path}", "name=mine", "model=tfidf", "data.limit=48", "wandb.mode=offline"]
    assert forks.run(["-c", BESIDE, str(tmp_path), *words]).returncode == 0
    assert list((tmp_path / "mine").rglob("*.wandb"))
    assert not open_to_others(tmp_path / "mine", 0o077)
