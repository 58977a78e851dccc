"""Bases of every family by `model.path=`: packed as if alone, counted, bounded, and refused where they do not fit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoTokenizer

from src.cli.compose import compose, read_command_line
from src.cli.errors import UserError
from src.config.choices import Precision
from src.config.train import ModelConfig, TrainConfig
from src.estimates.flop import count_parameters
from src.models.bases import STAND_IN, load_base
from src.models.classifier import with_adapters
from src.models.engine.packing import pack

SIZES = {
    "vocab_size": 4096,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 256,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama"},
    "llama3": {"model_type": "llama", "num_key_value_heads": 2, "rope_parameters": LLAMA3},
    "llama with biases": {"model_type": "llama", "attention_bias": True, "mlp_bias": True, "head_dim": 16},
    "mistral": {"model_type": "mistral", "num_key_value_heads": 2, "sliding_window": 128},
    "qwen2": {"model_type": "qwen2", "num_key_value_heads": 2},
    "qwen3": {"model_type": "qwen3", "num_key_value_heads": 2, "head_dim": 24},
}
NOTES = [list(range(5, 95)), [12, 13], list(range(200, 231))]


def folder(where: Path, **values: Any) -> Path:
    """A folder as transformers saves it, with random weights that are far from their means."""
    torch.manual_seed(0)
    model = AutoModel.from_config(AutoConfig.for_model(**{"model_type": "llama", **SIZES, **values}))
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.15)
    model.save_pretrained(where)
    AutoTokenizer.from_pretrained(STAND_IN).save_pretrained(where)
    return where


def composed(cohort: Path, *words: str) -> TrainConfig:
    return compose(TrainConfig, read_command_line([f"data.dir={cohort}", *words], "train"))[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_logits_equal_transformers_own_model_note_by_note(family: str, cohort: Path, tmp_path: Path) -> None:
    path = folder(tmp_path / "base", **FAMILIES[family])
    cfg = composed(cohort, "model=local", f"model.path={path}", "max_len=128")
    plain = AutoModel.from_pretrained(path).eval()
    made = with_adapters(load_base(cfg.model, Precision.FP32, "cpu"), cfg.lora, 7, "cpu").eval()
    with torch.inference_mode():
        last = [plain(input_ids=torch.tensor([note])).last_hidden_state[0, -1] for note in NOTES]
        assert torch.allclose(made(pack(NOTES)), made.head(torch.stack(last)), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_are_counted_exactly_from_the_folder(family: str, cohort: Path, tmp_path: Path) -> None:
    path = folder(tmp_path / "base", **FAMILIES[family])
    cfg = composed(cohort, "model=llama13b", f"model.path={path}", "max_len=128")
    counted = count_parameters(cfg, 7)
    assert counted.base == sum(weight.numel() for weight in AutoModel.from_pretrained(path).parameters())
    trained = with_adapters(load_base(cfg.model, Precision.FP32, "cpu"), cfg.lora, 7, "cpu").trained()
    assert counted.trained == sum(weight.numel() for weight in trained.values())


def test_a_folder_without_tokenizer_or_weights_serves_random_weights(cohort: Path, tmp_path: Path) -> None:
    config = AutoConfig.for_model(**{**SIZES, **FAMILIES["qwen3"]})
    config.save_pretrained(tmp_path)
    cfg = composed(cohort, "model=local", f"model.path={tmp_path}", "max_len=128", "model.weights=random")
    base = load_base(cfg.model, Precision.FP32, "cpu")
    assert type(base).__name__ == "Qwen3Model"
    assert count_parameters(cfg, 7).base == sum(weight.numel() for weight in base.parameters())


def test_a_base_is_named_by_its_folder(cohort: Path, tmp_path: Path) -> None:
    path = folder(tmp_path / "My Base (2)")
    cfg = composed(cohort, "model=local", f"model.path='{path}'", "max_len=128")
    assert (cfg.model.name, cfg.model.context) == ("My-Base--2-", 256)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"max_position_embeddings": 100}, "max_len=200: above the context of model=base, which is model.context=100"),
        ({"model_type": "mistral", "sliding_window": 64}, "max_len=200: above the sliding window of model=base, which"),
        ({"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 64}, "above the sliding window"),
        ({"model_type": "gpt2"}, "model_type=gpt2 is no LLaMA relative; use one of llama, mistral, qwen2, qwen3"),
        ({"model_type": "bert"}, "model_type=bert is no LLaMA relative"),
        ({"hidden_size": None}, "hidden_size must be a number above 0"),
        (
            {"rope_scaling": {"rope_type": "longrope", "original_max_position_embeddings": 128}},
            "max_len=200: above the context of model=base, which is model.context=128",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_its_config_alone(
    values: dict[str, Any], expected: str, cohort: Path, tmp_path: Path
) -> None:
    path = tmp_path / "base"
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"model_type": "llama", **SIZES, **values}))
    with pytest.raises(UserError) as told:
        composed(cohort, "model=local", f"model.path={path}", "max_len=200")
    assert "1 problem\n" in str(told.value)
    assert expected in str(told.value)


def test_an_unused_window_is_no_bound(cohort: Path, tmp_path: Path) -> None:
    path = folder(tmp_path / "base", model_type="qwen2", use_sliding_window=False, sliding_window=64)
    assert composed(cohort, "model=local", f"model.path={path}", "max_len=200").model.window is None


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: None, "no such folder"),
        (lambda path: path.mkdir(), "no config.json there"),
        (lambda path: (path.mkdir(), (path / "config.json").write_text("{")), "damaged"),
    ],
)
def test_a_folder_that_is_no_base_is_told(
    make: Callable[[Path], object], expected: str, cohort: Path, tmp_path: Path
) -> None:
    make(tmp_path / "base")
    with pytest.raises(UserError, match=expected):
        composed(cohort, "model=local", f"model.path={tmp_path / 'base'}")


def test_an_unreachable_hub_is_told_with_what_to_do(cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"no-such/model: no such folder, and no config.json from the hub.*hf auth"):
        composed(cohort, "model=local", "model.path=no-such/model")


def test_a_base_unlike_its_plan_is_refused(tmp_path: Path) -> None:
    path = folder(tmp_path / "base")
    planned = ModelConfig("tiny", "-", "", "pretrained", 64, 48, 2, 4, 4, 4096, 256, 1.0, False)  # type: ignore[arg-type]
    planned.path = str(path)
    with pytest.raises(UserError, match="a base with hidden_size=32, unlike model=tiny; write model=local"):
        load_base(planned, Precision.FP32, "cpu")


def test_missing_weights_are_never_replaced_by_random_ones(cohort: Path, tmp_path: Path) -> None:
    path = folder(tmp_path / "base")
    weights = load_file(path / "model.safetensors")
    del weights["layers.1.mlp.up_proj.weight"]
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    cfg = composed(cohort, "model=local", f"model.path={path}", "max_len=128")
    with pytest.raises(UserError, match=r"1 weights are missing there, as .*layers.1.mlp.up_proj.weight"):
        load_base(cfg.model, Precision.FP32, "cpu")


@pytest.mark.slow
def test_a_run_trains_evaluates_and_exports_on_a_base_of_another_family(
    cohort: Path, tmp_path: Path, command: Callable[..., object]
) -> None:
    path = folder(tmp_path / "base", **FAMILIES["qwen2"])
    words = ["model=local", f"model.path={path}", "max_len=64", "epochs=1", "data.limit=24", "threads=1", "device=cpu"]
    command("src.train", f"data.dir={cohort}", f"out={tmp_path}", "name=qwen", *words, "lr=0.001")
    record = json.loads((tmp_path / "qwen" / "result.json").read_text())
    assert (record["config"]["model"]["family"], record["config"]["model"]["hidden_size"]) == ("qwen2", 32)
    command("src.evaluate", f"run={tmp_path / 'qwen'}")
    command("src.export", f"run={tmp_path / 'qwen'}", f"out={tmp_path / 'exported'}")
    exported = json.loads((tmp_path / "exported" / "config.json").read_text())
    assert exported["architectures"] == ["Qwen2ForSequenceClassification"]
