"""The whole life of a run on an accelerator that is simulated: where everything runs, and what it waits for.

The device is compiled in half a minute; where no compiler is, these tests skip and say so.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from src.training.throughput import STEPS_BETWEEN_LOGS
from tests.baselines.test_runs import TINY_BERT
from tests.forked import Forks

pytestmark = pytest.mark.slow

DEVICE = "sim:1"
TRAINING = [
    "model=femto",
    "precision=fp32",
    "max_len=64",
    "epochs=2",
    "batch_size=4",
    "data.limit=96",
    "threads=1",
    "wandb.mode=disabled",
]
STEPS = 48


@dataclass
class Report:
    """What a program did: its exit status, what it printed, and what the device saw."""

    status: int
    text: str
    device: dict[str, Any]

    @property
    def waits(self) -> list[int]:
        """How often the host waited between each optimiser step and the one before it."""
        return [after - before for before, after in pairwise(self.device["waits"])]


Program = Callable[..., Report]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, forks: Forks) -> Program:
    """Runs `python -m MODULE WORD ...` where `device=auto` is the simulated accelerator."""
    from tests.simulated.device import build

    library = request.config.cache.mkdir("simulated")
    try:
        build(library)
    except RuntimeError as error:
        if "no C++ compiler" in str(error) or "Python.h" in str(error):
            pytest.skip(f"the simulated accelerator cannot be compiled here: {error}")
        raise
    folder = tmp_path_factory.mktemp("reports")

    def run(module: str, *words: str, stop: int = 0, status: int = 0) -> Report:
        report = folder / f"{len(list(folder.iterdir()))}.json"
        started = ["tests.simulated.program", str(library), str(report), module, *words]
        done = forks.run(started, env={**os.environ, "SIMULATED_STOP": str(stop)})
        assert done.returncode == status, done.stdout + done.stderr
        made = Report(done.returncode, done.stdout + done.stderr, json.loads(report.read_text()))
        assert made.device["peak"][0] == 0, "something lay on the other device"
        return made

    return run


@dataclass
class Trained:
    """A run on the device and its report."""

    folder: Path
    report: Report


@pytest.fixture(scope="module")
def trained(program: Program, cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    out = tmp_path_factory.mktemp("trained")
    report = program("src.train", f"data.dir={cohort}", f"out={out}", "name=run", *TRAINING)
    return Trained(out / "run", report)


def predictions(run: Path) -> pl.DataFrame:
    return pl.read_parquet(run / "predictions.parquet")


def scores(frame: pl.DataFrame) -> np.ndarray[Any, Any]:
    return np.stack(frame["scores"].to_list())


def left(run: Path) -> tuple[dict[str, bytes], dict[str, float]]:
    """Adapters and metrics of a finished run."""
    weights = {path.name: path.read_bytes() for path in sorted((run / "adapter").glob("*.safetensors"))}
    return weights, json.loads((run / "result.json").read_text())["metrics"]


def test_training_validation_and_scores_are_computed_on_the_device(trained: Trained) -> None:
    assert trained.report.device["forwards"] == {"gradients": [DEVICE], "none": [DEVICE]}
    assert trained.report.device["peak"][1] > 100_000
    assert json.loads((trained.folder / "result.json").read_text())["device"] == DEVICE


def test_a_run_on_the_device_is_that_on_the_cpu(trained: Trained, cohort: Path, tmp_path: Path, command: Any) -> None:
    command("src.train", f"data.dir={cohort}", f"out={tmp_path}", "name=run", "device=cpu", *TRAINING)
    on_device, on_cpu = predictions(trained.folder), predictions(tmp_path / "run")
    assert on_device.drop("scores").columns == on_cpu.drop("scores").columns
    assert on_device["hadm_id"].to_list() == on_cpu["hadm_id"].to_list()
    assert np.abs(scores(on_device) - scores(on_cpu)).max() <= 1e-4


def test_no_step_waits_for_the_device_but_where_a_row_of_the_curves_is_due(trained: Trained) -> None:
    waits = trained.report.waits
    assert len(waits) == STEPS - 1
    # A row is written, and an epoch validated and saved, after the step that makes it due.
    due = [step % STEPS_BETWEEN_LOGS == 0 or step % (STEPS // 2) == 0 for step in range(1, STEPS)]
    assert [count for count, is_due in zip(waits, due, strict=True) if not is_due] == [0] * due.count(False)
    assert all(count for count, is_due in zip(waits, due, strict=True) if is_due)


def test_a_run_that_is_stopped_goes_on_to_the_same_bits(
    trained: Trained, program: Program, cohort: Path, tmp_path: Path
) -> None:
    words = ["src.train", f"data.dir={cohort}", f"out={tmp_path}", "name=run", *TRAINING]
    stopped = program(*words, stop=29, status=143)
    assert 29 <= len(stopped.device["waits"]) < STEPS
    assert not (tmp_path / "run" / "result.json").exists()
    finished = program(*words)
    assert len(finished.device["waits"]) == STEPS - len(stopped.device["waits"])
    assert left(tmp_path / "run") == left(trained.folder)
    assert predictions(tmp_path / "run").equals(predictions(trained.folder))


def test_evaluation_and_its_prefixes_are_computed_on_the_device(trained: Trained, program: Program) -> None:
    report = program("src.evaluate", f"run={trained.folder}", "prefixes=[16,32]")
    assert report.device["forwards"] == {"gradients": [], "none": [DEVICE]}
    assert float(report.text.rsplit(": ", 1)[1]) <= 1e-6
    assert (trained.folder / "prefixes.csv").exists()


def test_an_export_is_made_on_the_device(trained: Trained, program: Program, tmp_path: Path) -> None:
    report = program("src.export", f"run={trained.folder}", f"out={tmp_path / 'plain'}")
    assert report.device["forwards"]["none"] == [DEVICE]
    assert list((tmp_path / "plain").iterdir())


@pytest.mark.parametrize("together", ["yes", "auto"])
def test_runs_over_one_base_are_computed_on_the_device(
    together: str, program: Program, cohort: Path, tmp_path: Path
) -> None:
    words = ["-m", f"data.dir={cohort}", f"out={tmp_path}", *TRAINING, "lora.r=2,4", f"together={together}"]
    report = program("src.train", *words)
    assert report.device["forwards"] == {"gradients": [DEVICE], "none": [DEVICE]}
    records = [json.loads(path.read_text()) for path in tmp_path.glob("*/result.json")]
    assert [record["device"] for record in records] == [DEVICE] * 2


@pytest.mark.parametrize(
    "words", [["model=caml", "max_len=40"], ["model=clinicalbert", *TINY_BERT]], ids=["caml", "clinicalbert"]
)
def test_tuned_baselines_are_computed_on_the_device_without_a_wait_a_step(
    words: list[str], program: Program, cohort: Path, tmp_path: Path
) -> None:
    cut = ["epochs=1", "batch_size=4", "data.limit=96", "threads=1", "wandb.mode=disabled"]
    report = program("src.train", f"data.dir={cohort}", f"out={tmp_path}", "name=run", *words, *cut)
    assert report.device["forwards"] == {"gradients": [DEVICE], "none": [DEVICE]}
    assert report.waits.count(0) >= 0.7 * len(report.waits) > 10
    evaluated = program("src.evaluate", f"run={tmp_path / 'run'}")
    assert evaluated.device["forwards"] == {"gradients": [], "none": [DEVICE]}
    assert float(evaluated.text.rsplit(": ", 1)[1]) <= 1e-6


def test_a_base_is_pretrained_on_the_device(program: Program, cohort: Path, tmp_path: Path) -> None:
    sizes = ["vocab_size=300", "hidden_size=32", "intermediate_size=64", "layers=1", "heads=2", "epochs=1"]
    report = program("src.pretrain", f"data.dir={cohort}", f"out={tmp_path / 'base'}", "threads=1", *sizes)
    assert report.device["forwards"] == {"gradients": [DEVICE], "none": [DEVICE]}
    assert report.waits.count(0) >= 0.9 * len(report.waits) > 10
    assert (tmp_path / "base" / "model.safetensors").exists()
