"""An exported run, used as its own card says, in a process that knows nothing of this project."""

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from scipy.special import log_softmax
from transformers import AutoTokenizer

from src.cli.errors import UserError
from src.cohort.msdrg import load_drgs
from src.cohort.prepared import read_cohort
from src.cohort.split import Split
from src.config.choices import Labels
from src.exchange.card import SCORES
from src.exchange.merged import largest_difference, padding_token
from src.models.bases import STAND_IN
from src.models.labelspace import LabelSpace
from src.models.schemes import build_scheme
from tests.forked import Forks

Command = Callable[..., subprocess.CompletedProcess[str]]
AFTER_THE_CARD = """
import json, sys
assert not [name for name in sys.modules if name == "src" or name.startswith("src.")]
with torch.inference_mode():
    alone = [model(input_ids=torch.tensor([row])).logits[0] for row in [ids + after for ids in cut]]
"""
AFTER_PEFT = """
with torch.inference_mode():
    peft = model(**batch).logits
np.savez("told.npz", scores=scores, logits=logits, alone=torch.stack(alone).numpy(), peft=peft.numpy())
assert not [name for name in sys.modules if name == "src" or name.startswith("src.")]
"""


@pytest.fixture(scope="module")
def exported(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, command: Command) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("exported")
    for scheme, run in runs.items():
        told = command("src.export", f"run={run}", f"out={out / scheme}").stdout
        assert "must not be published" in told
    return {scheme: out / scheme for scheme in runs}


