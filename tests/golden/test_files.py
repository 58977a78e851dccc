"""The forms of the files that commands leave on users' disks: `files.json` keeps them.

For each command: the files by name, their keys, columns and tensors, and the types. A form that is changed on purpose
needs a version number in the file and a reader of the old form; then `DRG_LLAMA_GOLDEN=write pytest
tests/golden/test_files.py` keeps the new one, and its diff shows what users will meet.
"""

import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.golden.described import described, differences
from tests.golden.doors import call

KEPT = Path(__file__).parent / "files.json"
LATER = ("evaluation", "report", "scaling", "audit.json", "prefixes*", "comparison*")
"""What commands of other tests may have left in a run's folder."""

BASE = ["vocab_size=300", "hidden_size=16", "intermediate_size=32", "layers=1", "heads=2", "context=64", "epochs=1"]


@pytest.fixture(scope="module")
def study(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished LLaMA runs as `train` left them."""
    folder = tmp_path_factory.mktemp("study") / "runs"
    for scheme in ("single", "two"):
        shutil.copytree(runs[scheme], folder / scheme, symlinks=True, ignore=shutil.ignore_patterns(*LATER))
    return folder


def changes(command: str, folder: Path) -> str:
    """How the form of a folder differs from the one that is kept for a command; keeps it where that is asked."""
    kept, now = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {}, described(folder)
    assert now, f"{folder}: holds nothing"
    if os.environ.get("DRG_LLAMA_GOLDEN") == "write":
        KEPT.write_text(json.dumps({**kept, command: now}, indent=1, sort_keys=True) + "\n", "utf-8")
        return ""
    lines = differences(kept[command], now)
    advice = "the files have another form; a deliberate change needs a version number and a reader of the old form"
    return "\n".join([f"{command}: {advice}:", *lines]) if lines else ""


def test_a_cohort_of_mimic_files_keeps_its_form(cohort: Path, tmp_path: Path) -> None:
    shutil.copytree(cohort, tmp_path / "cohort", ignore=shutil.ignore_patterns("report.*", "tokens"))
    assert not changes("prepare", tmp_path / "cohort")


def test_a_cohort_of_a_file_of_one_s_own_keeps_its_form(few_notes: Path, tmp_path: Path) -> None:
    shutil.copytree(few_notes, tmp_path / "cohort", ignore=shutil.ignore_patterns("tokens"))
    assert not changes("prepare data=csv", tmp_path / "cohort")


@pytest.mark.parametrize("scheme", ["single", "two"])
def test_a_run_keeps_its_form(scheme: str, study: Path) -> None:
    assert not changes(f"train labels={scheme}", study / scheme)


def test_a_run_that_is_stopped_in_mid_epoch_keeps_the_form_of_its_checkpoint(cohort: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"

    def stop_after_a_checkpoint() -> None:
        while threading.main_thread().is_alive() and not (run / "checkpoints" / "before.safetensors").exists():
            time.sleep(0.002)
        os.kill(os.getpid(), signal.SIGTERM)

    words = ["model=femto", "labels=two", "max_len=32", "batch_size=1", "checkpoint_minutes=0", "wandb.mode=disabled"]
    threading.Thread(target=stop_after_a_checkpoint, daemon=True).start()
    with pytest.raises(SystemExit, match=str(128 + signal.SIGTERM)):
        call("train", f"data.dir={cohort}", f"out={tmp_path}", "name=run", "threads=1", "device=cpu", *words)
    (run / "history.jsonl").unlink(missing_ok=True)
    assert not changes("train, stopped", run)


def test_a_sweep_of_baselines_by_processes_keeps_its_form_and_its_folder(few_notes: Path, tmp_path: Path) -> None:
    words = ["-m", "model=majority", "hydra/launcher=processes", "threads=1", "device=cpu"]
    call("train", *words, f"data.dir={few_notes}", f"out={tmp_path / 'runs'}")
    identities = json.loads((KEPT.parent / "identities.json").read_text("utf-8"))
    (folder,) = (path.parent.name for path in (tmp_path / "runs").glob("*/result.json"))
    assert folder == Path(identities["model=majority"]["folder"]).name
    assert not changes("train -m model=majority", tmp_path / "runs")


def test_an_evaluation_keeps_its_form(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study / "two", tmp_path / "two", symlinks=True)
    call("evaluate", f"run={tmp_path / 'two'}", "prefixes=[32]", "device=cpu")
    before = {str(path.relative_to(study / "two")) for path in (study / "two").rglob("*") if path.is_file()}
    for name in before:
        (tmp_path / "two" / name).unlink()
    assert not changes("evaluate", tmp_path / "two")


def test_a_comparison_keeps_its_form(study: Path, tmp_path: Path) -> None:
    call("compare", str(study / "single"), str(study / "two"), f"out={tmp_path / 'out'}")
    assert not changes("compare", tmp_path / "out")


def test_an_exported_run_keeps_its_form(study: Path, tmp_path: Path) -> None:
    call("export", f"run={study / 'two'}", f"out={tmp_path / 'out'}", "notes=4", "device=cpu")
    assert not changes("export", tmp_path / "out")


@pytest.mark.parametrize("kind", ["report", "scaling"])
def test_what_is_said_of_runs_keeps_its_form(kind: str, study: Path, tmp_path: Path) -> None:
    call(kind, str(study), f"to={tmp_path / 'out'}")
    assert not changes(kind, tmp_path / "out")


def test_the_report_on_a_cohort_keeps_its_form(few_notes: Path, tmp_path: Path) -> None:
    call("report", f"data.dir={few_notes}", "model=femto", f"to={tmp_path / 'out'}")
    assert not changes("report data.dir=COHORT", tmp_path / "out")


def test_the_table_of_a_sweep_keeps_its_columns(study: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    call("status", str(study), f"csv={tmp_path / 'out' / 'status.csv'}")
    assert not changes("status", tmp_path / "out")


def test_a_pretrained_base_keeps_its_form(few_notes: Path, tmp_path: Path) -> None:
    call("pretrain", f"data.dir={few_notes}", f"out={tmp_path / 'base'}", "shortest=32", "device=cpu", *BASE)
    assert not changes("pretrain", tmp_path / "base")
