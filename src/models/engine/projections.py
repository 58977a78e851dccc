"""Computes frozen linear maps of one input, and what the adapters of several cells add to their rows.

A frozen map needs no gradient of its weights, so its input is not kept for them. Maps that read the same input are one
matrix product where their weights lie side by side; the adapters' products are added into its output, and all gradients
of the common input are summed into one tensor.
Shapes: T rows, h inputs, r rank of one map's adapter, R ranks of all maps together.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from src.models.engine.quantised import dense_weight, is_quantised

PIECE = 2**21
"""Weights that are widened at once, 8 MB of fp32: of 45 million bf16 weights and 64 rows on a Xeon without bf16
arithmetic a product takes 0.19 s, with all weights widened first 0.13 s, in these pieces 0.06 s."""


class Up(NamedTuple):
    """Holds adapted maps of one width that lie side by side, of those that read the same input; n of them."""

    out: slice
    """Their columns of the output."""
    ranks: slice
    """Their rows of `Adapters.down`."""
    weight: Tensor
    """[n, out, r] each map's B, in the format of activations."""
    slot: int
    """Where their gradient begins in the cell's."""

    def add_(self, output: Tensor, u: Tensor) -> None:
        """Adds u [T, R] times B to the output [T, any], in place."""
        mine, low = output[:, self.out], u[:, self.ranks]
        # Maps of one width are one batched product: a GPU starts one kernel where it would start n small ones.
        if self.weight.shape[0] == 1:
            mine.addmm_(low, self.weight[0].T)
        else:
            self._apart(mine).baddbmm_(self._apart(low), self.weight.transpose(1, 2))

    def backward(self, grad: Tensor, u: Tensor, back: Tensor, gain: float, gradient: "Gradient | None") -> None:
        """Fills its part of `back` [T, R], the gradient of u, from that of the output, and of `gradient` with B's."""
        mine, low, back = grad[:, self.out], u[:, self.ranks], back[:, self.ranks]
        # With beta=0 torch does not read the first tensor, which matters: `back` is new memory and may hold nan.
        if self.weight.shape[0] == 1:
            torch.addmm(back[:1, :1], mine, self.weight[0], beta=0, alpha=gain, out=back)
        else:
            mine, low, back = self._apart(mine), self._apart(low), self._apart(back)
            torch.baddbmm(back[:1, :1, :1], mine, self.weight, beta=0, alpha=gain, out=back)
        if gradient is not None:
            gradient.write(self.slot, mine.mT, low)

    def _apart(self, columns: Tensor) -> Tensor:
        """Views each map's columns [T, n any] for themselves, [n, T, any]."""
        return columns.view(columns.shape[0], self.weight.shape[0], -1).transpose(0, 1)


class Gradient:
    """Collects the gradient of all adapters of a cell in one pass, in one tensor that the first write makes."""

    def __init__(self, size: int, device: torch.device, dtype: torch.dtype) -> None:
        self.size, self.device, self.dtype = size, device, dtype
        self.whole: Tensor | None = None

    def write(self, slot: int, left: Tensor, right: Tensor) -> None:
        """Writes left @ right from a slot on, without rounding in between where the device can."""
        if self.whole is None:
            # A pass writes every slot once, so that nothing has to be set to zero first.
            self.whole = torch.empty(self.size, device=self.device, dtype=self.dtype)
        shape = (*left.shape[:-1], right.shape[-1])
        out = self.whole[slot : slot + math.prod(shape)].view(shape)
        product: Any = torch.mm if len(shape) == 2 else torch.bmm
        if left.dtype == self.dtype:
            product(left, right, out=out)
        elif left.device.type in ("cuda", "meta"):
            # bf16 products are summed in fp32: their sums go into the gradient as they are, not rounded to bf16 first.
            product(left, right, out_dtype=self.dtype, out=out)
        else:
            out.copy_(product(left, right))


