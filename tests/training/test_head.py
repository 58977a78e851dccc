"""A run whose head starts from titles and reads means: resumed, evaluated, read at fewer tokens, exported."""

import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from src.cli.errors import Interrupted, UserError
from src.cli.signals import Stop
from src.cohort.split import Split
from src.config.choices import Precision
from src.evaluation.prefixes import score_prefixes
from src.evaluation.reopen import reopen
from src.export import ExportConfig, export
from src.models.title_head import start_from_titles
from src.runs.folder import RunFolder
from src.runs.record import read_record
from src.training.fit import fit
from src.training.learners import open_learners
from src.training.llama import Llama, as_llama

Run = Callable[..., "subprocess.CompletedProcess[str]"]
WORDS = [
    "head=titles", "pooling=mean", "lora.rslora=true", "model=femto", "labels=two", "max_len=64", "data.limit=24",
    "epochs=1", "lr=0.005", "device=cpu", "threads=1", "wandb.mode=disabled", "prompt=none",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(cohort: Path, tmp_path_factory: pytest.TempPathFactory, command: Run) -> Path:
    out = tmp_path_factory.mktemp("head")
    command("src.train", f"data.dir={cohort}", f"out={out}", "name=run", *WORDS)
    return out / "run"


@pytest.fixture(scope="module")
def opened(run: Path) -> Llama:
    llama = as_llama(reopen(read_record(run), run, "cpu", None), "a LLaMA")
    llama.load(RunFolder(run).adapter)
    return llama


def test_a_finished_run_is_scored_again_from_its_files(run: Path, opened: Llama) -> None:
    written = pl.read_parquet(RunFolder(run).predictions(Split.TEST))["scores"].to_numpy()
    assert np.allclose(opened.scores(Split.TEST, Stop())["scores"], written, atol=1e-5)


def test_a_run_reads_its_titles_when_it_begins_and_not_again_when_it_goes_on(
    run: Path, opened: Llama, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "on")
    RunFolder(tmp_path / "on").record.unlink()
    data, forwards = opened.data, {}
    stop = Stop()
    stop.received = signal.SIGTERM  # what has steps left ends before the first of them
    for name in ("begun", "on"):
        ((learners, setting),) = open_learners([data], [tmp_path / name], [None])
        classifier, counted = learners[0].classifier, forwards.setdefault(name, [])
        classifier.backbone.register_forward_hook(lambda *_, counted=counted: counted.append(1))
        with pytest.raises(Interrupted) if name == "begun" else nullcontext():
            fit(learners, setting, stop)
        if name == "begun":
            begun = classifier.head.weight.detach().clone()
            start_from_titles(classifier, data.scheme, data.tokenizer, data.cfg.prompt, data.cfg.max_len)
            assert torch.equal(begun, classifier.head.weight)
        else:
            assert torch.equal(classifier.head.weight, opened.trained.head.weight)
    assert forwards["begun"]
    assert not forwards["on"]


def test_a_shorter_reading_is_the_mean_of_its_own_tokens(opened: Llama) -> None:
    curve = score_prefixes(opened, Split.TEST, [24, 64])
    for length, predictions in curve.items():
        expected = opened.reading(length).scores(Split.TEST, Stop())
        for name, scores in expected.items():
            assert np.allclose(predictions.heads[name], scores, atol=1e-5, rtol=0)
    assert not np.allclose(curve[24].heads["scores"], curve[64].heads["scores"], atol=1e-3)


def test_a_run_that_reads_means_is_not_exported_as_one_that_reads_the_last_token(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pooling=mean: .* score with src\.evaluate, or train one with pooling=last"):
        export(ExportConfig(str(run), str(tmp_path / "out"), None, Precision.AUTO, 4, "cpu"))
    assert not list(tmp_path.iterdir())
