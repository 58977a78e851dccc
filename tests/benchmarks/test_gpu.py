"""What `python -m src.benchmarks.gpu` does where no GPU is, and where little is installed."""

import importlib.metadata
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from src.benchmarks import gpu, gpu_checks, gpu_run, gpu_speed
from src.benchmarks.fixtures import small_model, stock
from src.benchmarks.gpu import PARTS, SPEEDS, choose_device, model_of, read_order, run
from src.benchmarks.gpu_lines import Lines, Unit
from src.benchmarks.gpu_speed import Speeds
from src.benchmarks.recipe import arguments_of
from src.benchmarks.training import equality
from src.cli.compose import CONF
from src.cli.errors import UserError
from src.config.choices import Precision, Weights
from src.config.train import ModelConfig
from src.models import devices
from src.models.classifier import with_adapters
from src.training.outcome import versions
from tests.forked import Forks

ROOT = Path(__file__).parents[2]

LACKING = [
    "hydra", "omegaconf", "antlr4", "polars", "pytorch_lightning", "lightning", "lightning_utilities",
    "lightning_fabric", "torchmetrics", "wandb", "wandb_workspaces", "drgpy", "drg", "isal", "scipy", "sklearn",
    "pandas", "matplotlib", "gensim", "lightgbm", "ray", "submitit", "bitsandbytes", "triton",
]  # fmt: skip
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
def test_a_whole_run_is_trained_on_the_device(
    lines: Callable[..., Any], forks: Forks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", forks.python)
    status, (row,) = lines("parts=train")
    assert (status, row["device"], row["steps"]) == (0, "cpu", 12)
    assert 0 <= row["accuracy"] <= 1


def test_a_part_that_raises_is_a_line_and_the_others_run(
    lines: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:

    def fails(speeds: Speeds, *args: Any, **kwargs: Any) -> dict[str, Any]:
        speeds.cells(model_of("tiny"), Precision.BF16, 2)
        raise torch.OutOfMemoryError("CUDA out of memory.\nmore of it")

    monkeypatch.setattr(Speeds, "profile", fails)
    drops, drop = [], Speeds.drop

    def counted(speeds: Speeds) -> None:
        drops.append(len(speeds._cells))
        drop(speeds)

    monkeypatch.setattr(Speeds, "drop", counted)
    status, rows = lines("parts=machine,profile,scoring", f"out={tmp_path / 'lines'}")
    assert status == 1
    assert [row["part"] for row in rows] == ["machine", "profile", "scoring"]
    error = {"error": "OutOfMemoryError", "reason": "CUDA out of memory."}
    assert rows[1] == {"part": "profile", "model": "tiny", "max_len": 64, **error}
    assert rows[2]["notes_a_second"] > 0
    assert rows == rows_of((tmp_path / "lines").read_text("utf-8"))
    assert drops == [0, 0, 2, 0]  # before the machine, for a base, after the error, for another base


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
    assert "which are femto, llama13b, llama2_13b, llama2_7b, llama3_8b, llama7b, nano, pico, smollm2" in message
    with pytest.raises(UserError, match="baseline=true: not known here; there are models=llama7b"):
        read_order(["baseline=true"])
    with pytest.raises(UserError, match="max_len=4096: above the context of llama7b, which is 2048"):
        read_order(["max_len=4096"])
    with pytest.raises(UserError, match=r"out=.*No such file or directory"):
        Lines(Path("/no/such/folder/lines"))


def test_without_words_7b_and_13b_are_measured_on_cuda() -> None:
    order = read_order([])
    assert [model.name for model in order.models] == ["llama7b", "llama13b"]
    assert (order.lengths, order.device, order.parts) == ([512, 1024], "cuda", list(PARTS))
    assert set(SPEEDS) < set(PARTS)
    assert set(PARTS) == {word for word in PARTS if word in str(gpu.__doc__)}


def test_a_cards_way_is_gone_as_far_as_no_card_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            self.time = time.perf_counter()

        def elapsed_time(self, end: "Event") -> float:
            return 1000 * (end.time - self.time)

    for name, given in {
        "Event": Event,
        "synchronize": lambda device: None,
        "empty_cache": lambda: None,
        "max_memory_allocated": lambda device: 3 * 2**29,
        "reset_peak_memory_stats": lambda: None,
        "mem_get_info": lambda device: (2**30, 2**31),
        "get_device_name": lambda: "a card",
        "get_device_capability": lambda: (9, 0),
    }.items():
        monkeypatch.setattr(torch.cuda, name, given)
    monkeypatch.setattr(gpu_checks, "matrix_rate", lambda *args: 1e12)
    for name in ("engine", "stock"):
        made = getattr(gpu_speed, name)
        monkeypatch.setattr(gpu_speed, name, lambda model, precision, device, made=made: made(model, precision, "cpu"))
    monkeypatch.setattr(
        gpu_speed,
        "with_adapters",
        lambda base, lora, width, device, name: with_adapters(base, lora, width, "cpu", name),
    )
    speeds, model = Speeds("cuda", 2), model_of("tiny")
    row = speeds.speed(model, 64, Precision.BF16, recompute=False)
    assert row["peak_gib"] == 1.5
    assert row["seconds_a_step"] > 0
    assert speeds.together(model, 64, 2)["ratio"] > 0
    assert speeds.trainer(model, 64, recompute=True)["ratio"] > 0
    assert speeds.scoring(model, 64)["notes_a_second"] > 0
    (machine,) = gpu_checks.machine_units("cuda", model)
    about = machine.measure()
    assert (about["name"], about["memory_gib"], about["capability"]) == ("a card", 2.0, "9.0")
    assert {unit.settings["backend"] for unit in gpu_checks.attention_units("cuda")} == {"varlen"}
    assert len(gpu_checks.kernel_units("cuda")) == 4


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
        with initialize_config_dir(str(CONF.absolute()), version_base="1.3"):
            values: Any = OmegaConf.to_container(compose("train", [f"model={name}"])["model"])
        assert model_of(name) == ModelConfig(**{**values, "weights": Weights.RANDOM})
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


def test_the_rate_of_products_is_that_of_random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    factors: list[torch.Tensor] = []

    def seconds(*pair: torch.Tensor) -> float:
        factors.extend(pair)
        return 1.0

    monkeypatch.setattr(devices, "_seconds", seconds)
    state = torch.get_rng_state()
    assert devices.matrix_rate(256, 64, 172, torch.float32, "cpu") == 2 * 256 * 64 * 172
    assert all(0.9 < float(factor.std()) < 1.1 for factor in factors)
    assert torch.equal(state, torch.get_rng_state())


def test_versions_leave_out_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    known = importlib.metadata.version

    def version(name: str) -> str:
        if name in ("wandb", "drgpy"):
            raise importlib.metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr("src.runs.provenance.version", version)
    assert {"python", "torch", "peft"} <= set(versions())
    assert not {"wandb", "drgpy"} & set(versions())


def test_what_a_run_lacks_is_named(lines: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_run, "NEEDED", ("torch", "no_such_package", "no_such.module"))
    status, (row,) = lines("parts=train")
    assert status == 0
    assert "a run also needs no_such_package, no_such.module" in row["left_out"]
