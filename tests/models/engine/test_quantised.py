"""int8 and NF4 bases through the packed engine, on a CPU, against transformers and peft, and against dense weights."""

import copy
import json
import subprocess
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from src.cli.errors import UserError
from src.config.choices import Precision, Weights
from src.config.train import LoraConfig, ModelConfig, TrainConfig
from src.estimates.flop import count_parameters
from src.estimates.memory import base_bytes, memory
from src.models.bases import DTYPES, architecture, computing, load_base
from src.models.classifier import AdapterBatch, Classifier, read_together, with_adapters
from src.models.engine.dropout import KeyedDropout
from src.models.engine.packing import pack
from src.models.engine.quantised import dense_weight, is_quantised, quantised, settings

pytest.importorskip("bitsandbytes")

WIDTH = 9
LORA = LoraConfig(4, 8, 0.0, ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])
MODEL = ModelConfig("tiny", "-", "-", Weights.RANDOM, 64, 160, 3, 4, 2, 300, 128, 10000.0, False)
KINDS = [Precision.INT8, Precision.NF4]
NOTES = [list(range(5, 45)), [12, 13], list(range(200, 231)), [7] * 20]
KEYS = tuple((7, 3, note) for note in range(len(NOTES)))


@pytest.fixture(autouse=True)
def in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Activations are fp32, as on a processor without bf16 arithmetic, so that only formulas can differ."""
    monkeypatch.setattr("src.models.bases.bf16_here", lambda: False)


def engine(base: Any, lora: LoraConfig = LORA) -> Classifier:
    torch.manual_seed(0)
    made = with_adapters(base, lora, WIDTH, "cpu").train()
    for name, weight in made.trained().items():
        if "lora_B" in name:
            nn.init.normal_(weight, std=0.05)
    return made


def dense(base: Any) -> Any:
    """The same base with its quantised weights widened to fp32 layers of torch."""
    whole: Any = load_base(MODEL, Precision.FP32, "cpu")
    held = {name: weight.float() for name, weight in base.state_dict().items()}
    held |= {f"{name}.weight": dense_weight(layer, torch.float32) for name, layer in maps(base)}
    whole.load_state_dict({name: held[name] for name in whole.state_dict()})
    return whole


def maps(base: Any) -> list[tuple[str, Any]]:
    return [(name, layer) for name, layer in base.named_modules() if is_quantised(layer)]


def result(logits: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """Logits and the gradients of all trained weights."""
    return [logits.detach(), *torch.autograd.grad(logits.square().sum(), list(weights))]


def ours(made: Classifier, **how: Any) -> list[Tensor]:
    noise = KeyedDropout(0.2, KEYS) if how.pop("dropout", False) else None
    return result(read_together([AdapterBatch(made, pack(NOTES), noise)], **how)[0], list(made.trained().values()))


def theirs(base: Any, made: Classifier) -> list[Tensor]:
    """The same of transformers' own layers in peft's adapters, a note at a time."""
    from peft import LoraConfig as PeftLora
    from peft import get_peft_model

    lora = PeftLora(r=LORA.r, lora_alpha=LORA.alpha, lora_dropout=0.0, target_modules=list(LORA.targets))
    peft = get_peft_model(base, lora).train()
    held = dict(peft.named_parameters())
    head = made.head.weight.detach().clone().requires_grad_(True)
    weights = []
    for name, weight in made.trained().items():
        if name == "head.weight":
            continue
        inner = name.removeprefix("backbone.").replace(".weight", ".default.weight")
        with torch.no_grad():
            held[inner].copy_(weight)
        weights.append(held[inner])
    rows = [peft(input_ids=torch.tensor([note])).last_hidden_state[0, -1] for note in NOTES]
    return result(torch.stack(rows).float() @ head.T, [*weights, head])


def apart(found: Sequence[Tensor], expected: Sequence[Tensor]) -> tuple[float, float]:
    """The largest differences of a logit, and of a gradient as a share of its tensor's largest."""
    logits = float((found[0] - expected[0]).abs().max())
    pairs = zip(found[1:], expected[1:], strict=True)
    return logits, max(float((mine - their).abs().max() / their.abs().max()) for mine, their in pairs)


