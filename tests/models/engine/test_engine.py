"""The packed engine against plain transformers and peft on padded batches, and against itself."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from src.config.choices import Pooling, Precision, Weights
from src.config.train import LoraConfig, ModelConfig
from src.models.bases import computing, load_base
from src.models.classifier import AdapterBatch, Classifier, read_together, with_adapters
from src.models.engine.attention import PACKED, Backend, attend
from src.models.engine.dropout import Drops, KeyedDropout
from src.models.engine.packing import pack

WIDTH = 9
LORA = LoraConfig(4, 8, 0.0, ["q_proj", "k_proj", "v_proj", "o_proj"])
EVERYWHERE = replace(LORA, targets=[*LORA.targets, "gate_proj", "up_proj", "down_proj"])
MODEL = ModelConfig("tiny", "-", "-", Weights.RANDOM, 32, 64, 3, 4, 2, 300, 128, 10000.0, False)


def notes(count: int, seed: int = 0) -> list[list[int]]:
    chance = np.random.default_rng(seed)
    return [chance.integers(3, 300, chance.integers(1, 40)).tolist() for _ in range(count)]


def engine(lora: LoraConfig = LORA, dtype: torch.dtype = torch.float64, seed: int = 0, base: Any = None) -> Classifier:
    """A classifier whose adapters already do something."""
    base = load_base(MODEL, Precision.FP32, "cpu").to(dtype) if base is None else base
    torch.manual_seed(seed)
    made = with_adapters(base, lora, WIDTH, "cpu", f"cell{seed}").to(dtype)
    for name, weight in made.trained().items():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    return made.train()


class Plain:
    """transformers' own classifier with peft on padded batches, as the paper's code trains it."""

    def __init__(self, lora: LoraConfig, dtype: torch.dtype) -> None:
        from peft import LoraConfig as PeftLora
        from peft import get_peft_model
        from transformers import LlamaForSequenceClassification

        ours = engine(lora, dtype)
        base: Any = ours.backbone
        config = base.config
        config.num_labels, config.pad_token_id, config.use_cache = WIDTH, 0, False
        self.model = LlamaForSequenceClassification(config).to(dtype)
        self.model.set_attn_implementation("sdpa")
        self.model.model.load_state_dict(load_base(MODEL, Precision.FP32, "cpu").to(dtype).state_dict())
        peft = PeftLora(
            r=lora.r,
            lora_alpha=lora.alpha,
            lora_dropout=0.0,
            target_modules=list(lora.targets),
            use_rslora=lora.rslora,
        )
        self.peft = get_peft_model(self.model.model, peft).to(dtype)
        theirs = dict(self.peft.named_parameters())
        with torch.no_grad():
            for name, weight in ours.trained().items():
                mine = name.removeprefix("backbone.").replace("lora_A.", "lora_A.default.")
                mine = mine.replace("lora_B.", "lora_B.default.")
                (self.model.score.weight if name == "head.weight" else theirs[mine]).copy_(weight)
        self.model.score.weight.requires_grad_(True)
        self.model.train()

    def weights(self) -> list[Tensor]:
        return [*(w for w in self.peft.parameters() if w.requires_grad), self.model.score.weight]

    def logits(self, batch: list[list[int]]) -> Tensor:
        ids, mask = self.padded(batch)
        return self.model(input_ids=ids, attention_mask=mask).logits

    def logits_of_means(self, batch: list[list[int]]) -> Tensor:
        ids, mask = self.padded(batch)
        hidden = self.model.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return self.model.score((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))

    @staticmethod
    def padded(batch: list[list[int]]) -> tuple[Tensor, Tensor]:
        longest = max(map(len, batch))
        ids = torch.tensor([note + [0] * (longest - len(note)) for note in batch])
        return ids, torch.tensor([[1] * len(note) + [0] * (longest - len(note)) for note in batch])


def losses(logits: Callable[[list[list[int]]], Tensor], weights: list[Tensor], steps: int, lr: float) -> list[float]:
    optimiser = torch.optim.AdamW(weights, lr=lr, weight_decay=0.01)
    told = []
    for step in range(steps):
        truth = torch.tensor(np.random.default_rng(step % 10).integers(0, WIDTH, 4))
        loss = cross_entropy(logits(notes(4, step % 10)), truth)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        told.append(float(loss.detach()))
    return told


@pytest.mark.parametrize("lora", [LORA, EVERYWHERE], ids=["attention", "everywhere"])
@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
def test_fifty_steps_equal_a_plain_padded_loop_in_fp64(lora: LoraConfig, recompute: bool) -> None:
    made, plain = engine(lora), Plain(lora, torch.float64)

    def logits(batch: list[list[int]]) -> Tensor:
        return read_together([AdapterBatch(made, pack(batch))], recompute=recompute)[0]

    ours = losses(logits, list(made.trained().values()), 50, 5e-3)
    theirs = losses(plain.logits, plain.weights(), 50, 5e-3)
    assert ours[-1] < ours[0]
    assert np.abs(np.subtract(ours, theirs)).max() <= 1e-9


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("prune", [False, True])
def test_merged_products_and_one_tensor_of_weights_change_nothing(
    kv_heads: int, prune: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = replace(MODEL, kv_heads=kv_heads)

    def trained(merged: bool) -> tuple[list[float], dict[str, Tensor]]:
        monkeypatch.setattr("src.models.adapters.merges", lambda device: merged)
        made = engine(EVERYWHERE, base=load_base(model, Precision.FP32, "cpu").double())
        ups = [len(low.ups) for low in made.adapters.cast(torch.float64)[0] if low]
        assert ups == ([1 if kv_heads == 4 else 2, 1, 1, 1] if merged else [3, 1, 2, 1])
        weights = made.leaves() if merged else list(made.trained().values())

        def logits(batch: list[list[int]]) -> Tensor:
            return read_together([AdapterBatch(made, pack(batch))], prune=prune)[0]

        return losses(logits, weights, 20, 5e-3), made.trained()

    (ours, mine), (theirs, yours) = trained(True), trained(False)
    assert ours[-1] < ours[0]
    assert np.abs(np.subtract(ours, theirs)).max() <= 1e-12
    for name, weight in mine.items():
        assert torch.allclose(weight, yours[name], rtol=0, atol=1e-10)


def test_an_optimisers_tensor_follows_the_weights_when_they_are_moved() -> None:
    made = engine(dtype=torch.float32)
    leaf, head = made.leaves()
    made.to(torch.float64)
    made(pack(notes(2))).sum().backward()
    assert made.leaves()[0] is leaf
    assert leaf.dtype == leaf.grad.dtype == torch.float64
    with torch.no_grad():
        leaf.zero_()
    assert not any(weight.any() for name, weight in made.trained().items() if "lora_" in name)
    spread = made.spread([leaf.grad, head.grad])
    assert list(spread) == list(made.trained())
    assert all(value.shape == made.trained()[name].shape for name, value in spread.items())


def test_ten_steps_equal_a_plain_padded_loop_in_fp32() -> None:
    made, plain = engine(dtype=torch.float32), Plain(LORA, torch.float32)
    ours = losses(lambda batch: made(pack(batch)), list(made.trained().values()), 10, 2e-3)
    theirs = losses(plain.logits, plain.weights(), 10, 2e-3)
    assert np.abs(np.subtract(ours, theirs)).max() <= 1e-5


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
def test_ten_steps_on_means_over_all_tokens_equal_a_plain_padded_loop_in_fp64(recompute: bool) -> None:
    made, plain = engine(EVERYWHERE), Plain(EVERYWHERE, torch.float64)
    made.pooling = Pooling.MEAN

    def logits(batch: list[list[int]]) -> Tensor:
        return read_together([AdapterBatch(made, pack(batch))], recompute=recompute)[0]

    ours = losses(logits, list(made.trained().values()), 10, 5e-3)
    theirs = losses(plain.logits_of_means, plain.weights(), 10, 5e-3)
    assert np.abs(np.subtract(ours, theirs)).max() <= 1e-9


def test_ten_steps_with_rslora_equal_pefts_own_in_fp64() -> None:
    lora = replace(LORA, rslora=True)
    made, plain = engine(lora), Plain(lora, torch.float64)
    assert {site.scaling for site in made.adapters.sites} == {LORA.alpha / LORA.r**0.5}
    ours = losses(lambda batch: made(pack(batch)), list(made.trained().values()), 10, 5e-3)
    theirs = losses(plain.logits, plain.weights(), 10, 5e-3)
    assert np.abs(np.subtract(ours, theirs)).max() <= 1e-9


def test_heads_that_read_means_and_last_tokens_share_a_pass() -> None:
    last = engine()
    mean = engine(seed=1, base=last.backbone)
    mean.pooling = Pooling.MEAN
    batches = [AdapterBatch(last, pack(notes(3))), AdapterBatch(mean, pack(notes(4, 1)))]
    for batch, logits in zip(batches, read_together(batches), strict=True):
        assert torch.allclose(logits, read_together([batch])[0], atol=1e-12)


def test_a_mean_up_to_a_token_is_that_of_a_note_that_ends_there() -> None:
    made, batch = engine(), [note for note in notes(6) if len(note) > 3]
    made.pooling = Pooling.MEAN
    packed = pack(batch)
    rows = torch.cat([packed.last, packed.last - 2])
    cut = made(pack([note[:-2] for note in batch]))
    assert torch.allclose(made.logits_at(packed, rows), torch.cat([made(packed), cut]), atol=1e-12)


def test_pruning_the_last_block_changes_no_logit() -> None:
    made = engine()
    asked = [AdapterBatch(made, pack(notes(5)))]
    assert torch.allclose(read_together(asked)[0], read_together(asked, prune=False)[0], atol=1e-12)


@pytest.mark.parametrize("use_cache", [False, True])
@pytest.mark.parametrize("prune", [False, True])
def test_a_poisoned_neighbour_changes_no_logit(use_cache: bool, prune: bool) -> None:
    made = engine(dtype=torch.float32).eval()
    backbone: Any = made.backbone
    backbone.config.use_cache = use_cache
    first, *others = notes(4)
    before = read_together([AdapterBatch(made, pack([first, *others]))], prune=prune)[0]
    after = read_together([AdapterBatch(made, pack([[299] * len(first), *others]))], prune=prune)[0]
    assert (before[1:] - after[1:]).abs().max() <= 1e-6
    assert (before[0] - after[0]).abs().max() > 1e-3


@pytest.mark.parametrize("use_cache", [False, True])
def test_transformers_own_layers_with_the_registered_attention_are_blind_to_neighbours_too(use_cache: bool) -> None:
    from transformers import LlamaModel

    base = load_base(MODEL, Precision.FP32, "cpu")
    plain = LlamaModel(base.config).eval()
    plain.load_state_dict(base.state_dict())
    plain.set_attn_implementation(PACKED)

    def hidden(batch: list[list[int]]) -> Tensor:
        packed = pack(batch)
        kwargs = {"position_ids": packed.positions[None], "note_lengths": packed.lengths, "use_cache": use_cache}
        return plain(input_ids=packed.ids[None], **kwargs).last_hidden_state[0, packed.last]

    first, *others = notes(4)
    with torch.inference_mode():
        before, after = hidden([first, *others]), hidden([[299] * len(first), *others])
        alone = torch.cat([hidden([note]) for note in others])
    assert (before[1:] - after[1:]).abs().max() <= 1e-6
    assert (before[1:] - alone).abs().max() <= 1e-6


@pytest.mark.parametrize("backend", list(Backend))
@pytest.mark.parametrize("ends", [False, True])
def test_every_backend_attends_within_each_note_only(backend: Backend, ends: bool) -> None:
    if backend is not Backend.NOTES and not torch.cuda.is_available():
        pytest.skip(f"{backend}: needs a CUDA GPU")
    device = "cpu" if backend is Backend.NOTES else "cuda"
    dtype = torch.float64 if backend is Backend.NOTES else torch.bfloat16
    lengths = (5, 1, 9)
    torch.manual_seed(0)
    q, k, v = (torch.randn(15, heads, 64, dtype=dtype, device=device) for heads in (4, 2, 2))
    last = torch.tensor(lengths).cumsum(0) - 1
    found = attend(q[last] if ends else q, k, v, lengths, scale=0.125, ends=ends, backend=backend)
    row = torch.arange(15, device=device)
    note = torch.repeat_interleave(torch.arange(3), torch.tensor(lengths)).to(device)
    seen = (note[:, None] == note) & (row[:, None] >= row)
    wide = torch.einsum("thd,shd->hts", q.float(), k.repeat_interleave(2, 1).float()) * 0.125
    weights = wide.masked_fill(~seen, -torch.inf).softmax(-1)
    expected = torch.einsum("hts,shd->thd", weights, v.repeat_interleave(2, 1).float())
    expected = expected[last] if ends else expected
    assert torch.allclose(found.float(), expected, atol=1e-5 if dtype is torch.float64 else 2e-2)


def test_cells_that_share_a_pass_train_as_if_each_were_alone() -> None:
    loras = [replace(LORA, r=rank, alpha=alpha) for rank, alpha in ((4, 8), (8, 16), (2, 32))]
    alone = []
    for seed, lora in enumerate(loras):
        made = engine(lora, seed=seed)
        alone.append(losses(lambda batch, made=made: made(pack(batch)), list(made.trained().values()), 50, 5e-3))
    base: Any = load_base(MODEL, Precision.FP32, "cpu").to(torch.float64)
    cells = []
    for seed, lora in enumerate(loras):
        cells.append(engine(lora, seed=seed, base=base))
        base = cells[-1].backbone
    optimisers = [torch.optim.AdamW(cell.trained().values(), lr=5e-3, weight_decay=0.01) for cell in cells]
    for step in range(50):
        truth = torch.tensor(np.random.default_rng(step % 10).integers(0, WIDTH, 4))
        logits = read_together([AdapterBatch(cell, pack(notes(4, step % 10))) for cell in cells])
        each = [cross_entropy(one, truth) for one in logits]
        torch.stack(each).sum().backward()
        for cell, optimiser, loss, told in zip(cells, optimisers, each, alone, strict=True):
            assert abs(float(loss.detach()) - told[step]) <= 1e-9
            torch.nn.utils.clip_grad_norm_(list(cell.trained().values()), 1.0)
            optimiser.step()
            optimiser.zero_grad()


def test_dropout_is_the_same_however_a_step_is_cut() -> None:
    made, batch = engine(replace(LORA, dropout=0.3)), notes(4)
    keys = tuple((7, 3, place) for place in range(4))
    whole = read_together([AdapterBatch(made, pack(batch), KeyedDropout(0.3, keys))])[0]
    halves = [
        read_together([AdapterBatch(made, pack(batch[part]), KeyedDropout(0.3, keys[part]))])[0]
        for part in (slice(2), slice(2, 4))
    ]
    assert torch.allclose(whole, torch.cat(halves), atol=1e-12)
    assert not torch.allclose(whole, read_together([AdapterBatch(made, pack(batch))])[0], atol=1e-3)
    again = read_together([AdapterBatch(made, pack(batch), KeyedDropout(0.3, keys))], recompute=True)[0]
    weights = list(made.trained().values())
    one = torch.autograd.grad(whole.square().sum(), weights)
    two = torch.autograd.grad(again.square().sum(), weights)
    assert all(torch.allclose(left, right, atol=1e-10) for left, right in zip(one, two, strict=True))


def test_dropout_drops_the_share_it_is_given_and_keeps_the_mean() -> None:
    noise, none = KeyedDropout(0.05, ((1, 2, 3),)), torch.empty(0)
    drop = Drops(noise.words, [(0, 2000)], none, none, none, site=0).mask(100)
    assert float(drop.float().mean()) == pytest.approx(0.05, abs=0.003)
    assert noise.gain * (1 - noise.level / 65536) == pytest.approx(1)


def test_nothing_of_the_base_is_kept_for_gradients_it_does_not_need() -> None:
    made = engine()
    read_together([AdapterBatch(made, pack(notes(3)))])[0].sum().backward()
    backbone: Any = made.backbone
    assert all(weight.grad is None for name, weight in backbone.named_parameters() if "lora_" not in name)
    assert all(weight.grad is not None for weight in made.trained().values())


def test_bitsandbytes_stays_out_of_a_run_on_a_cpu() -> None:
    code = "import sys, src.models.classifier, src.models.bases; print('bitsandbytes' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


class OtherLinear(torch.nn.Linear):
    """A base's layer that is no plain linear map, as those of quantised bases are."""


