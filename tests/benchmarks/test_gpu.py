"""What `python -m src.benchmarks.gpu` does where no GPU is, and where little is installed."""

import importlib.metadata
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from src.benchmarks import gpu, gpu_checks, gpu_run
from src.benchmarks.gpu import PARTS, SPEEDS, choose_device, model_of, read_order, run
from src.benchmarks.gpu_lines import Lines, Unit
from src.benchmarks.gpu_speed import Speeds
from src.benchmarks.material import small_model, stock
from src.benchmarks.recipe import arguments_of
from src.benchmarks.training import equality
from src.config.train import Precision, TrainConfig, Weights
from src.evaluation.outcome import versions
from src.shell.errors import UserError
from src.shell.overrides import compose, read_command_line

ROOT = Path(__file__).parents[2]

LACKING = (
    "hydra omegaconf antlr4 polars pytorch_lightning lightning lightning_utilities lightning_fabric torchmetrics wandb "
    "wandb_workspaces drgpy drg isal scipy sklearn pandas matplotlib gensim lightgbm ray submitit bitsandbytes triton"
).split()
"""What is not on a box that has torch, transformers and peft alone."""

BARE = f"""
import runpy, sys
lacking = set({LACKING!r})

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in lacking else self.finder.find_spec(name, path, target)

    def find_distributions(self, context=None):
        search = getattr(self.finder, "find_distributions", lambda context: ())
        for package in search(context):
            if package.metadata["Name"].replace("-", "_").lower() not in lacking:
                yield package

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
try:
    runpy.run_module("src.benchmarks.gpu", run_name="__main__", alter_sys=True)
finally:
    assert not lacking & set(sys.modules), lacking & set(sys.modules)
"""


def rows_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from numbers(part)
    elif isinstance(value, int | float):
        yield value


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[dict[str, Any]]]]:
    """Runs the command in this process on a CPU; its exit status and its lines."""

    def answer(*words: str) -> tuple[int, list[dict[str, Any]]]:
        status = run(read_order(["device=cpu", "max_len=64", "steps=1", *words]))
        return status, rows_of(capsys.readouterr().out)

    return answer


