"""The whole run: train, evaluate in a fresh process, kill and resume, and what is left behind."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.torch import load_file

from src.cohort.prepared import read_cohort
from src.cohort.split import Split
from src.models.labelspace import LabelSpace
from src.runs.folder import RunFolder
from src.runs.history import read_history
from tests.forked import Forks

ROOT = Path(__file__).parents[1]
SHORT = ["max_len=64", "epochs=1", "data.limit=48", "threads=1", "device=cpu"]
"""The words of the shared runs in conftest.py."""

NEW_MOUNTS = 0x20000
"""CLONE_NEWNS: what a process mounts is its own."""

METRICS = {
    "accuracy",
    "top5",
    "top10",
    "macro_f1",
    "micro_f1",
    "macro_auc",
    "micro_auc",
    "base_accuracy",
    "severity_accuracy",
}


@pytest.mark.parametrize("scheme", ["single", "two", "joint"])
def test_a_run_leaves_its_record(scheme: str, runs: dict[str, Path]) -> None:
    record = json.loads((runs[scheme] / "result.json").read_text())
    assert {"config", "counts", "metrics", "versions", "seconds", "tokens_seen"} <= set(record)
    wanted = METRICS | ({"rule_accuracy", "rule_macro_f1", "base_macro_auc"} if scheme != "single" else set())
    for split in ("test", "val"):
        assert {f"{split}/{name}" for name in wanted} <= set(record["metrics"])
    assert record["config"]["labels"] == scheme
    assert record["tokens_seen"] > 48 * 30
    assert all(value is None or 0 <= value <= 1 for value in record["metrics"].values())


@pytest.mark.parametrize("scheme", ["single", "two", "joint"])
def test_a_fresh_process_reproduces_the_numbers(
    scheme: str, runs: dict[str, Path], command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    told = command("src.evaluate", f"run={runs[scheme]}").stdout
    assert float(told.rsplit(": ", 1)[1]) <= 1e-6


def test_a_run_of_levels_by_another_loss_is_validated_by_cross_entropy_evaluated_and_exported(
    cohort: Path, tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    run, words = tmp_path / "levels", ["labels=levels", "loss=logit_adjusted", "severity_weight=0"]
    command("src.train", f"data.dir={cohort}", f"out={tmp_path}", "name=levels", *words, *SHORT)
    notes = pl.read_parquet(RunFolder(run).predictions(Split.VALIDATION))
    space = LabelSpace.from_labels(read_cohort(cohort).labels)
    drg = np.array([space.index[code] for code in notes["drg"]])
    scores, base_scores = (notes[name].to_numpy() for name in ("scores", "base_scores"))
    row = np.arange(len(drg))
    expected = -(scores[row, drg] + base_scores[row, space.base[drg]]).mean()
    (validation_loss,) = read_history(run)["val/loss"].values()
    assert validation_loss == pytest.approx(expected, rel=1e-4)
    assert float(command("src.evaluate", f"run={run}").stdout.rsplit(": ", 1)[1]) <= 1e-6
    command("src.export", f"run={run}", f"out={tmp_path / 'exported'}", "notes=4")
    names = json.loads((tmp_path / "exported" / "config.json").read_text())["id2label"]
    assert [names[str(index)] for index in (0, 1101, 1102, 1130)] == [
        "001 HEART TRANSPLANT OR IMPLANT OF HEART ASSIST SYSTEM WITH MCC",
        "severity NONE",
        "no MDC: procedure unrelated to the principal diagnosis, or no valid one",
        "surgical",
    ]


def test_an_evaluation_leaves_tables_and_pictures(
    runs: dict[str, Path], cohort: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    from src.evaluation.evaluation_report import ABOUT

    told = command("src.evaluate", f"run={runs['joint']}").stdout
    folder = RunFolder(runs["joint"]).evaluation
    assert f"report: {folder / 'report.md'}" in told
    assert "macro-F1  best macro-F1 of validation  tau" in told
    page = (folder / "report.md").read_text()
    for name, heading in ABOUT.items():
        assert f"## {heading}\n" in page
        assert pl.read_csv(folder / f"{name}.csv").height > 0
    for picture in ("reliability", "coverage", "slices", "by_training_notes", "adjustment"):
        assert (folder / f"{picture}.png").read_bytes().startswith(b"\x89PNG")
    recorded = json.loads((runs["joint"] / "result.json").read_text())["metrics"]
    metrics = dict(pl.read_csv(folder / "metrics.csv").select("metric", "value").iter_rows())
    assert metrics["rule_macro_f1"] == pytest.approx(recorded["test/rule_macro_f1"], abs=1e-6)
    written = page + "".join(path.read_text() for path in folder.glob("*.csv"))
    for text in pl.read_parquet(cohort / "notes.parquet")["text"]:
        assert " ".join(text.split()[:5]) not in written


def test_changed_weights_are_noticed(
    runs: dict[str, Path], tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    import shutil

    from safetensors.torch import save_file

    shutil.copytree(runs["single"], tmp_path / "run")
    head = tmp_path / "run" / "adapter" / "head.safetensors"
    save_file({"weight": load_file(head)["weight"].flip(0).contiguous()}, head)
    assert "the numbers differ" in command("src.evaluate", f"run={tmp_path / 'run'}", ok=False).stderr


def test_predictions_stand_beside_the_truth(runs: dict[str, Path], cohort: Path) -> None:
    table = pl.read_parquet(runs["two"] / "predictions.parquet")
    notes = pl.read_parquet(cohort / "notes.parquet").filter(pl.col("split") == "test")
    sample = read_cohort(cohort).notes(Split.TEST, 48)
    assert table["hadm_id"].to_list() == sample["hadm_id"].to_list()
    beside = table.join(notes, on="hadm_id", how="left", maintain_order="left")
    assert beside["drg"].to_list() == beside["drg_right"].to_list()
    assert table.height == 48
    joint = np.exp(table["scores"].to_numpy().astype(np.float64)).sum(1)
    assert np.allclose(joint, 1, atol=1e-4)


def test_only_adapters_and_head_are_kept(runs: dict[str, Path]) -> None:
    names = set(load_file(runs["single"] / "adapter" / "adapter_model.safetensors"))
    assert names
    assert all("lora_" in name for name in names)
    assert not list(runs["single"].glob("*.safetensors"))


def test_a_finished_run_is_not_trained_again(
    runs: dict[str, Path], cohort: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    before = (runs["single"] / "result.json").stat().st_mtime_ns
    told = command("src.train", f"data.dir={cohort}", f"out={runs['single'].parent}", "name=single", *SHORT)
    assert "finished already" in told.stdout
    assert (runs["single"] / "result.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_the_smoke_sweep_ends_with_a_table_of_four_runs(
    cohort: Path, tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    words = [
        "--config-dir",
        "sweeps",
        "--config-name",
        "smoke",
        f"data.dir={cohort}",
        f"out={tmp_path}",
        "data.limit=40",
    ]
    done = command("src.train", *words)
    assert "Failed to load" not in done.stderr, "bitsandbytes speaks when the fork server imports it"
    lines = done.stdout.strip().splitlines()[-5:]
    assert lines[0].startswith("run ")
    assert len({line.split()[0] for line in lines[1:]}) == 4
    assert len(list(tmp_path.glob("*/result.json"))) == 4
    assert len(list(tmp_path.glob("*/wandb/offline-run-*"))) == 4


def test_a_run_needs_no_network(cohort: Path, tmp_path: Path, forks: Forks) -> None:
    code = (
        "import socket, sys\n"
        "connect = socket.socket.connect\n"
        "def refused(self, address):\n"
        "    if self.family != socket.AF_UNIX and address[0] not in ('127.0.0.1', '::1', 'localhost'):\n"
        "        raise SystemExit(f'reached for the network: {address}')\n"
        "    return connect(self, address)\n"
        "socket.socket.connect = refused\n"
        f"sys.argv = ['train', *{[f'data.dir={cohort}', f'out={tmp_path}', 'name=alone', *SHORT]!r}]\n"
        "from src.train import main\n"
        "main()\n"
    )
    done = forks.run(["-c", code])
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "alone" / "result.json").is_file()


@pytest.mark.slow
def test_a_base_can_be_pretrained_and_then_tuned(
    cohort: Path, tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    shape = {"hidden_size": 32, "intermediate_size": 64, "layers": 2, "heads": 2, "vocab_size": 600}
    sizes = [f"{key}={value}" for key, value in shape.items()]
    command("src.pretrain", f"data.dir={cohort}", f"out={tmp_path / 'base'}", "epochs=1", *sizes)
    told = json.loads((tmp_path / "base" / "pretrain.json").read_text())
    assert told["result"]["perplexity"] < 600
    path = [f"model.path={tmp_path / 'base'}", *(f"model.{size}" for size in sizes), "model.kv_heads=2"]
    command("src.train", f"data.dir={cohort}", f"out={tmp_path}", "name=tuned", *SHORT, *path)
    assert (tmp_path / "tuned" / "result.json").is_file()


@pytest.mark.slow
def test_the_demo_shows_the_lines_to_beat_before_it_trains_and_ends_with_a_table_and_pictures(
    tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    out = tmp_path / "demo"
    words = [f"out={out}", "admissions=700", "limit=48", "train=['max_len=64','epochs=1']"]
    said = command("src.demo", *words).stdout
    before, after = said.split("labels=single", 1)
    for system in ("majority  ", "TF-IDF + linear  "):
        assert system in before
        assert system in after
    assert "LLaMA, single  " not in before
    table = (out / "table.txt").read_text()
    assert table in after
    for system in ("majority", "TF-IDF + linear", "LLaMA, single", "LLaMA, two"):
        assert f"\n{system}  " in table
    for scheme in ("single", "two"):
        assert f"\nLLaMA, {scheme} less TF-IDF + linear: " in table
    for picture in ("comparison.png", "by_frequency.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")
    for page in ("cohort/report.html", "report/report.html"):
        assert (out / page).is_file()


@pytest.mark.parametrize("model", ["llama7b", "llama13b", "llama2_7b", "llama2_13b", "llama3_8b", "smollm2"])
def test_every_architecture_runs_with_random_weights(
    model: str, cohort: Path, tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    small = [
        "model.layers=1",
        "model.hidden_size=96",
        "model.intermediate_size=128",
        "model.heads=6",
        "model.kv_heads=3",
    ]
    words = [f"model={model}", "model.weights=random", *small, "model.vocab_size=5000", "max_steps=2", "lr=0.001"]
    command("src.train", f"data.dir={cohort}", f"out={tmp_path}", "name=random", *SHORT, "data.limit=8", *words)
    assert json.loads((tmp_path / "random" / "result.json").read_text())["counts"]["steps"] == 2


def test_a_dry_run_says_what_it_would_take_and_shows_no_note(
    cohort: Path, tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    told = command("src.train", f"data.dir={cohort}", f"out={tmp_path}", "dry_run=true").stdout
    for expected in ("tokens of", "trained:", "memory: about", "time: about", '"max_len": 320'):
        assert expected in told
    for text in pl.read_parquet(cohort / "notes.parquet")["text"].head(50):
        words = text.split()
        assert " ".join(words[:5]) not in told
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_notebooks_run(
    runs: dict[str, Path], cohort: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[..., object]
) -> None:
    import nbformat
    from nbclient import NotebookClient

    command("src.evaluate", f"run={runs['single']}")
    monkeypatch.setenv("RUN", str(runs["single"]))
    monkeypatch.setenv("RUNS", str(runs["single"].parent))
    monkeypatch.setenv("COHORT", str(cohort))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    told = {"cohort": "DRGs by notes", "errors": "| macro_f1 |", "runs": "single"}
    paths = sorted(path for path in (ROOT / "notebooks").glob("*.ipynb") if path.stem != "scaling")  # of a grid
    assert [path.stem for path in paths] == list(told)
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        assert all(not cell.get("outputs") for cell in notebook.cells), f"{path}: strip the outputs"
        NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(path.parent)}}).execute()
        assert any(told[path.stem] in output.text for output in notebook.cells[1].outputs if "text" in output)


def test_a_run_that_stops_within_its_first_epoch_is_validated_and_recorded(
    cohort: Path, tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    command("src.train", f"data.dir={cohort}", f"out={tmp_path}", "name=one", *SHORT, "batch_size=2", "max_steps=1")
    record = json.loads((tmp_path / "one" / "result.json").read_text())
    assert record["counts"]["steps"] == 1
    assert 0 <= record["metrics"]["val/accuracy"] <= 1


@pytest.mark.parametrize("harm", ["torn", "odd", "a folder"])
def test_a_run_whose_record_is_damaged_is_made_again_by_the_same_command(
    harm: str,
    runs: dict[str, Path],
    cohort: Path,
    tmp_path: Path,
    command: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    shutil.copytree(runs["single"], tmp_path / "single")
    path = tmp_path / "single" / "result.json"
    before = json.loads(path.read_text())
    path.unlink()
    if harm == "a folder":
        path.mkdir()
    else:
        path.write_text('{"metrics": [' if harm == "torn" else '{"metrics": null, "counts": "many"}')
    status = command("src.status", str(tmp_path)).stdout
    assert "damaged" in status
    assert path.exists()
    told = command("src.train", f"data.dir={cohort}", f"out={tmp_path}", "name=single", *SHORT)
    assert f"{path}: damaged (" in told.stderr
    assert (tmp_path / "single" / "result.json.damaged").exists()
    assert json.loads(path.read_text())["metrics"] == before["metrics"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [("size=100k", "the disk is full"), ("size=1m", "the disk is full"), ("ro", "Read-only file system")],
)
@pytest.mark.parametrize("several", [False, True])
def test_a_disk_that_is_full_or_read_only_is_one_sentence(
    options: str, expected: str, several: bool, cohort: Path, tmp_path: Path, forks: Forks
) -> None:
    words = [f"data.dir={cohort}", f"out={tmp_path}/runs", "model=femto", *SHORT]
    words = ["-m", *words, "seed=1"] if several else [*words, "name=a"]
    mounted = f"mount --make-rprivate / && mount -t tmpfs -o {options} none {tmp_path}"
    code = (
        "import ctypes, multiprocessing, subprocess, sys\n"
        f"multiprocessing.set_executable({sys.executable!r})\n"  # cells see this process's mounts
        f"ctypes.CDLL(None).unshare({NEW_MOUNTS})\n"
        f"if subprocess.run({mounted!r}, shell=True).returncode:\n    sys.exit('not mounted')\n"
        f"sys.argv = ['train', *{words!r}]\n"
        "from src.train import main\n"
        "main()\n"
    )
    done = forks.run(["-c", code])
    if done.stderr.endswith("not mounted\n"):
        pytest.skip("no file system can be mounted here")
    assert done.returncode == 2, done.stderr
    assert expected in done.stderr
    assert str(tmp_path) in done.stderr
    assert "Traceback" not in done.stderr
