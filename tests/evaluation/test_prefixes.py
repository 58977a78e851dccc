"""The truncation curve: equal to separate evaluations, in one forward where that is the same reading."""

import csv
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from src.cli.compose import to_schema
from src.cli.signals import Stop
from src.cohort.split import Split
from src.config.train import TrainConfig
from src.evaluation.prefixes import one_forward, score_prefixes
from src.runs.folder import RunFolder
from src.runs.record import read_record
from src.training.llama import Llama
from src.training.run_data import open_data

LENGTHS = [24, 48, 200, 300]
"""The longest is above most notes of the small cohort, so that some end before they are cut."""


def opened(run: Path, prompt: str, max_len: int) -> Llama:
    config = read_record(run).config
    llama = Llama(open_data(to_schema(TrainConfig, {**config, "prompt": prompt, "max_len": max_len})))
    llama.load(RunFolder(run).adapter)
    return llama


@pytest.mark.parametrize(("scheme", "prompt"), [("single", "none"), ("two", "none"), ("two", "diagnosis")])
def test_each_length_equals_a_separate_evaluation(scheme: str, prompt: str, runs: dict[str, Path]) -> None:
    run = runs[scheme]
    llama = opened(run, prompt, LENGTHS[-1])
    assert one_forward(llama) is (prompt == "none")
    curve = score_prefixes(llama, Split.TEST, LENGTHS)
    assert list(curve) == LENGTHS
    kept = {len(ids) for ids in llama.data.tokenised(Split.TEST).ids}
    assert min(kept) < LENGTHS[-1] <= max(kept)
    for length, predictions in curve.items():
        apart = opened(run, prompt, length)
        expected = apart.data.predictions(Split.TEST, apart.scores(Split.TEST, Stop()))
        assert list(predictions.heads) == list(expected.heads)
        for name, scores in expected.heads.items():
            assert np.allclose(predictions.heads[name], scores, atol=1e-5, rtol=0)
        assert np.array_equal(predictions.drg, expected.drg)
    assert not np.allclose(curve[24].heads["scores"], curve[300].heads["scores"], atol=1e-2)


def test_one_forward_serves_every_length(runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    llama = opened(runs["single"], "none", 64)
    forwards = []
    llama.trained.backbone.register_forward_hook(lambda *_: forwards.append(1))
    score_prefixes(llama, Split.TEST, [16, 32, 64])
    assert len(forwards) == len(llama.data.notes(Split.TEST)) / llama.data.cfg.batch_size == 12


def test_the_curve_is_told_as_table_file_and_picture(
    runs: dict[str, Path], tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs["two"], run)
    told = command("src.evaluate", f"run={run}", "prefixes=[48,24]").stdout
    assert "forward of its own" in told
    assert [line.split()[0] for line in told.splitlines()[:4]] == ["tokens", "24", "48", "64"]
    rows = list(csv.DictReader((run / "prefixes.csv").read_text().splitlines()))
    assert [(row["split"], row["max_len"]) for row in rows] == [
        (split, length) for split in ("validation", "test") for length in ("24", "48", "64")
    ]
    record = read_record(run).metrics
    assert float(rows[-1]["accuracy"]) == pytest.approx(record["test/accuracy"], abs=1e-6)
    assert float(rows[2]["rule_accuracy"]) == pytest.approx(record["val/rule_accuracy"], abs=1e-6)
    assert float(rows[0]["mean_tokens"]) <= 24
    assert (run / "prefixes.png").read_bytes().startswith(b"\x89PNG")


def test_a_length_above_the_runs_own_is_refused(
    runs: dict[str, Path], command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    told = command("src.evaluate", f"run={runs['two']}", "prefixes=[32,128]", ok=False).stderr
    assert "prefixes=[128]: above max_len=64" in told
