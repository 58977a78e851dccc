"""Keeps frozen maps of 8 and 4 bits in bitsandbytes' layers, and widens their weights for our own products.

bitsandbytes' own products keep their input where autograd cannot free it, and log a line a layer and forward pass. Here
a layer is only what holds a weight: `dense_weight` widens it for a product and again for its gradient.
"""

import importlib.util
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from src.cli.errors import UserError
from src.config.choices import Precision
from src.models.devices import same_randomness

BLOCK = 64
"""Weights that share a scale in NF4 (Dettmers et al. 2023, section 3); in int8 a row shares it."""

LARGEST = 127
"""The largest int8 of a row (Dettmers et al. 2022, section 2)."""

ROWS = 2**18
"""Weights of int8 that a CPU widens at once, as it needs them in fp32 for a moment."""


def settings(precision: Precision, device: str) -> Any:
    """Says how transformers is to quantise a base; None for fp32 and bf16.

    Raises:
        UserError: bitsandbytes is not there, or does not run on this device.
    """
    if not precision.is_quantised:
        return None
    if device.split(":")[0] not in ("cpu", "cuda"):
        raise UserError(f"precision={precision}: runs on a CUDA GPU or a CPU, not on device={device}; write bf16")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(f"precision={precision}: needs bitsandbytes; install it with pip install -e '.[gpu]'")
    from transformers import BitsAndBytesConfig

    if precision is Precision.INT8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)


def is_quantised(layer: Any) -> bool:
    """Says whether a layer's weight is an int8 or NF4 one, whose own shape and format are those of its storage."""
    return getattr(layer, "quant_state", None) is not None or hasattr(layer, "state")


def dense_weight(layer: Any, dtype: torch.dtype) -> Tensor:
    """Widens the weight [out, in] of an int8 or NF4 layer to `dtype`, fp32 or bf16, rounded once."""
    if not hasattr(layer, "state"):
        from bitsandbytes.functional import dequantize_4bit

        state = copy(layer.quant_state)
        state.dtype = dtype  # the state's own is what the weight was quantised from
        return dequantize_4bit(layer.weight.data, state)
    codes = layer.weight.data
    scales = layer.state.SCB if layer.weight.SCB is None else layer.weight.SCB
    steps = scales.float().unsqueeze(1) / LARGEST
    dense = torch.empty(codes.shape, dtype=dtype, device=codes.device)
    rows = len(codes) if codes.is_cuda else max(1, ROWS // codes.shape[1])
    for first in range(0, len(codes), rows):
        part = slice(first, first + rows)
        torch.mul(codes[part], steps[part], out=dense[part])
    return dense


def held_bytes(precision: Precision, inputs: int, outputs: int) -> float:
    """Counts the bytes that a quantised weight [outputs, inputs] takes with its scales.

    >>> held_bytes(Precision.INT8, 64, 10), held_bytes(Precision.NF4, 64, 10)
    (680, 360.0)
    """
    weights = inputs * outputs
    return weights + 4 * outputs if precision is Precision.INT8 else weights / 2 + 4 * -(-weights // BLOCK)


def quantised(layer: nn.Linear, quantisation: Any) -> nn.Module:
    """Quantises a linear map as transformers would under the settings `quantisation`, on the layer's own device."""
    from bitsandbytes import functional
    from bitsandbytes import nn as bits

    shape, weight = (layer.in_features, layer.out_features, layer.bias is not None), layer.weight.detach()
    made: Any
    with torch.device("meta"):
        if quantisation.load_in_8bit:
            made = bits.Linear8bitLt(*shape, has_fp16_weights=False, threshold=quantisation.llm_int8_threshold)
        else:
            kind, nested = quantisation.bnb_4bit_quant_type, quantisation.bnb_4bit_use_double_quant
            dtype = quantisation.bnb_4bit_compute_dtype
            made = bits.Linear4bit(*shape, dtype, compress_statistics=nested, quant_type=kind)
    if quantisation.load_in_8bit:
        codes, scales, _ = functional.int8_vectorwise_quant(weight.half())
        made.weight = bits.Int8Params(codes, requires_grad=False, CB=codes, SCB=scales)
    else:
        packed: Any = bits.Params4bit(weight, **made.weight.__dict__)
        made.weight = packed.to(weight.device)
    made.bias = layer.bias
    return made.requires_grad_(False)


def random_quantised(config: Any, quantisation: Any, dtype: torch.dtype, device: str) -> nn.Module:
    """Makes a base with random weights, each quantised before the next is made; always the same on a kind of device.

    Args:
        config: transformers' configuration of the architecture.
        quantisation: the settings.
        dtype: of what is not quantised, and of the weights before they are.
        device: where it is made.
    """
    from transformers import AutoModel

    with torch.device("meta"):
        base = AutoModel.from_config(config, dtype=dtype)
    with same_randomness(device):
        torch.manual_seed(0)
        for name in [name for name, layer in base.named_modules() if layer._parameters]:
            layer = base.get_submodule(name).to_empty(device=device)
            base._init_weights(layer)
            if type(layer) is nn.Linear:
                base.set_submodule(name, quantised(layer, quantisation))
    base.rotary_emb = type(base.rotary_emb)(config).to(device)
    base.is_loaded_in_8bit, base.is_loaded_in_4bit = quantisation.load_in_8bit, quantisation.load_in_4bit  # peft asks
    return base