@dataclass(frozen=True)
class Adapters:
    """Holds one cell's adapters on the maps of one input.

    Attributes:
        down: [R, h] the maps' A one under the other, in the format of activations.
        ups: the adapted maps.
        slot: where the gradient of `down` begins in the cell's.
        scaling: factor on the adapters' product.
    """

    down: Tensor
    ups: tuple[Up, ...]
    slot: int
    scaling: float

    @property
    def corner(self) -> Tensor:
        """Returns any tensor that a product can be told not to add."""
        return self.down[:1, :1]

    def of(self, columns: slice) -> "Adapters | None":
        """Picks the adapters of the maps whose outputs are these columns, counted from there; None without any."""
        # Maps stand in one order in outputs, in `down` and in the gradient: a range of maps is a range in each.
        ups = []
        for up in self.ups:
            outputs, rank = up.weight.shape[1:]
            start = max(0, columns.start - up.out.start) // outputs
            stop = (min(up.out.stop, columns.stop) - up.out.start) // outputs
            if start < stop:
                out = slice(up.out.start + start * outputs, up.out.start + stop * outputs)
                ranks = slice(up.ranks.start + start * rank, up.ranks.start + stop * rank)
                slot = up.slot + start * outputs * rank
                ups.append(Up(_shift(out, columns.start), ranks, up.weight[start:stop], slot))
        if not ups:
            return None
        first, last = ups[0].ranks.start, ups[-1].ranks.stop
        ups = [up._replace(ranks=_shift(up.ranks, first)) for up in ups]
        slot = self.slot + first * self.down.shape[1]
        return Adapters(self.down[first:last], tuple(ups), slot, self.scaling)


def _shift(part: slice, by: int) -> slice:
    return slice(part.start - by, part.stop - by)


@dataclass(frozen=True)
class AdapterRows:
    """Says which consecutive rows one cell's adapters read; `rows` is None for all of them.

    Attributes:
        rows: which.
        adapters: None where the cell adapts none of the maps.
        gain: factor on the adapters' product, for entries that dropout leaves out.
        gradient: where the adapters' gradient goes; None where none is wanted.
    """

    rows: slice | None
    adapters: Adapters | None
    gain: float = 1.0
    gradient: Gradient | None = None

    def __call__(self, whole: Tensor) -> Tensor:
        """Picks its rows of a tensor."""
        return whole if self.rows is None else whole[self.rows]


