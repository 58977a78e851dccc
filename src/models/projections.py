"""Frozen linear maps with low-rank adapters, several of one input at once, and rows that belong to several cells.

A frozen map needs no gradient of its weights, so its input is not kept for them; the adapter's product is added into
the base's own output, and all gradients of the common input are summed into one place.
Shapes: T rows, h inputs, r rank.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from src.models.noise import Noise

PIECE = 2**21
"""Weights that are widened at once, 8 MB of fp32: of 45 million bf16 weights and 64 rows on a Xeon without bf16
arithmetic a product takes 0.19 s, with all weights widened first 0.13 s, in these pieces 0.06 s."""


@dataclass(frozen=True)
class Part:
    """Consecutive rows that one cell's adapters read.

    Attributes:
        adapter: name of the cell's adapters.
        lengths: rows of each note.
        noise: dropout of the adapters' inputs; None for none.
    """

    adapter: str
    lengths: tuple[int, ...]
    noise: Noise | None = None

    @property
    def rows(self) -> int:
        """Rows of all its notes."""
        return sum(self.lengths)


def project(
    x: Tensor, maps: Sequence[nn.Module], parts: Sequence[Part], site: tuple[int, ...], onto: Tensor | None = None
) -> tuple[Tensor, ...]:
    """The output [T, out] of each linear map for `x` [T, h], adapters added.

    Args:
        x: rows of all parts, in their order.
        maps: linear layers of the base, with or without adapters of peft around them.
        parts: whose rows are whose.
        site: where in the network, for dropout.
        onto: [T, out], added to the output of a single map.
    """
    adapted = any(hasattr(each, "lora_A") for each in maps)
    drop = _dropped(x, parts, site) if adapted else None
    bases = [_base(each) for each in maps]
    adapters = [_adapter(each, part, drop is not None) for part in parts for each in maps]
    if all(type(base) is nn.Linear for base in bases):
        weights = [weight for base in bases for weight in (base.weight, base.bias)]
        low = [weight for down, up, _ in adapters for weight in (down, up)]
        plan = _Plan(len(bases), tuple(part.rows for part in parts), tuple(gain for *_, gain in adapters))
        return _Frozen.apply(x, drop, onto, plan, *weights, *low)
    outputs = [base(x) for base in bases]
    if adapted:
        outputs = _with_adapters(x, outputs, drop, parts, adapters)
    return tuple(outputs) if onto is None else (onto + outputs[0],)


def _base(each: nn.Module) -> nn.Module:
    return each.base_layer if hasattr(each, "base_layer") else each  # type: ignore[return-value]


def _adapter(each: Any, part: Part, dropping: bool) -> tuple[Tensor | None, Tensor | None, float]:
    if not hasattr(each, "lora_A") or part.adapter not in each.lora_A:
        return None, None, 0.0
    gain = part.noise.gain if dropping and part.noise else 1.0
    down, up = each.lora_A[part.adapter].weight, each.lora_B[part.adapter].weight
    return down, up, float(each.scaling[part.adapter]) * gain


def _dropped(x: Tensor, parts: Sequence[Part], site: tuple[int, ...]) -> Tensor | None:
    width, device = x.shape[1], x.device
    drawn = [part.noise.dropped(part.lengths, width, site, device) if part.noise else None for part in parts]
    if all(each is None for each in drawn):
        return None
    none = [torch.zeros(part.rows, width, dtype=torch.bool, device=device) for part in parts]
    whole = [blank if each is None else each for each, blank in zip(drawn, none, strict=True)]
    return whole[0] if len(whole) == 1 else torch.cat(whole)


def _with_adapters(
    x: Tensor, outputs: list[Tensor], drop: Tensor | None, parts: Sequence[Part], adapters: Sequence[Any]
) -> list[Tensor]:
    """The same sum by plain products, for quantised bases, whose layers are functions of their own."""
    read = x if drop is None else x.masked_fill(drop, 0)
    pieces = read.split([part.rows for part in parts])
    added = []
    for place, output in enumerate(outputs):
        deltas = []
        for piece, (down, up, gain) in zip(pieces, adapters[place :: len(outputs)], strict=True):
            if down is None:
                deltas.append(output.new_zeros(len(piece), output.shape[1]))
            else:
                deltas.append(linear(linear(piece, down.to(x.dtype)), up.to(x.dtype)) * gain)
        added.append(output + torch.cat(deltas))
    return added


@dataclass(frozen=True)
class _Plan:
    """Number of maps, rows of each part, and the adapters' factors, a part's after the other's."""

    maps: int
    rows: tuple[int, ...]
    gains: tuple[float, ...]

    def parts(self, low: Sequence[Tensor | None]) -> Any:
        """(rows, down-projections, up-projections, factors) of each part."""
        start = 0
        for place, count in enumerate(self.rows):
            mine = slice(place * self.maps, (place + 1) * self.maps)
            pair = low[2 * mine.start : 2 * mine.stop]
            yield slice(start, start + count), pair[::2], pair[1::2], self.gains[mine]
            start += count


