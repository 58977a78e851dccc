"""Frozen linear maps of one input, and rows that the low-rank adapters of several cells read.

A frozen map needs no gradient of its weights, so its input is not kept for them. Maps that read the same input are one
matrix product where their weights lie side by side; the adapters' products are added into its output, and all gradients
of the common input are summed into one tensor.
Shapes: T rows, h inputs, r rank of one map's adapter, R ranks of all maps together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from src.models.quantised import dense_weight, is_quantised

PIECE = 2**21
"""Weights that are widened at once, 8 MB of fp32: of 45 million bf16 weights and 64 rows on a Xeon without bf16
arithmetic a product takes 0.19 s, with all weights widened first 0.13 s, in these pieces 0.06 s."""


class Up(NamedTuple):
    """One adapted map of those that read the same input."""

    out: slice
    """Its columns of the output."""
    ranks: slice
    """Its rows of `Adapters.down`."""
    weight: Tensor
    """B [out, r] in the format of activations."""
    trained: tuple[Tensor, Tensor]
    """The parameters A and B themselves."""


@dataclass(frozen=True)
class Adapters:
    """One cell's adapters on the maps of one input.

    Attributes:
        down: [R, h] the maps' A one under the other, in the format of activations.
        ups: the adapted maps.
        gain: factor on the adapters' product.
    """

    down: Tensor
    ups: tuple[Up, ...]
    gain: float

    def of(self, columns: slice) -> "Adapters | None":
        """The adapters of the maps whose outputs are these columns, counted from there; None where there are none."""
        inside = [up for up in self.ups if columns.start <= up.out.start and up.out.stop <= columns.stop]
        if not inside:
            return None
        first = inside[0].ranks.start
        ups = [up._replace(out=_shift(up.out, columns.start), ranks=_shift(up.ranks, first)) for up in inside]
        return Adapters(self.down[first : inside[-1].ranks.stop], tuple(ups), self.gain)


def _shift(part: slice, by: int) -> slice:
    return slice(part.start - by, part.stop - by)


@dataclass(frozen=True)
class Read:
    """Consecutive rows that one cell's adapters read; `rows` is None for all of them."""

    rows: slice | None
    adapters: Adapters | None

    def __call__(self, whole: Tensor) -> Tensor:
        """Its rows of a tensor."""
        return whole if self.rows is None else whole[self.rows]


