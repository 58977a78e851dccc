"""Computes what a block of a LLaMA does besides matrix products and attention, by torch's own operators.

`src.models.engine.kernels` has the same functions as one kernel each, for CUDA. `drops` is here the mask that `draw`
gives: a CPU keeps it for the backward pass, where a kernel draws it again.
Shapes: T rows, h width of a row, H query heads, G key-value heads, D head width, I inner width.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from src.models.engine.dropout import Drops

PIECE = 2**17
"""Entries of a tensor that a CPU works through at a time: 0.5 MB in fp32."""


def draw(drops: Drops | None, width: int) -> Tensor | None:
    """Draws which entries are dropped, [T, width]; None for none."""
    return None if drops is None else drops.mask(width)


def norm(x: Tensor, weight: Tensor, epsilon: float, drops: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Computes transformers' RMSNorm in fp32, whatever the format of `x`.

    Returns:
        The normed rows, the same with dropped entries zero, and the scale [T, 1] in fp32.
    """
    wide = x.float()
    scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)
    normed = wide * scale
    normed = normed.mul_(weight) if normed.dtype == x.dtype else weight * normed.to(x.dtype)
    return normed, drop(normed, drops), scale


def norm_backward(
    grad: Tensor, through: Tensor | None, drops: Tensor | None, x: Tensor, weight: Tensor, scale: Tensor,
    onto: Tensor | None,
) -> Tensor:  # fmt: skip
    """Computes the gradient of `x`.

    Args:
        grad: [T, h] of the normed rows.
        through: [T, h] of the rows with dropped entries zero; None for none. `grad` takes it up.
        drops: which entries were dropped.
        x: what was normed.
        weight: frozen.
        scale: what `norm` gave.
        onto: [T, h] added to the gradient: that of the residual.
    """
    if through is not None:
        add_kept_(grad, through, drops)
    dx = torch.empty_like(x)
    for out, rows, back, by in _pieces(dx, x, grad, scale):
        wide, back = rows.float(), (back * weight).float()
        # The order of transformers' own gradient: computed in fp32 whatever the format, and its rounding shows.
        product = back * wide
        slope = product.sum(-1, keepdim=True) * -0.5 * by.pow(3) / x.shape[-1]
        out.copy_(back.mul_(by).add_(torch.mul(wide, slope.mul_(2), out=product)))
    return dx if onto is None else dx.add_(onto)


def drop(x: Tensor, drops: Tensor | None) -> Tensor:
    """Returns `x` with dropped entries zero; `x` itself where none is."""
    return x if drops is None else torch.where(drops, 0, x)


def add_kept_(out: Tensor, through: Tensor, drops: Tensor | None) -> Tensor:
    """Adds to `out` the entries of `through` that were not dropped, in place."""
    return out.add_(through) if drops is None else out.addcmul_(through, drops.logical_not().to(out.dtype))


def rotate_(merged: Tensor, cos: Tensor, sin: Tensor, heads: int, width: int) -> None:
    """Turns heads by rotary positions (Su et al. 2021) in transformers' order of halves, in place.

    Args:
        merged: [T, any] whose first `heads` times `width` columns are turned.
        cos: [T, D] of which both halves are equal, as `sin`.
        sin: [T, D].
        heads: of queries and keys together.
        width: D.
    """
    _turn(merged[:, : heads * width].view(len(merged), heads, width), cos, sin, 1)


def rotate_back(dq: Tensor, dk: Tensor, dv: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns back gradients of queries [T, H, D], keys and values [T, G, D], and joins them to [T, (H + 2 G) D]."""
    merged = torch.cat([dq, dk, dv], 1)
    rotate_(merged.view(len(dq), -1), cos, -sin, dq.shape[1] + dk.shape[1], dq.shape[2])
    return merged.view(len(dq), -1)


def _turn(x: Tensor, cos: Tensor, sin: Tensor, way: int) -> None:
    half = x.shape[-1] // 2
    cos, sin = cos[:, None, :half], sin[:, None, :half]
    lower, upper = x.chunk(2, -1)
    first = lower.clone()
    lower.mul_(cos).addcmul_(upper, sin, value=-way)
    upper.mul_(cos).addcmul_(first, sin, value=way)


def gate(gate_up: Tensor) -> Tensor:
    """Computes silu(gate) * up of both side by side, [T, 2 I] to [T, I]."""
    half = gate_up.shape[1] // 2
    gated = gate_up.new_empty(len(gate_up), half)
    for out, both in _pieces(gated, gate_up):
        torch.ops.aten.silu.out(both[:, :half], out=out).mul_(both[:, half:])
    return gated


def gate_backward(grad: Tensor, gate_up: Tensor) -> Tensor:
    """Computes the gradient of `gate_up` [T, 2 I] from that of `gate`'s result; silu is computed again, not kept."""
    half = gate_up.shape[1] // 2
    both_grads = torch.empty_like(gate_up)
    for out, both, back in _pieces(both_grads, gate_up, grad):
        to_gate, to_up = out[:, :half], out[:, half:]
        torch.mul(back, both[:, half:], out=to_gate)
        torch.ops.aten.silu_backward.grad_input(to_gate, both[:, :half], grad_input=to_gate)
        torch.ops.aten.silu.out(both[:, :half], out=to_up).mul_(back)
    return both_grads


def _pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yields the tensors' rows a few at a time on a CPU, so that what is computed of them stays in its cache."""
    rows = max(1, PIECE // tensors[0].shape[1]) if tensors[0].device.type == "cpu" else len(tensors[0])
    return zip(*(tensor.split(rows) for tensor in tensors), strict=True)