def as_bitsandbytes(base: Any, precision: Precision) -> Any:
    """transformers' own model over the very layers of `base`, reading them with bitsandbytes' products in fp32."""
    from transformers import AutoModel

    plain = AutoModel.from_config(architecture(MODEL))
    for name, layer in maps(base):
        own = copy.deepcopy(layer)
        if precision is Precision.NF4:
            # Else its backward pass, unlike its forward pass, reads the weights rounded to bf16.
            own.compute_dtype = own.weight.quant_state.dtype = torch.float32
        plain.set_submodule(name, own)
    kept = {name: weight.float() for name, weight in base.state_dict().items() if "embed" in name or "norm" in name}
    plain.load_state_dict(kept, strict=False)
    plain.is_loaded_in_8bit, plain.is_loaded_in_4bit = base.is_loaded_in_8bit, base.is_loaded_in_4bit
    return plain


@pytest.mark.parametrize("precision", KINDS)
def test_logits_and_gradients_equal_those_of_transformers_and_peft_on_the_same_base(precision: Precision) -> None:
    base = load_base(MODEL, precision, "cpu")
    plain = as_bitsandbytes(base, precision)
    made = engine(base)
    logits, gradients = apart(ours(made), theirs(plain, made))
    assert logits <= 2e-6
    assert gradients <= 1e-5


def test_int8_products_of_bitsandbytes_that_round_activations_too_are_near() -> None:
    base = load_base(MODEL, Precision.INT8, "cpu")
    plain = as_bitsandbytes(base, Precision.INT8).eval()
    made = engine(base).eval()
    for name, weight in made.trained().items():
        if "lora_B" in name:
            nn.init.zeros_(weight)
    with torch.inference_mode():
        rows = [plain(input_ids=torch.tensor([note])).last_hidden_state[0, -1] for note in NOTES]
        expected, found = made.head(torch.stack(rows)), made(pack(NOTES))
    assert 0 < (found - expected).abs().max() <= 0.02 * expected.abs().max()


@pytest.mark.parametrize("precision", KINDS)
@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("prune", [False, True])
@pytest.mark.parametrize("recompute", [False, True])
def test_a_quantised_base_is_its_dense_weights(
    precision: Precision, dropout: bool, prune: bool, recompute: bool
) -> None:
    base: Any = load_base(MODEL, precision, "cpu")
    whole = dense(base)
    how = {"dropout": dropout, "prune": prune, "recompute": recompute}
    made, expected = engine(base), engine(whole)
    with torch.no_grad():
        for mine, their in zip(made.trained().values(), expected.trained().values(), strict=True):
            mine.copy_(their)  # over NF4 peft draws A in bf16
    logits, gradients = apart(ours(made, **how), ours(expected, **how))
    assert logits <= 1e-6
    assert gradients <= 1e-5


@pytest.mark.parametrize("precision", KINDS)
def test_bf16_activations_read_the_weights_rounded_once(precision: Precision) -> None:
    base: Any = load_base(MODEL, precision, "cpu")
    for name, layer in maps(base):
        assert torch.equal(dense_weight(layer, torch.bfloat16), dense_weight(layer, torch.float32).bfloat16()), name


def test_scales_that_are_quantised_themselves_are_read() -> None:
    how = settings(Precision.NF4, "cpu")
    how.bnb_4bit_use_double_quant = True
    layer = nn.Linear(512, 300)
    once, twice = (
        dense_weight(quantised(layer, bits), torch.float32) for bits in (settings(Precision.NF4, "cpu"), how)
    )
    assert 0 < (once - twice).abs().max() < 0.02 * layer.weight.abs().max()


