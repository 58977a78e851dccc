"""One block of a LLaMA on a packed row: what transformers computes, kept in less memory and fewer passes.

transformers' model stays in charge of words, positions, the final norm and the order of blocks; each of its decoder
layers gets `read_block` as its forward. Exact: the test of every family compares with transformers' own.
Shapes: T rows, h hidden width, H heads, D head width, B notes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from src.models.attention import Backend, attend
from src.models.projections import Part, project


@dataclass(frozen=True)
class Reading:
    """How a packed row is read.

    Attributes:
        parts: whose rows are whose, and the notes in them.
        last: [B] rows of the notes' last tokens.
        prune: the last block computes these rows only.
        backend: which attention.
        recompute: keep one hidden state a block, and compute the rest again in the backward pass.
    """

    parts: tuple[Part, ...]
    last: Tensor
    prune: bool
    backend: Backend
    recompute: bool = False

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each note of the row."""
        return tuple(length for part in self.parts for length in part.lengths)

    @property
    def ends(self) -> tuple[Part, ...]:
        """The parts when only last tokens are left: one row a note."""
        return tuple(Part(part.adapter, (1,) * len(part.lengths), part.noise) for part in self.parts)


QKV, OUT, INNER, DOWN = range(4)
"""Places in a block where adapters read, for dropout."""

PIECE = 2**17
"""Entries of a tensor that a CPU works through at a time: 0.5 MB in fp32."""


def install(model: Any) -> None:
    """Gives every decoder layer of a LLaMA relative this module's forward; safe to call twice."""
    for place, layer in enumerate(model.layers):
        layer.place, layer.is_last = place, place == len(model.layers) - 1
        layer.forward = MethodType(_forward, layer)


def _forward(
    layer: Any, hidden: Tensor, *, position_embeddings: tuple[Tensor, Tensor], reading: Reading, **kwargs: Any
) -> Tensor:
    if reading.recompute and not layer.is_last:
        # Dropout is a function of the note: no generator's state to keep.
        how: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}
        again: Tensor = checkpoint(read_block, layer, hidden, position_embeddings, reading, **how)
        return again
    return read_block(layer, hidden, position_embeddings, reading)


def read_block(layer: Any, hidden: Tensor, position_embeddings: tuple[Tensor, Tensor], reading: Reading) -> Tensor:
    """The block's output [1, T, h] for `hidden` [1, T, h]; [1, B, h] where the last block is pruned."""
    x, at, attention, mlp = hidden[0], layer.place, layer.self_attn, layer.mlp
    normed = rms_norm(layer.input_layernorm, x)
    if pruned := layer.is_last and reading.prune:
        k, v = project(normed, [attention.k_proj, attention.v_proj], reading.parts, (at, QKV))
        x, parts = x[reading.last], reading.ends
        (q,) = project(normed[reading.last], [attention.q_proj], parts, (at, QKV))
    else:
        parts = reading.parts
        q, k, v = project(normed, [attention.q_proj, attention.k_proj, attention.v_proj], parts, (at, QKV))
    cos, sin = (each[0] for each in position_embeddings)
    at_ends = (cos[reading.last], sin[reading.last]) if pruned else (cos, sin)
    q, k = _turned(attention, "q_norm", q, *at_ends), _turned(attention, "k_norm", k, cos, sin)
    v = v.view(len(v), -1, attention.head_dim)
    seen = attend(q, k, v, reading.lengths, scale=attention.scaling, ends=pruned, backend=reading.backend)
    (x,) = project(seen.flatten(1), [attention.o_proj], parts, (at, OUT), onto=x)
    normed = rms_norm(layer.post_attention_layernorm, x)
    gate, up = project(normed, [mlp.gate_proj, mlp.up_proj], parts, (at, INNER))
    (x,) = project(_Gated.apply(gate, up), [mlp.down_proj], parts, (at, DOWN), onto=x)
    return x[None]


def _turned(attention: Any, norm: str, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Queries or keys [T, H, D] turned by their positions, normed before where the family does so."""
    x = x.view(len(x), -1, attention.head_dim)
    if hasattr(attention, norm):
        x = rms_norm(getattr(attention, norm), x)
    return _Rotary.apply(x, cos, sin)


def rms_norm(norm: nn.Module, x: Tensor) -> Tensor:
    """transformers' RMSNorm with frozen weights: computed in fp32, whatever the format of `x`."""
    return _Normed.apply(x, norm.weight, norm.variance_epsilon)


class _Normed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        wide = x.float()
        scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)
        ctx.save_for_backward(x, weight, scale)
        normed = wide * scale
        return normed.mul_(weight) if normed.dtype == x.dtype else weight * normed.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, weight, scale = ctx.saved_tensors
        dx = torch.empty_like(x)
        for out, of_x, of_grad, of_scale in _pieces(dx, x, grad, scale):
            wide, back = of_x.float(), (of_grad * weight).float()
            # The order of transformers' own gradient: computed in fp32 whatever the format, and its rounding shows.
            product = back * wide
            slope = product.sum(-1, keepdim=True) * -0.5 * of_scale.pow(3) / x.shape[-1]
            out.copy_(back.mul_(of_scale).add_(torch.mul(wide, slope.mul_(2), out=product)))
        return dx, None, None


def _pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The tensors' rows a few at a time on a CPU, so that what is computed of them stays in its cache."""
    rows = max(1, PIECE // tensors[0][0].numel()) if tensors[0].device.type == "cpu" else len(tensors[0])
    return zip(*(each.split(rows) for each in tensors), strict=True)


class _Rotary(torch.autograd.Function):
    """Rotary positions (Su et al. 2021) in transformers' order of halves."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        half = x.shape[-1] // 2
        cos, sin = cos[:, None, :half], sin[:, None, :half]
        ctx.save_for_backward(cos, sin)
        return _rotated(x, cos, sin, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        cos, sin = ctx.saved_tensors
        return _rotated(grad, cos, sin, -1), None, None


def _rotated(x: Tensor, cos: Tensor, sin: Tensor, way: int) -> Tensor:
    turned = torch.empty_like(x)
    (first, second), (one, two) = x.chunk(2, -1), turned.chunk(2, -1)
    torch.mul(first, cos, out=one).addcmul_(second, sin, value=-way)
    torch.mul(second, cos, out=two).addcmul_(first, sin, value=way)
    return turned


class _Gated(torch.autograd.Function):
    """silu(gate) * up, with silu computed again in the backward pass instead of kept."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        gated = torch.empty_like(gate)
        for out, of_gate, of_up in _pieces(gated, gate, up):
            torch.ops.aten.silu.out(of_gate, out=out).mul_(of_up)
        return gated

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        gate, up = ctx.saved_tensors
        d_gate, d_up = torch.empty_like(gate), torch.empty_like(up)
        for of_gate, of_up, back, to_gate, to_up in _pieces(gate, up, grad, d_gate, d_up):
            torch.mul(back, of_up, out=to_gate)
            torch.ops.aten.silu_backward.grad_input(to_gate, of_gate, grad_input=to_gate)
            torch.ops.aten.silu.out(of_gate, out=to_up).mul_(back)
        return d_gate, d_up