def used_as_the_card_says(folder: Path, texts: list[str], forks: Forks | None) -> dict[str, np.ndarray]:
    """Runs the card's own code on `texts`, elsewhere than in this project; without `forks` in a Python of its own."""
    use, peft = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    given = re.sub(r"^notes = .*$", lambda _: f"notes = {texts!r}", use, flags=re.MULTILINE)
    assert given != use
    script = given + AFTER_THE_CARD + peft + AFTER_PEFT
    python = [sys.executable, "-I", "-"]
    done = (
        forks.run(["-c", script], cwd=folder)
        if forks
        else subprocess.run(python, input=script, cwd=folder, capture_output=True, text=True, check=False)
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5 * len(texts)
    told = dict(np.load(folder / "told.npz"))
    (folder / "told.npz").unlink()
    return told


@pytest.mark.parametrize("scheme", ["single", "two", "joint"])
def test_the_cards_own_code_gives_the_runs_predictions(
    scheme: str, exported: dict[str, Path], runs: dict[str, Path], cohort: Path, forks: Forks
) -> None:
    notes = read_cohort(cohort).notes(Split.TEST, 48)
    told = used_as_the_card_says(exported[scheme], notes["text"].to_list(), None if scheme == "two" else forks)
    expected = pl.read_parquet(runs[scheme] / "predictions.parquet")["scores"].to_numpy()
    assert told["scores"].shape == expected.shape == (48, 757)
    assert np.abs(told["scores"] - expected).max() <= 1e-5
    assert np.abs(told["alone"] - told["logits"]).max() <= 1e-5
    assert np.abs(told["peft"] - told["logits"]).max() <= 1e-5
    assert np.abs(told["logits"]).max() > 0.1


@pytest.mark.parametrize("labels", Labels)
def test_the_cards_recipe_scores_drgs_as_the_scheme_does(labels: Labels) -> None:
    scheme = build_scheme(labels, LabelSpace.from_labels(list(load_drgs().values())), 0.5)
    logits = torch.randn(3, scheme.width, generator=torch.Generator().manual_seed(0)).double()
    indices = scheme.logit_indices()
    drgs = [dict(zip(indices, row, strict=True)) for row in zip(*indices.values(), strict=True)]
    log_softmax_of_rows = partial(log_softmax, axis=-1)
    names: dict[str, Any] = {"np": np, "logits": logits.numpy(), "drgs": drgs, "log_softmax": log_softmax_of_rows}
    exec(SCORES[labels], names)
    assert np.allclose(names["scores"], scheme.heads(logits)["scores"].numpy())


def test_logits_are_named_by_code_and_title_or_by_base_and_severity(exported: dict[str, Path]) -> None:
    single, two = (json.loads((exported[scheme] / "config.json").read_text()) for scheme in ("single", "two"))
    assert "291 HEART FAILURE AND SHOCK WITH MCC" in single["label2id"]
    assert (len(single["id2label"]), len(two["id2label"])) == (757, 345)
    assert two["id2label"]["340"] == "severity WITHOUT CC/MCC"
    assert "base DRG HEART FAILURE AND SHOCK" in two["label2id"]
    for config in (single, two):
        assert config["architectures"] == ["LlamaForSequenceClassification"]
        assert {name: int(place) for place, name in config["id2label"].items()} == config["label2id"]
        assert config["pad_token_id"] == 1


def test_the_scores_of_each_drg_name_the_logits_they_come_from(exported: dict[str, Path]) -> None:
    rows = list(csv.DictReader((exported["two"] / "drgs.csv").read_text().splitlines()))
    names = json.loads((exported["two"] / "config.json").read_text())["id2label"]
    row = next(row for row in rows if row["code"] == "291")
    assert names[row["base_logit"]] == "base DRG HEART FAILURE AND SHOCK"
    assert names[row["severity_logit"]] == "severity WITH MCC"


def test_the_card_tells_data_metrics_and_the_warning_and_no_place_of_this_machine(
    exported: dict[str, Path], runs: dict[str, Path]
) -> None:
    card = (exported["two"] / "README.md").read_text()
    metrics = json.loads((runs["two"] / "result.json").read_text())["metrics"]
    for expected in (
        "A model trained on MIMIC notes must not be published",
        "Protocol `clean`, MS-DRG version v34",
        "| of 41 words or more |",
        f"| rule_accuracy | {metrics['test/rule_accuracy']:.4f} |",
        '64 tokens at most (`max_len`), then the words "\\n\\nDischarge Diagnosis:\\n" (`prompt=diagnosis`)',
        "--runner pooling --convert classify --dtype float32",
    ):
        assert expected in card
    assert str(runs["two"].parent) not in card
    assert "/src/models" not in card


def test_a_run_on_a_quantised_base_is_merged_in_bf16_from_the_original_weights(
    runs: dict[str, Path], exported: dict[str, Path], tmp_path: Path, command: Command
) -> None:
    shutil.copytree(runs["single"], tmp_path / "run")
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    record["config"]["precision"] = "nf4"
    (tmp_path / "run" / "result.json").write_text(json.dumps(record))
    command("src.export", f"run={tmp_path / 'run'}", f"out={tmp_path / 'half'}", "notes=4")
    whole, half = (load_file(folder / "model.safetensors") for folder in (exported["single"], tmp_path / "half"))
    assert {weight.dtype for weight in half.values()} == {torch.bfloat16}
    assert whole.keys() == half.keys()
    assert all(torch.allclose(half[name].float(), whole[name], rtol=2**-7, atol=1e-3) for name in whole)


def test_the_adapter_holds_adapter_and_head_alone(exported: dict[str, Path]) -> None:
    with safe_open(exported["single"] / "adapter" / "adapter_model.safetensors", "pt") as file:
        names = set(file.keys())
    assert "base_model.model.score.weight" in names
    assert all(".lora_" in name for name in names - {"base_model.model.score.weight"})


def test_a_folder_that_holds_something_is_refused(runs: dict[str, Path], tmp_path: Path, command: Command) -> None:
    (tmp_path / "kept.txt").write_text("kept")
    assert "not empty" in command("src.export", f"run={runs['single']}", f"out={tmp_path}", ok=False).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_nothing_is_left_of_an_export_that_fails(runs: dict[str, Path], tmp_path: Path, command: Command) -> None:
    shutil.copytree(runs["single"], tmp_path / "run")
    (tmp_path / "run" / "adapter" / "head.safetensors").unlink()
    told = command("src.export", f"run={tmp_path / 'run'}", f"out={tmp_path / 'out'}", ok=False).stderr
    assert "head.safetensors: no such file" in told
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_logits_that_differ_by_more_than_rounding_are_refused() -> None:
    expected = torch.tensor([[0.5, -3.0]])
    assert largest_difference(expected + 2e-5, expected, torch.float32) < 3e-5
    for found in (expected + 1e-4, torch.full((1, 2), torch.nan)):
        with pytest.raises(UserError, match="nothing was kept"):
            largest_difference(found, expected, torch.float32)


def test_a_token_that_ends_a_note_never_pads() -> None:
    tokenizer = AutoTokenizer.from_pretrained(STAND_IN)
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    assert padding_token(tokenizer, [[start, 7], [start, 9]], 4096) == tokenizer.eos_token
    assert padding_token(tokenizer, [[start, 7], [start, 9, end]], 4096) == tokenizer.bos_token
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    assert padding_token(tokenizer, [[start, 7]], 4096) == tokenizer.eos_token
    assert padding_token(tokenizer, [[start, 7]], 4097) == "<pad>"
    with pytest.raises(UserError, match="no special token that could pad"):
        padding_token(tokenizer, [[start], [start, end]], 4096)
