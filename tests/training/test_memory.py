from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from src.benchmarks.fixtures import small_model
from src.cli.compose import compose, read_command_line
from src.cli.errors import UserError
from src.config.architecture import ATTENTION, FEED_FORWARD
from src.config.choices import Pooling, Precision
from src.config.train import LoraConfig, TrainConfig
from src.estimates.flop import count_parameters
from src.estimates.memory import HEAP, Setting, memory, remedies
from src.models.bases import load_base
from src.models.classifier import AdapterBatch, read_together, with_adapters
from src.models.engine.dropout import KeyedDropout
from src.models.engine.packing import pack
from src.training.batches import Steps, TokenisedNotes
from src.training.memory import check_fits, plan, planned_run, ran_out

GIB = 2**30


@pytest.fixture
def session(cohort: Path) -> Callable[..., Any]:
    """What a plan needs to know of a 7B run on a GPU, without one."""

    def made(*words: str) -> Any:
        line = read_command_line(["model=llama7b", f"data.dir={cohort}", "max_len=1024", *words], "train")
        (cfg,) = compose(TrainConfig, line)
        return SimpleNamespace(cfg=cfg, device="cuda", precision=Precision.BF16, parameters=count_parameters(cfg, 738))

    return made


def steps(batch_size: int = 4) -> Steps:
    return Steps(TokenisedNotes([[1] * 1024] * 12, [0] * 12), batch_size, 1, None, 0)


def test_the_fastest_setting_that_fits_is_picked(session: Callable[..., Any]) -> None:
    room = {80: Setting(4, False), 27: Setting(2, False), 20: Setting(1, False), 17: Setting(4, True)}
    found = {free: plan([session()], [steps()], free * GIB) for free in room}
    assert all(each.fits for each in found.values())
    assert {free: each.setting for free, each in found.items()} == room


def test_less_memory_is_planned_for_fewer_notes_and_for_recomputing(session: Callable[..., Any]) -> None:
    held = [
        plan([session(f"micro_batch={notes}", f"checkpointing={again}")], [steps()], 80 * GIB).memory.total
        for notes, again in ((4, "false"), (1, "false"), (4, "true"), (1, "true"))
    ]
    assert held[0] > held[1]
    assert held[0] > held[2]
    assert held[3] == min(held)


def test_what_does_not_fit_is_refused_with_what_does(session: Callable[..., Any]) -> None:
    wanted = session()
    with pytest.raises(UserError, match=r"12.0 are free; try precision=int8, or shard=true devices=2$"):
        check_fits(plan([wanted], [steps()], 12 * GIB), wanted, steps())


@pytest.mark.parametrize("free", [1, 3, 5, 8, 12, 13, 14, 15, 16, 18, 24])
@pytest.mark.parametrize(
    "words",
    [(), ("micro_batch=4", "checkpointing=false"), ("precision=fp32",), ("precision=int8",), ("precision=nf4",)],
)
def test_every_setting_that_is_advised_fits(words: tuple[str, ...], free: int, session: Callable[..., Any]) -> None:
    wanted = session(*words)
    wanted.precision = Precision.BF16 if wanted.cfg.precision == "auto" else wanted.cfg.precision
    first = plan([wanted], [steps()], free * GIB)
    if first.fits:
        return
    remedy = remedies(planned_run(wanted, steps()), free * GIB)
    if remedy.startswith("no setting fits; take a smaller model=, or a device with more than "):
        needed = float(remedy.split()[-3])
        assert needed > free
        assert plan([wanted], [steps()], (needed + 1) * GIB).fits
        return
    for change in remedy.removeprefix("try ").split(", or "):
        kept = [word for word in words if word.partition("=")[0] not in change]
        changed = session(*kept, *change.split())
        changed.precision = Precision.BF16 if changed.cfg.precision == "auto" else changed.cfg.precision
        length = min(1024, changed.cfg.max_len)
        shorter = Steps(TokenisedNotes([[1] * length] * 12, [0] * 12), 4, 1, None, 0)
        assert plan([changed], [shorter], free * GIB).fits, change


def test_a_spread_base_takes_a_share_on_each_device(session: Callable[..., Any]) -> None:
    cfg = session().cfg
    how = {"tokens": 512, "recompute": False, "on_gpu": True}
    whole, half = (
        memory(cfg, count_parameters(cfg, 738), Precision.BF16, shares=shares, **how).base for shares in (1, 2)
    )
    assert half < 0.6 * whole


def test_running_out_of_memory_is_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as told:
        torch.empty(2**60, dtype=torch.uint8)
    assert ran_out(told.value)
    assert not ran_out(RuntimeError("shape mismatch"))


def bytes_kept(targets: list[str], dropout: float, layers: int) -> float:
    """What a forward pass keeps for the backward pass, a token, beside the weights."""
    model, kept = small_model(64, layers), {}
    classifier = with_adapters(
        load_base(model, Precision.FP32, "cpu"), LoraConfig(8, 16, dropout, targets), 7, "cpu", "cell0"
    ).train()

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor  # held, so that its address is not given away again
        return tensor

    notes = pack([[token % model.vocab_size for token in range(128)]])
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        read_together([AdapterBatch(classifier, notes, KeyedDropout(dropout, ((0, 0, 0),)))], recompute=False)
    weights = {weight.untyped_storage().data_ptr() for weight in classifier.parameters()}
    return sum(tensor.untyped_storage().nbytes() for address, tensor in kept.items() if address not in weights) / 128


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize(
    "targets", [list(ATTENTION), [*ATTENTION, "gate_proj"], [*ATTENTION, "down_proj"], [*ATTENTION, *FEED_FORWARD]]
)
def test_what_a_block_keeps_is_planned_for_every_place_of_adapters(targets: list[str], dropout: float) -> None:
    kept = bytes_kept(targets, dropout, 4) - bytes_kept(targets, dropout, 3)
    planned = []
    for layers in (3, 4):
        lora = LoraConfig(8, 16, dropout, targets)
        cfg: Any = SimpleNamespace(model=small_model(64, layers), lora=lora, pooling=Pooling.LAST)
        estimate = memory(
            cfg, count_parameters(cfg, 7), Precision.FP32, tokens=1, recompute=False, on_gpu=False
        ).activations
        planned.append(estimate / HEAP[0])
    assert planned[1] - planned[0] == pytest.approx(kept, rel=0.12)