class Maps:
    """Frozen linear layers that read the same input."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self.layers: list[Any] = list(layers)
        ends = list(accumulate((layer.out_features for layer in self.layers), initial=0))
        self.columns = [slice(start, end) for start, end in pairwise(ends)]
        self.inputs, self.width = int(self.layers[0].in_features), ends[-1]
        self._joined: tuple[tuple[int, ...], Tensor] | None = None

    def join(self) -> None:
        """Moves the weights into one tensor, of which each layer's own is a view; where their formats allow it."""
        weights = [layer.weight for layer in self.layers]
        if len(weights) > 1 and all(type(layer) is nn.Linear for layer in self.layers):
            with torch.no_grad():
                joined = torch.cat([weight.detach() for weight in weights])
            for layer, columns in zip(self.layers, self.columns, strict=True):
                layer.weight.data = joined[columns]
            self._joined = self._addresses(), joined

    def _addresses(self) -> tuple[int, ...]:
        return tuple(layer.weight.data_ptr() for layer in self.layers)

    def pieces(self, dtype: torch.dtype, columns: slice) -> Iterator[tuple[slice, Tensor]]:
        """Weights [out, h] in `dtype` with the columns of the output that they give, counted from `columns`.

        All at once where they lie together in this format; else a layer at a time, or a part of one that is widened.
        Of a quantised layer nothing is kept but itself; drop a piece before the next, so that one is dense at a time.
        """
        if self._joined and self._joined[0] != self._addresses():
            self._joined = None  # the base was moved, converted or spread over processes
        if self._joined and self._joined[1].dtype == dtype:
            yield slice(0, columns.stop - columns.start), self._joined[1][columns]
            return
        for layer, own in zip(self.layers, self.columns, strict=True):
            if columns.start <= own.start and own.stop <= columns.stop:
                start = own.start - columns.start
                if is_quantised(layer):
                    yield slice(start, own.stop - columns.start), dense_weight(layer, dtype)
                    continue
                weight = layer.weight
                rows = len(weight) if weight.dtype == dtype else max(1, PIECE // weight.shape[1])
                for first in range(0, len(weight), rows):
                    piece = weight[first : first + rows].to(dtype)
                    yield slice(start + first, start + first + len(piece)), piece

    def forward(
        self, x: Tensor, read: Tensor, reads: Sequence[Read], onto: Tensor | None = None, columns: slice | None = None
    ) -> tuple[Tensor, list[Tensor | None]]:
        """The outputs [T, out] side by side, adapters added, and what the backward pass needs of each part's.

        Args:
            x: [T, h] what the maps read.
            read: [T, h] what the adapters read: `x`, or its entries that are not dropped.
            reads: whose rows are whose.
            onto: [T, out], added to the output.
            columns: of which maps; None for all.
        """
        columns = columns or slice(0, self.width)
        output = self._product(x, onto, columns)
        inner: list[Tensor | None] = []
        for part in reads:
            if part.adapters is None:
                inner.append(None)
                continue
            low, mine = part.adapters, part(output)
            # With beta=0 the first tensor is only a place for alpha to be applied in the product itself.
            u = torch.addmm(low.down[:1, :1], part(read), low.down.T, beta=0, alpha=low.gain)
            for up in low.ups:
                mine[:, up.out].addmm_(u[:, up.ranks], up.weight.T)
            inner.append(u)
        return output, inner

    def _product(self, x: Tensor, onto: Tensor | None, columns: slice) -> Tensor:
        output: Tensor | None = None
        for out, weight in self.pieces(x.dtype, columns):
            if len(weight) == columns.stop - columns.start:
                output = x @ weight.T if onto is None else torch.addmm(onto, x, weight.T)
            else:
                output = x.new_empty(len(x), columns.stop - columns.start) if output is None else output
                torch.mm(x, weight.T, out=output[:, out])
                if onto is not None:
                    output[:, out].add_(onto[:, out])
            del weight
        if output is None:
            raise ValueError(f"no map has the outputs {columns}")
        for layer, own in zip(self.layers, self.columns, strict=True):
            if layer.bias is not None and columns.start <= own.start and own.stop <= columns.stop:
                output[:, _shift(own, columns.start)].add_(layer.bias)
        return output

    def backward(
        self, grad: Tensor, read: Tensor | None, inner: Sequence[Tensor | None], reads: Sequence[Read], *,
        dropped: bool, through_x: bool = True, columns: slice | None = None,
    ) -> tuple[Tensor | None, Tensor | None, dict[int, Tensor]]:  # fmt: skip
        """Gradients of `x`, of what the adapters read where that differs from it, and of parameters by their `id`.

        Args:
            grad: [T, out] of the output.
            read: [T, h] what the adapters read.
            inner: what `forward` kept.
            reads: whose rows are whose.
            dropped: the adapters read `x` without its dropped entries.
            through_x: the gradient of `x` is wanted.
            columns: of which maps; None for all.
        """
        dx: Tensor | None = None
        if through_x:
            for out, weight in self.pieces(grad.dtype, columns or slice(0, self.width)):
                some = grad if len(weight) == grad.shape[1] else grad[:, out]
                dx = some @ weight if dx is None else dx.addmm_(some, weight)
                del weight
        through: Tensor | None = None
        trained: dict[int, Tensor] = {}
        for part, u in zip(reads, inner, strict=True):
            if part.adapters is None or u is None or read is None:
                continue
            low, back = part.adapters, torch.empty_like(u)
            trained |= _trained_grads(low, part(grad), part(read), u, back)
            if dx is None:
                continue
            if not dropped:
                part(dx).addmm_(back, low.down)
            elif part.rows is None:
                through = back @ low.down
            else:
                through = torch.zeros_like(dx) if through is None else through
                torch.mm(back, low.down, out=through[part.rows])
        return dx, through, trained


def _trained_grads(low: Adapters, grad: Tensor, read: Tensor, u: Tensor, back: Tensor) -> dict[int, Tensor]:
    """Gradients of one part's A and B, by their `id`; fills `back` [T, R] with that of `u`."""
    grads: dict[int, Tensor] = {}
    for up in low.ups:
        mine, (_, b) = grad[:, up.out], up.trained
        torch.addmm(up.weight[:1, :1], mine, up.weight, beta=0, alpha=low.gain, out=back[:, up.ranks])
        grads[id(b)] = _product_in(b.dtype, mine.T, u[:, up.ranks])
    down = _product_in(low.ups[0].trained[0].dtype, back.T, read)
    return grads | {id(up.trained[0]): down[up.ranks] for up in low.ups}


def _product_in(dtype: torch.dtype, left: Tensor, right: Tensor) -> Tensor:
    """left @ right in `dtype`, without rounding in between where the device can."""
    if left.dtype != dtype and left.is_cuda:
        return torch.mm(left, right, out_dtype=dtype)
    return (left @ right).to(dtype)
