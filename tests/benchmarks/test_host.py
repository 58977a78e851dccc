"""What a 7B step asks of a GPU, counted on the meta device."""

from collections import Counter
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from src.benchmarks.fixtures import ALPHA, DRGS, DROPOUT, RANK, TARGETS, random_drgs, random_notes
from src.benchmarks.gpu import model_of
from src.benchmarks.host import a_gpus_way, counted, measure, ours
from src.benchmarks.launches import Launches, launcher
from src.benchmarks.recipe import NOTES_A_STEP
from src.config.choices import Precision
from src.config.train import LoraConfig, TrainConfig
from src.estimates.flop import count_parameters
from src.estimates.memory import memory
from src.models.engine import kernels

pytest.importorskip("triton")


@pytest.fixture
def tritons() -> Iterator[Counter[str]]:
    with a_gpus_way() as counts:
        yield counts


@pytest.mark.parametrize(("name", "most"), [("llama7b", 1_500), ("llama13b", 1_875)])
def test_a_step_at_full_size_launches_few_kernels_and_waits_for_none(
    name: str, most: int, tritons: Counter[str]
) -> None:
    model = model_of(name)
    step = ours(model, Precision.BF16, "meta")
    step.update = lambda: None  # type: ignore[method-assign]
    notes, drgs = random_notes(NOTES_A_STEP, 512, model.vocab_size, 1), random_drgs(NOTES_A_STEP, 1)
    counts = sum(counted(step, "meta", notes, drgs, tritons).values(), Counter[str]())
    assert 500 < counts["kernels"] <= most
    assert counts["waits"] == 0
    assert 1 <= counts["copies"] <= 2  # what is packed, and the DRGs
    assert step.weights
    for weight in step.weights:
        assert weight.device.type == "meta"
        assert weight.grad is not None
        assert (weight.grad.shape, weight.grad.dtype) == (weight.shape, torch.float32)


@pytest.mark.slow
def test_the_table_has_a_row_each(capsys: pytest.CaptureFixture[str]) -> None:
    counts = measure("llama7b", 512, 1, Precision.BF16, True)
    assert list(counts) == ["this", "plain", "this, recomputed", "plain, recomputed"]
    table = capsys.readouterr().out
    assert all(f"{row} " in table and f"{counts[row]['kernels']:,}" in table for row in counts)
    assert 3 * counts["this"]["kernels"] < counts["plain"]["kernels"]


def test_kernels_views_waits_and_copies_are_told_apart() -> None:
    with Launches("meta") as launches:
        x = torch.empty(4, 4, device="meta")
        x[0] = x.T[1] * 2 + torch.zeros(4).to("meta")
        torch._foreach_add_([x] * 111, 1.0)
        with pytest.raises(RuntimeError, match="meta"):
            float(x[0, 0])
    kinds = {name: count for name, count in launches.kinds.items() if count}
    assert kinds == {"mul": 1, "add": 1, "copy_": 1, "_foreach_add_": 2}
    assert launches.counts["copies"] == 1
    with Launches("cpu") as launches:
        float(torch.ones(2)[0])
    assert launches.counts["waits"] == 1


def test_launches_are_counted_each_time_anew() -> None:
    for _ in range(2):
        with launcher() as counts:
            kernels.gate(torch.zeros(3, 64))
            kernels.gate(torch.zeros(3, 64))
        assert counts == {"gate": 2}


def test_triton_has_its_own_driver_again() -> None:
    from triton.runtime.driver import driver

    before = driver._active
    with launcher():
        assert driver._active is not before
    assert driver._active is before


@pytest.mark.parametrize("name", ["llama7b", "llama13b"])
def test_autograd_keeps_what_the_memory_plan_says(name: str, tritons: Counter[str]) -> None:
    model = model_of(name)
    step = ours(model, Precision.BF16, "meta")
    notes, drgs = random_notes(NOTES_A_STEP, 512, model.vocab_size, 1), random_drgs(NOTES_A_STEP, 1)
    kept: dict[int, Tensor] = {}

    def keep(value: Tensor) -> Tensor:
        if value.dim() > 1 and value.shape[0] == tokens:
            kept[value.untyped_storage()._cdata] = value
        return value

    tokens = sum(map(len, notes))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        next(step.parts(notes, drgs))()
    # The stand-in for attention does not keep its output, as attention does.
    outputs = (model.layers - 1) * tokens * 2 * model.hidden_size
    held = sum(value.untyped_storage().nbytes() for value in kept.values()) + outputs
    cfg = TrainConfig.__new__(TrainConfig)
    cfg.model, cfg.lora = model, LoraConfig(RANK, ALPHA, DROPOUT, TARGETS)
    parameters = count_parameters(cfg, DRGS)
    plan = memory(cfg, parameters, Precision.BF16, tokens=tokens, recompute=False, on_gpu=True)
    for_a_moment = tokens * 2 * (3 * model.intermediate_size + 4 * model.hidden_size)
    assert plan.activations - for_a_moment == pytest.approx(held, rel=0.02)