class Maps:
    """Holds frozen linear layers that read the same input, and multiplies by them."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self.layers: list[Any] = list(layers)
        ends = list(accumulate((layer.out_features for layer in self.layers), initial=0))
        self.columns = [slice(start, end) for start, end in pairwise(ends)]
        self.inputs, self.width = int(self.layers[0].in_features), ends[-1]
        # The dictionaries themselves: they show a weight that was replaced, and cost no nn.Module.__getattr__ a pass.
        self._weights: list[Any] = [layer._parameters for layer in layers]
        self._joined: tuple[list[int], Tensor] | None = None

    def join(self) -> None:
        """Moves the weights into one tensor, of which each layer's own is a view; where their formats allow it."""
        # bitsandbytes' layers are subclasses of Linear whose weights have a form of their own.
        if all(type(layer) is nn.Linear for layer in self.layers):
            with torch.no_grad():
                weights = [layer.weight.detach() for layer in self.layers]
                joined = weights[0] if len(weights) == 1 else torch.cat(weights)
            for layer, columns in zip(self.layers, self.columns, strict=True):
                layer.weight.data = joined[columns]
            self._joined = self._addresses(), joined

    def check(self) -> None:
        """Forgets the one tensor where the base was moved, converted or spread over processes since."""
        if self._joined and self._joined[0] != self._addresses():
            self._joined = None

    def _addresses(self) -> list[int]:
        return [weights["weight"].data_ptr() for weights in self._weights]

    def pieces(self, dtype: torch.dtype, columns: slice) -> Iterable[tuple[slice, Tensor]]:
        """Returns weights [out, h] in `dtype` with the columns of the output that they give, counted from `columns`.

        All at once where they lie together in this format; else a layer at a time, or a part of one that is widened.
        Of a quantised layer nothing is kept but itself; drop a piece before the next, so that one is dense at a time.
        """
        if self._joined and self._joined[1].dtype == dtype:
            width, joined = columns.stop - columns.start, self._joined[1]
            return [(slice(0, width), joined if width == self.width else joined[columns])]
        return self._apart(dtype, columns)

    def _apart(self, dtype: torch.dtype, columns: slice) -> Iterator[tuple[slice, Tensor]]:
        for layer, own in zip(self.layers, self.columns, strict=True):
            if columns.start <= own.start and own.stop <= columns.stop:
                start = own.start - columns.start
                if is_quantised(layer):
                    yield slice(start, own.stop - columns.start), dense_weight(layer, dtype)
                    continue
                weight = layer.weight
                rows = weight.shape[0] if weight.dtype == dtype else max(1, PIECE // weight.shape[1])
                for first in range(0, weight.shape[0], rows):
                    piece = weight[first : first + rows].to(dtype)
                    yield slice(start + first, start + first + piece.shape[0]), piece

    def forward(
        self,
        x: Tensor,
        read: Tensor,
        reads: Sequence[AdapterRows],
        onto: Tensor | None = None,
        columns: slice | None = None,
    ) -> tuple[Tensor, list[Tensor | None]]:
        """Computes the outputs [T, out] side by side, adapters added, and what the backward pass needs of each part's.

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
            u = torch.addmm(low.corner, part(read), low.down.T, beta=0, alpha=low.scaling * part.gain)
            for up in low.ups:
                up.add_(mine, u)
            inner.append(u)
        return output, inner

    def _product(self, x: Tensor, onto: Tensor | None, columns: slice) -> Tensor:
        output: Tensor | None = None
        for out, weight in self.pieces(x.dtype, columns):
            if weight.shape[0] == columns.stop - columns.start:
                output = x @ weight.T if onto is None else torch.addmm(onto, x, weight.T)
            else:
                output = x.new_empty(len(x), columns.stop - columns.start) if output is None else output
                torch.mm(x, weight.T, out=output[:, out])
                if onto is not None:
                    output[:, out].add_(onto[:, out])
            del weight  # or this dense weight would be held while the next one is widened
        if output is None:
            raise ValueError(f"no map has the outputs {columns}")
        for layer, own in zip(self.layers, self.columns, strict=True):
            if layer.bias is not None and columns.start <= own.start and own.stop <= columns.stop:
                output[:, _shift(own, columns.start)].add_(layer.bias)
        return output

    def backward(
        self, grad: Tensor, read: Tensor | None, inner: Sequence[Tensor | None], reads: Sequence[AdapterRows], *,
        dropped: bool, through_x: bool = True, columns: slice | None = None,
    ) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
        """Computes the gradient of `x`, and of what the adapters read where that differs; writes the adapters' own.

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
                some = grad if weight.shape[0] == grad.shape[1] else grad[:, out]
                # Added in place: no map that reads this input needs a tensor for its part of the gradient.
                dx = some @ weight if dx is None else dx.addmm_(some, weight)
                del weight
        through: Tensor | None = None
        for part, u in zip(reads, inner, strict=True):
            if part.adapters is None or u is None or read is None:
                continue
            low, back = part.adapters, torch.empty_like(u)
            for up in low.ups:
                up.backward(part(grad), u, back, low.scaling * part.gain, part.gradient)
            if part.gradient is not None:
                part.gradient.write(low.slot, back.T, part(read))
            if dx is None:
                continue
            # Without dropout the adapters read `x` itself; with it their gradient must pass the mask first.
            if not dropped:
                part(dx).addmm_(back, low.down)
            elif part.rows is None:
                through = back @ low.down
            else:
                # Zeros, as rows of cells without adapters here are written by nobody.
                through = torch.zeros_like(dx) if through is None else through
                torch.mm(back, low.down, out=through[part.rows])
        return dx, through