@pytest.mark.parametrize("precision", KINDS)
def test_autograd_keeps_no_more_than_of_a_dense_base_and_one_weight_is_dense_at_a_time(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    living: list[weakref.ref[Tensor]] = []
    most = 0

    def watched(layer: Any, dtype: torch.dtype) -> Tensor:
        nonlocal most
        living.append(weakref.ref(weight := dense_weight(layer, dtype)))
        most = max(most, sum(alive() is not None for alive in living))
        return weight

    monkeypatch.setattr("src.models.engine.projections.dense_weight", watched)
    base: Any = load_base(MODEL, precision, "cpu")
    made = [engine(whole) for whole in (dense(base), base)]
    for classifier in made:
        ours(classifier)
    held = {recompute: [kept(classifier, recompute) for classifier in made] for recompute in (False, True)}
    assert held[False][0] == held[False][1]
    assert held[True][0] == held[True][1] < 0.7 * held[False][0]
    assert len(living) > 4 * MODEL.layers
    assert most == 1


def kept(classifier: Classifier, recompute: bool) -> int:
    """Bytes that autograd keeps for the backward pass, the weights left out."""
    weights = {weight.untyped_storage().data_ptr() for weight in classifier.parameters()}
    held: dict[int, int] = {}

    def save(value: Tensor) -> Tensor:
        if value.untyped_storage().data_ptr() not in weights:
            held[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(save, lambda value: value):
        logits = read_together([AdapterBatch(classifier, pack(NOTES))], recompute=recompute)[0]
    assert logits.requires_grad
    return sum(held.values())


@pytest.mark.parametrize("precision", KINDS)
def test_random_weights_are_quantised_and_always_the_same(precision: Precision) -> None:
    base, again = (load_base(MODEL, precision, "cpu") for _ in range(2))
    state = base.state_dict()
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in state.items())
    assert {layer.weight.dtype for _, layer in maps(base)} == {
        torch.int8 if precision is Precision.INT8 else torch.uint8
    }
    assert len(maps(base)) == 7 * MODEL.layers
    used = {name: weight for name, weight in state.items() if name.endswith(("weight", "bias", "SCB", "absmax"))}
    cfg = TrainConfig.__new__(TrainConfig)
    cfg.model, cfg.lora = MODEL, LORA
    parameters = count_parameters(cfg, WIDTH)
    held = sum(weight.nbytes for weight in used.values())
    assert held == base_bytes(MODEL, parameters, precision) < 2 * parameters.base
    planned = memory(cfg, parameters, precision, tokens=10, recompute=False, on_gpu=False)
    assert planned.base - held == 4 * MODEL.hidden_size * MODEL.intermediate_size
    whole = memory(cfg, parameters, Precision.FP32, tokens=10, recompute=False, on_gpu=False)
    assert planned.activations == whole.activations


@pytest.mark.parametrize("precision", KINDS)
def test_pretrained_weights_are_quantised_as_random_ones(precision: Precision, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModel

    sizes = {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = AutoConfig.for_model("llama", vocab_size=300, attention_bias=True, max_position_embeddings=128, **sizes)
    plain = AutoModel.from_config(config, dtype=torch.bfloat16)
    plain.save_pretrained(tmp_path)
    model = ModelConfig("local", str(tmp_path), "-", Weights.PRETRAINED)
    base: Any = load_base(model, precision, "cpu")
    assert len(maps(base)) == 14
    for name, layer in maps(base):
        ours = quantised(plain.get_submodule(name), settings(precision, "cpu"))
        assert torch.equal(layer.weight, ours.weight), name
        assert torch.equal(dense_weight(layer, torch.float32), dense_weight(ours, torch.float32)), name
    made = engine(base).eval()
    with torch.inference_mode():
        logits = made(pack(NOTES))
    assert logits.isfinite().all()
    assert base.embed_tokens.weight.dtype is torch.bfloat16
    assert base.layers[0].self_attn.q_proj.base_layer.bias.dtype is torch.bfloat16


@pytest.mark.parametrize("precision", KINDS)
def test_what_cannot_quantise_is_told_with_what_to_install(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        UserError, match=f"precision={precision}: runs on a CUDA GPU or a CPU, not on device=mps; write"
    ):
        settings(precision, "mps")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf"precision={precision}: needs bitsandbytes; .* pip install -e '.\[gpu\]'"):
        settings(precision, "cuda:0")


def test_activations_over_a_quantised_base_are_fp32_where_bf16_is_emulated() -> None:
    for precision in KINDS:
        assert computing(precision, "cpu") is torch.float32
        assert computing(precision, "cuda:0") is DTYPES[precision] is torch.bfloat16


@pytest.mark.slow
@pytest.mark.parametrize("precision", KINDS)
def test_a_run_trains_quietly_and_evaluates_to_the_same_numbers(
    precision: Precision, cohort: Path, tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    words = ["model=femto", "max_len=64", "epochs=1", "data.limit=24", "threads=1", "device=cpu", "checkpointing=true"]
    words += [f"data.dir={cohort}", f"out={tmp_path}", "name=run", f"precision={precision}"]
    done = command("src.train", *words, fresh=precision is Precision.NF4)
    assert not [line for line in done.stderr.lower().splitlines() if "warn" in line or "mat" in line or "bits" in line]
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    assert record["config"]["precision"] == precision
    told = command("src.evaluate", f"run={tmp_path / 'run'}").stdout
    assert float(told.rsplit(": ", 1)[1]) <= 1e-6
