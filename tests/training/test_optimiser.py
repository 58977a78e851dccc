"""Rates, groups and scaled losses of a run's optimiser are the libraries' own, and survive a kill."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import SGD
from transformers.optimization import (
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)

from src.benchmarks.fixtures import engine, small_model
from src.cli.errors import UserError
from src.config.choices import Precision
from src.config.train import LoraConfig
from src.models.bases import load_base
from src.models.classifier import with_adapters
from src.models.engine.packing import pack
from src.training.optimiser import optimiser_of, rate_factor
from tests.training.stepping import configured, opened, state, take

NEW = ("lora.plus=4", "head_lr=0.01", "warmup=0.25", "schedule=cosine")


def test_the_default_rate_is_that_of_before_to_the_bit(cohort: Path) -> None:
    cfg = configured(cohort, "lr=0.0003")
    factor = rate_factor(cfg, 997)
    assert all(cfg.lr * factor(step) == cfg.lr * (1 - step / 997) for step in range(997))


@pytest.mark.parametrize("warmup", [0.0, 0.15, 1.0])
@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_rates_are_those_of_transformers(cohort: Path, schedule: str, warmup: float) -> None:
    optimiser, steps = SGD([torch.zeros(1)], lr=1.0), 37
    warm = math.ceil(warmup * steps)
    theirs: Any = {
        "linear": lambda: get_linear_schedule_with_warmup(optimiser, warm, steps),
        "cosine": lambda: get_cosine_schedule_with_warmup(optimiser, warm, steps),
        "constant": lambda: get_constant_schedule_with_warmup(optimiser, warm),
    }[schedule]()
    factor = rate_factor(configured(cohort, f"schedule={schedule}", f"warmup={warmup}"), steps)
    for step in range(steps):
        assert factor(step) == pytest.approx(theirs.get_last_lr()[0], abs=1e-15)
        optimiser.step()
        theirs.step()


def test_lora_plus_gives_each_b_of_this_run_alone_its_multiple_of_the_rate(cohort: Path) -> None:
    cfg = configured(cohort, "lr=0.001", "lora.plus=8", "head_lr=0.5", "weight_decay=0.1")
    lora = LoraConfig(2, 4, 0.0, ["q_proj", "v_proj"])
    first = with_adapters(load_base(small_model(64, 2), Precision.FP32, "cpu"), lora, 5, "cpu", "cell0")
    second = with_adapters(first.backbone, lora, 5, "cpu", "cell1")
    rates = {
        id(weight): (group["lr"], group["weight_decay"])
        for group in optimiser_of(second, cfg, Precision.FP32).param_groups
        for weight in group["params"]
    }
    expected = {"A": 0.001, "B": 0.008, "h": 0.5}
    named = second.trained()
    assert len(rates) == len(named)
    for name, weight in named.items():
        kind = "h" if name == "head.weight" else name.split("lora_")[1][0]
        assert rates[id(weight)] == (expected[kind], 0.1)


def test_lora_plus_at_one_takes_the_steps_of_one_tensor(cohort: Path) -> None:
    def trained(*words: str) -> dict[str, torch.Tensor]:
        made = engine(small_model(64, 2), Precision.FP32, "cpu", 0.0)
        optimiser = optimiser_of(made, configured(cohort, "lr=0.01", *words), Precision.FP32)
        for _ in range(3):
            made(pack([[5, 6, 7], [8, 9]])).square().mean().backward()
            optimiser.step()
            optimiser.zero_grad()
        return made.trained()

    whole, apart = trained(), trained("lora.plus=1")
    assert all(torch.allclose(weight, apart[name], rtol=0, atol=1e-7) for name, weight in whole.items())
    faster = trained("lora.plus=16")
    assert any(not torch.allclose(weight, faster[name], atol=1e-3) for name, weight in whole.items())


@pytest.mark.parametrize("words", [NEW, ("precision=fp16", *NEW)])
def test_a_run_that_goes_on_from_a_checkpoint_takes_the_steps_of_one_never_stopped(
    words: tuple[str, ...], cohort: Path, tmp_path: Path
) -> None:
    words = (*words, "lr=0.01")
    whole = opened(cohort, tmp_path / "whole", *words)
    take(whole, 4)
    stopped = opened(cohort, tmp_path / "stopped", *words)
    take(stopped, 2)
    stopped.save()
    resumed = opened(cohort, tmp_path / "stopped", *words)
    take(resumed, 2)
    expected, got = state(whole), state(resumed)
    assert expected.keys() == got.keys()
    assert all(torch.equal(value, got[name]) for name, value in expected.items())
    assert whole.optimiser.param_groups[0]["lr"] == resumed.optimiser.param_groups[0]["lr"] > 0
    assert whole.scaler.state_dict() == resumed.scaler.state_dict()


def test_a_step_whose_gradient_overflows_counts_and_changes_no_weight_also_after_a_kill(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("precision=fp16", "lr=0.01")
    learner = opened(cohort, tmp_path / "run", *words)
    take(learner, 1)
    before = state(learner)
    learner.scaler.load_state_dict({**learner.scaler.state_dict(), "scale": 2.0**127})
    take(learner, 1)
    assert all(torch.equal(value, before[name]) for name, value in state(learner).items())
    assert learner.scaler.get_scale() == 2.0**126
    learner.scaler.load_state_dict({**learner.scaler.state_dict(), "scale": 2.0**10})
    learner.save()
    assert (learner.progress.step, learner.progress.skipped) == (2, 1)
    assert "run: 1 of the steps up to 2 changed nothing, as gradients overflowed fp16" in capsys.readouterr().err
    resumed = opened(cohort, tmp_path / "run", *words)
    take(learner, 1)
    take(resumed, 1)
    assert resumed.progress.skipped == 1
    expected = state(learner)
    assert all(torch.equal(value, expected[name]) for name, value in state(resumed).items())


def test_fp16_that_overflows_at_every_scale_ends_the_run(cohort: Path, tmp_path: Path) -> None:
    learner = opened(cohort, tmp_path / "run", "precision=fp16")
    take(learner, 1)
    learner.scaler.load_state_dict({**learner.scaler.state_dict(), "scale": 0.5})
    with pytest.raises(UserError, match="gradients overflow at step 1 however little the loss is scaled"):
        learner.save()
    assert not list((tmp_path / "run").glob("**/*.safetensors"))


def test_an_fp16_base_takes_half_the_memory_and_gives_nearly_the_logits_of_fp32() -> None:
    whole, half = (
        engine(small_model(64, 2), precision, "cpu", 0.0).eval() for precision in (Precision.FP32, Precision.FP16)
    )
    notes = pack([[5, 6, 7, 8], [9, 10]])
    with torch.no_grad():
        assert torch.allclose(whole(notes), half(notes), atol=5e-3)
    assert half.backbone.get_input_embeddings().weight.dtype is torch.float16
    assert half.head.weight.dtype is torch.float32


@pytest.mark.parametrize("key", ["lr", "head_lr", "lora.plus"])
@pytest.mark.parametrize("value", ["0", "-0.1", "1e7", "1e38"])
def test_a_rate_at_which_nothing_learns_is_refused(key: str, value: str, cohort: Path) -> None:
    with pytest.raises(UserError, match=rf"{key}=.*: must be above 0 and at most 1,000,000"):
        configured(cohort, f"{key}={value}")


def test_a_decay_whose_product_with_a_weight_is_no_number_is_refused(cohort: Path) -> None:
    with pytest.raises(UserError, match=r"weight_decay=1e\+38: must be from 0 to 1,000,000"):
        configured(cohort, "weight_decay=1e38")