def test_layers_of_a_quantised_kind_give_the_same_logits_and_gradients() -> None:
    plain, other = engine(), engine()
    backbone: Any = other.backbone
    for module in backbone.modules():
        if hasattr(module, "base_layer"):
            module.base_layer.__class__ = OtherLinear
    keys = tuple((7, 3, place) for place in range(4))
    found = []
    for made in (plain, other):
        logits = read_together([AdapterBatch(made, pack(notes(4)), KeyedDropout(0.2, keys))])[0]
        logits.square().sum().backward()
        found.append((logits, [weight.grad for weight in made.trained().values()]))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-12)
    for one, two in zip(found[0][1], found[1][1], strict=True):
        assert one is not None
        assert two is not None
        assert torch.allclose(one, two, atol=1e-10)


def test_where_bf16_is_emulated_its_weights_are_widened_and_nothing_else_is_rounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("src.models.bases.bf16_here", lambda: False)
    monkeypatch.setattr("src.models.engine.projections.PIECE", 200)  # of 1,024 to 2,048 weights
    half, whole = (load_base(MODEL, precision, "cpu") for precision in (Precision.BF16, Precision.FP32))
    assert {weight.dtype for weight in half.parameters()} == {torch.bfloat16}
    whole.load_state_dict({name: weight.float() for name, weight in half.state_dict().items()})
    made = [engine(EVERYWHERE, torch.float32, base=whole)]
    torch.manual_seed(0)
    made.append(with_adapters(half, EVERYWHERE, WIDTH, "cpu", "cell0").train())
    with torch.no_grad():
        for ours, theirs in zip(made[1].trained().values(), made[0].trained().values(), strict=True):
            ours.copy_(theirs)
    found = []
    for classifier in made:
        logits = classifier(pack(notes(5)))
        logits.square().sum().backward()
        found.append((logits.detach(), [weight.grad for weight in classifier.trained().values()]))
    (logits, grads), (expected, their_grads) = found[1], found[0]
    assert torch.allclose(logits, expected, atol=1e-5)
    for grad, their in zip(grads, their_grads, strict=True):
        assert grad is not None
        assert their is not None
        assert torch.allclose(grad, their, atol=1e-4 * float(their.abs().max()) + 1e-7)


def test_the_plan_knows_that_activations_are_fp32_where_bf16_is_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    for here, expected in ((False, torch.float32), (True, torch.bfloat16)):
        monkeypatch.setattr("src.models.bases.bf16_here", lambda here=here: here)
        assert computing(Precision.BF16, "cpu") is expected
        assert computing(Precision.BF16, "cuda:0") is torch.bfloat16