@pytest.mark.slow
def test_all_parts_run_on_a_box_that_has_torch_transformers_and_peft_alone(tmp_path: Path) -> None:
    words = ["device=cpu", "max_len=64", "steps=2", f"out={tmp_path / 'lines'}"]
    done = subprocess.run(
        [sys.executable, "-c", BARE, *words], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = rows_of(done.stdout)
    assert rows == rows_of((tmp_path / "lines").read_text("utf-8"))
    assert list(dict.fromkeys(row["part"] for row in rows)) == list(PARTS)
    assert not any("error" in row for row in rows)
    assert {row["part"] for row in rows if "left_out" in row} == {"kernels", "quantised", "train"}
    assert all(math.isfinite(number) for row in rows for number in numbers(row))
    by_part = {row["part"]: row for row in rows}
    assert by_part["machine"]["triton"] is None
    assert by_part["machine"]["peft"]
    assert by_part["equality"]["difference"] <= 1e-4
    assert "hydra, omegaconf, polars" in by_part["train"]["left_out"]
    assert "pip install bitsandbytes" in by_part["quantised"]["left_out"]
    assert by_part["trainer"]["ratio"] > 0
    assert by_part["speed"]["planned_gib"] > 0
    assert by_part["speed"]["peak_gib"] is None
    assert 5 < len(by_part["profile"]["operators"]) <= 15
    assert all(row["host_ms"] > 0 for row in rows if row["part"] == "speed")


@pytest.mark.slow
def test_quantised_bases_are_measured_where_bitsandbytes_is(lines: Callable[..., Any]) -> None:
    pytest.importorskip("bitsandbytes")
    status, rows = lines("parts=quantised")
    assert status == 0
    assert [row["precision"] for row in rows] == ["int8", "nf4"]
    assert all(row["tokens_a_second"] > 0 and math.isfinite(row["loss"]) for row in rows)


@pytest.mark.slow
def test_a_whole_run_is_trained_on_the_device(lines: Callable[..., Any]) -> None:
    status, (row,) = lines("parts=train")
    assert (status, row["device"], row["steps"]) == (0, "cpu", 12)
    assert 0 <= row["accuracy"] <= 1


def test_a_part_that_raises_is_a_line_and_the_others_run(
    lines: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    held: list[int] = []

    def fails(speeds: Speeds, *args: Any, **kwargs: Any) -> dict[str, Any]:
        speeds.cells(model_of("tiny"), Precision.BF16, 2)
        held.append(len(speeds._cells))
        raise torch.OutOfMemoryError("CUDA out of memory.\nmore of it")

    monkeypatch.setattr(Speeds, "profile", fails)
    drops: list[None] = []
    drop = Speeds.drop
    monkeypatch.setattr(Speeds, "drop", lambda speeds: (drops.append(None), drop(speeds))[0])
    status, rows = lines("parts=machine,profile,scoring", f"out={tmp_path / 'lines'}")
    assert status == 1
    assert [row["part"] for row in rows] == ["machine", "profile", "scoring"]
    error = {"error": "OutOfMemoryError", "reason": "CUDA out of memory."}
    assert rows[1] == {"part": "profile", "model": "tiny", "max_len": 64, **error}
    assert rows[2]["notes_a_second"] > 0
    assert rows == rows_of((tmp_path / "lines").read_text("utf-8"))
    assert held == [2]
    assert len(drops) == 4  # before the machine, before each of two bases that are made, and after the error


@pytest.mark.parametrize("difference", [1e-3, float("nan")])
def test_speeds_of_another_computation_are_not_shown(
    lines: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, difference: float
) -> None:
    monkeypatch.setattr(gpu_checks, "equality", lambda *args: difference)
    status, rows = lines("parts=equality,speed,scoring")
    assert status == 1
    assert rows[0]["error"] == "Differs"
    assert all(set(row) & {"left_out", "tokens_a_second"} == {"left_out"} for row in rows[1:])
    assert {row["part"] for row in rows[1:]} == {"speed", "scoring"}


def test_an_equality_that_cannot_be_had_leaves_the_speeds(
    lines: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: Any) -> float:
        raise ImportError("no peft")

    monkeypatch.setattr(gpu_checks, "equality", fails)
    status, rows = lines("parts=equality,scoring")
    assert (status, rows[0]["error"]) == (1, "ImportError")
    assert rows[1]["notes_a_second"] > 0


def test_a_result_that_is_no_number_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(None)
    lines.attempt(Unit({"part": "speed"}, lambda: {"loss": float("nan")}))
    assert lines.failed == 1
    assert rows_of(capsys.readouterr().out)[0]["error"] == "ValueError"


def test_a_loss_that_is_no_number_is_not_an_equal_one(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([float("nan"), 1.0])
    monkeypatch.setattr("src.benchmarks.training.EngineSteps.take", lambda *args: next(losses))
    assert math.isnan(equality(small_model(64, 1), 64, 2, torch.float32))


def test_all_wrong_words_are_named_at_once() -> None:
    words = ["models=tfidf,tiny", "max_len=8,x", "steps=0", "device=gpu", "parts=speed,sped"]
    with pytest.raises(UserError) as error:
        read_order(words)
    message = str(error.value)
    assert all(word in message for word in ("models=tfidf", "max_len=8,x", "steps=0", "device=gpu", "parts=sped"))
    assert "5 problems" in message
    with pytest.raises(UserError, match="baseline=true: not known here; there are models=llama7b"):
        read_order(["baseline=true"])
    with pytest.raises(UserError, match="max_len=4096: above the context of llama7b, which is 2048"):
        read_order(["max_len=4096"])
    with pytest.raises(UserError, match="out=.*No such file or directory"):
        Lines(Path("/no/such/folder/lines"))


def test_without_words_7b_and_13b_are_measured_on_cuda() -> None:
    order = read_order([])
    assert [model.name for model in order.models] == ["llama7b", "llama13b"]
    assert (order.lengths, order.device, order.parts) == ([512, 1024], "cuda", list(PARTS))
    assert set(SPEEDS) < set(PARTS)
    assert set(PARTS) == {word for word in PARTS if word in str(gpu.__doc__)}


def test_a_card_that_is_not_there_is_said_and_others_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    with pytest.raises(UserError, match="device=cuda:2: torch sees no such GPU; device=cpu"):
        choose_device("cuda:2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("cuda:1") == "cuda"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "6"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert choose_device("cuda") == "cuda"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"


def test_trainer_takes_one_gpu_of_several(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert arguments_of(str(tmp_path), 4, 2, False, True).n_gpu == 1


def test_an_architecture_is_read_as_hydra_reads_it() -> None:
    for name in ("llama7b", "llama13b", "llama3_8b", "nano"):
        line = read_command_line([f"model={name}", "model.weights=random", f"data.dir={ROOT}"], "train")
        with pytest.raises(UserError, match="holds no cohort"):
            compose(TrainConfig, line)
        assert model_of(name).weights is Weights.RANDOM
    assert (model_of("llama13b").layers, model_of("llama3_8b").kv_heads) == (40, 8)


def test_the_stock_head_is_fp32_and_the_default_format_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    network = stock(small_model(64, 1), Precision.BF16, "cpu")
    formats = {name: weight.dtype for name, weight in network.named_parameters()}
    assert {dtype for name, dtype in formats.items() if "score" in name or "lora_" in name} == {torch.float32}
    assert formats["base_model.model.model.embed_tokens.weight"] is torch.bfloat16
    ids = torch.tensor([[5, 6, 7]])
    assert network(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.dtype is torch.float32

    def fails(config: Any) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr("transformers.LlamaForSequenceClassification", fails)
    with pytest.raises(torch.OutOfMemoryError):
        stock(small_model(64, 1), Precision.BF16, "cpu")
    assert torch.get_default_dtype() is torch.float32


def test_versions_leave_out_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    known = importlib.metadata.version

    def version(name: str) -> str:
        if name in ("wandb", "drgpy"):
            raise importlib.metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr("src.shell.code.version", version)
    assert {"python", "torch", "peft"} <= set(versions())
    assert not {"wandb", "drgpy"} & set(versions())


def test_what_a_run_lacks_is_named(lines: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_run, "NEEDED", ("torch", "no_such_package", "no_such.module"))
    status, (row,) = lines("parts=train")
    assert status == 0
    assert "a run also needs no_such_package, no_such.module" in row["left_out"]