class _Frozen(torch.autograd.Function):
    """y_i = x W_i' + b_i + gain_i (drop(x) A_i') B_i', for several i."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, drop: Tensor | None, onto: Tensor | None, plan: _Plan, *tensors: Any) -> Any:
        maps, low = tensors[: 2 * plan.maps], tensors[2 * plan.maps :]
        read = x if drop is None else torch.where(drop, 0, x)
        outputs = [_output(x, weight, bias, onto) for weight, bias in zip(maps[::2], maps[1::2], strict=True)]
        inner: list[Tensor | None] = []
        for rows, downs, ups, gains in plan.parts(low):
            known = [down.to(x.dtype) for down in downs if down is not None]
            u = read[rows] @ torch.cat(known).T if known else None
            at = 0
            for output, down, up, gain in zip(outputs, downs, ups, gains, strict=True):
                if down is not None and u is not None:
                    output[rows].addmm_(u[:, at : at + len(down)], up.to(x.dtype).T, alpha=gain)
                    at += len(down)
            inner.append(u)
        kept = read if any(down is not None for down in low) else None
        ctx.plan, ctx.onto, ctx.count = plan, onto is not None, len(plan.rows)
        ctx.save_for_backward(kept, drop, *maps[::2], *inner, *low)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        plan: _Plan = ctx.plan
        read, drop, *rest = ctx.saved_tensors
        weights, inner, low = rest[: plan.maps], rest[plan.maps : plan.maps + ctx.count], rest[plan.maps + ctx.count :]
        dx = _through(grads, weights) if ctx.needs_input_grad[0] else None
        low_grads: list[Tensor | None] = []
        for (rows, downs, ups, gains), u in zip(plan.parts(low), inner, strict=True):
            low_grads += _adapter_grads(grads, rows, read, u, (downs, ups, gains), dx, drop)
        onto = grads[0] if ctx.onto else None
        return (dx, None, onto, None, *[None] * (2 * plan.maps), *low_grads)


def _output(x: Tensor, weight: Tensor, bias: Tensor | None, onto: Tensor | None) -> Tensor:
    if weight.dtype != x.dtype:
        output = x.new_empty(len(x), len(weight))
        for rows, piece in _pieces(weight, x.dtype):
            torch.mm(x, piece.T, out=output[:, rows])
        output = output if onto is None else output.add_(onto)
    elif onto is None:
        return linear(x, weight, bias)
    else:
        output = torch.addmm(onto, x, weight.T)
    return output if bias is None else output.add_(bias)


def _pieces(weight: Tensor, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    """Rows of a weight in `dtype`, a few at a time; all at once where they have it already."""
    rows = len(weight) if weight.dtype == dtype else max(1, PIECE // weight.shape[1])
    for start in range(0, len(weight), rows):
        yield slice(start, start + rows), weight[start : start + rows].to(dtype)


def _through(grads: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """The gradient of the common input through the frozen maps."""
    dx: Tensor | None = None
    for grad, weight in zip(grads, weights, strict=True):
        for rows, piece in _pieces(weight, grad.dtype):
            dx = grad[:, rows] @ piece if dx is None else dx.addmm_(grad[:, rows], piece)
    return dx  # type: ignore[return-value]


def _adapter_grads(
    grads: Sequence[Tensor], rows: slice, read: Tensor, u: Tensor | None, low: Any, dx: Tensor | None, drop: Any
) -> list[Tensor | None]:
    """Gradients of one part's adapters, by map; adds theirs of the common input to `dx`."""
    found: list[Tensor | None] = []
    backs, known, at = [], [], 0
    for grad, down, up, gain in zip(grads, *low, strict=True):
        if down is None or u is None:
            found += [None, None]
            continue
        mine = grad[rows]
        back = (mine @ up.to(mine.dtype)).mul_(gain)
        found += [(back.T @ read[rows]).to(down.dtype), (mine.T @ u[:, at : at + len(down)]).mul_(gain).to(up.dtype)]
        backs.append(back)
        known.append(down.to(mine.dtype))
        at += len(down)
    if dx is not None and known:
        back, down = torch.cat(backs, 1), torch.cat(known)
        if drop is None:
            dx[rows].addmm_(back, down)
        else:
            dx[rows].addcmul_(back @ down, drop[rows].logical_not().to(dx.dtype))
    return found
