"""Computes one block of a LLaMA on a packed row as transformers does, in less memory and fewer passes.

transformers' model stays in charge of words, positions, the final norm and the order of blocks; each of its decoder
layers gets `read_block` as its forward. Exact: the test of every family compares with transformers' own.
A block is two functions with the attention between them: what stands before it, and what follows. Each computes its own
gradients, so that autograd sees three nodes a block and no tensor is copied to add two gradients.
Shapes: T rows, h hidden width, H heads, G key-value heads, D head width, B notes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from src.models.engine import elementwise
from src.models.engine.attention import Backend, attend
from src.models.engine.dropout import Drops
from src.models.engine.projections import AdapterRows, Adapters, Gradient, Maps

QKV, OUT, INNER, DOWN = range(4)
"""Sites in a block where adapters read."""

SITES = 4


@dataclass(frozen=True)
class AdapterSegment:
    """Holds consecutive rows of one cell: all, or the last of each note; None where the cell has the row alone."""

    rows: slice | None
    ends: slice | None
    adapters: Sequence[Sequence[Adapters | None]]
    """Of each layer, of each site."""
    gain: float = 1.0
    """Factor on the adapters' products, for entries that dropout leaves out."""
    gradient: Gradient | None = None
    handle: Tensor | None = None
    """What the blocks read for autograd in the place of the adapters' weights."""


@dataclass(frozen=True)
class Dropping:
    """Draws the dropout of a packed row: `Drops` of any site, and of the notes' last rows alone."""

    words: Sequence[tuple[int, int, int]]
    lengths: tuple[int, ...]
    keys: Tensor
    note: Tensor
    row: Tensor
    end_note: Tensor
    end_row: Tensor

    def at_site(self, site: int, ends: bool) -> Drops:
        """Returns what is dropped at a site."""
        if ends:
            spans = [(length - 1, 1) for length in self.lengths]
            return Drops(self.words, spans, self.keys, self.end_note, self.end_row, site)
        return Drops(self.words, [(0, length) for length in self.lengths], self.keys, self.note, self.row, site)


@dataclass(frozen=True)
class PackedForward:
    """Says how a packed row is read.

    Attributes:
        parts: whose rows are whose.
        lengths: tokens of each note.
        last: [B] rows of the notes' last tokens.
        starts: [B + 1] first row of each note, int32; and the same where each note is its last token alone.
        dropping: of the adapters' inputs; None for none.
        prune: the last block computes the last rows only.
        backend: which attention.
        fused: the module whose functions compute what is between the products.
        recompute: keep one hidden state a block, and compute the rest again in the backward pass.
    """

    parts: tuple[AdapterSegment, ...]
    lengths: tuple[int, ...]
    last: Tensor
    starts: tuple[Tensor, Tensor]
    dropping: Dropping | None
    prune: bool
    backend: Backend
    fused: Any = elementwise
    recompute: bool = False

    def reads(self, layer: int, site: int, ends: bool) -> list[AdapterRows]:
        """Says whose adapters read which rows at a site of a layer."""
        return [
            AdapterRows(part.ends if ends else part.rows, part.adapters[layer][site], part.gain, part.gradient)
            for part in self.parts
        ]

    @property
    def handles(self) -> list[Tensor]:
        """Lists what blocks read for autograd, of every cell."""
        return [part.handle for part in self.parts if part.handle is not None]

    def drops(self, layer: int, site: int, ends: bool, width: int, reads: Sequence[AdapterRows]) -> Any:
        """Draws what is dropped at a site, as `fused` takes it; None for nothing."""
        if self.dropping is None or all(part.adapters is None for part in reads):
            return None
        # A number for every site of the network, so that no two draw the same bits.
        return self.fused.draw(self.dropping.at_site(layer * SITES + site, ends), width)


class Block:
    """Holds the frozen parts of a decoder layer, by what they compute."""

    def __init__(self, layer: Any, number: int, is_last: bool) -> None:
        self.number, self.is_last = number, is_last
        attention, mlp = layer.self_attn, layer.mlp
        self.width, self.scale = int(attention.head_dim), float(attention.scaling)
        self.norms: tuple[Any, Any] = (layer.input_layernorm, layer.post_attention_layernorm)
        self.head_norms = [getattr(attention, name) for name in ("q_norm", "k_norm") if hasattr(attention, name)]
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        self.maps = (
            Maps(projections),
            Maps([attention.o_proj]),
            Maps([mlp.gate_proj, mlp.up_proj]),
            Maps([mlp.down_proj]),
        )
        query, key, value = self.maps[QKV].columns
        self.queries, self.keys_values = query, slice(key.start, value.stop)
        self.heads = (query.stop // self.width, (key.stop - key.start) // self.width)

    def check(self) -> None:
        """Looks whether the weights are still where they were."""
        for maps in self.maps:
            maps.check()


def install(model: Any) -> None:
    """Gives every decoder layer of a LLaMA relative this module's forward; safe to call twice."""
    for number, layer in enumerate(model.layers):
        layer.block = Block(layer, number, number == len(model.layers) - 1)
        layer.forward = MethodType(_forward, layer)


def join_weights(model: Any) -> None:
    """Lays the weights of maps that read the same input side by side, once they are where they stay."""
    for layer in model.layers:
        for maps in layer.block.maps:
            maps.join()


def _forward(
    layer: Any, hidden: Tensor, *, position_embeddings: tuple[Tensor, Tensor], reading: PackedForward, **kwargs: Any
) -> Tensor:
    if reading.recompute and not layer.block.is_last:
        # Dropout is a function of the note: no generator's state to keep. The last block is left out: the backward
        # pass begins with it, so that forgetting its activations would save nothing.
        options: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}
        again: Tensor = checkpoint(read_block, layer.block, hidden, position_embeddings, reading, **options)
        return again
    return read_block(layer.block, hidden, position_embeddings, reading)


def read_block(
    block: Block, hidden: Tensor, position_embeddings: tuple[Tensor, Tensor], reading: PackedForward
) -> Tensor:
    """Computes the block's output [1, T, h] for `hidden` [1, T, h]; [1, B, h] where the last block is pruned."""
    block.check()
    ends = block.is_last and reading.prune
    cos, sin = (part.squeeze(0) for part in position_embeddings)
    q, k, v, x = _Before.apply(hidden.squeeze(0), cos, sin, block, reading, *reading.handles)
    starts = (reading.starts[1] if ends else reading.starts[0], reading.starts[0])
    options: dict[str, Any] = {"scale": block.scale, "ends": ends, "backend": reading.backend, "starts": starts}
    seen = attend(q, k, v, reading.lengths, **options).flatten(1)
    x = _After.apply(seen, x, block, reading, *reading.handles)
    return x.unsqueeze(0)


@torch.no_grad()
def attention_of_ends(
    block: Block, hidden: Tensor, position_embeddings: tuple[Tensor, Tensor], reading: PackedForward
) -> list[Tensor]:
    """Computes how much each note's last token attends to each of its tokens in a pruned last block, [H, t] a note."""
    cos, sin = (part.squeeze(0) for part in position_embeddings)
    q, k, _, _ = _Before.apply(hidden.squeeze(0), cos, sin, block, reading, *reading.handles)
    keys = k.repeat_interleave(q.shape[1] // k.shape[1], 1).split(list(reading.lengths))
    return [
        torch.einsum("hd,thd->ht", query.float(), key.float()).mul(block.scale).softmax(-1)
        for query, key in zip(q, keys, strict=True)
    ]


class _Before(torch.autograd.Function):
    """Computes norm, queries, keys, values and their rotation; hands on the residual, whose gradient it takes up."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, cos: Tensor, sin: Tensor, block: Block, reading: PackedForward, *handles: Tensor
    ) -> Any:
        fused, maps, ends = reading.fused, block.maps[QKV], block.is_last and reading.prune
        norm, reads = block.norms[0], reading.reads(block.number, QKV, False)
        drops = reading.drops(block.number, QKV, False, x.shape[1], reads)
        normed, read, scale = fused.norm(x, norm.weight, norm.variance_epsilon, drops)
        width, (queries, keys) = block.width, block.heads
        if ends:
            # Notes are scored from their last tokens: only as keys and values do the others still matter.
            kv, inner = maps.forward(normed, read, _of(reads, block.keys_values), columns=block.keys_values)
            end_reads = _of(reading.reads(block.number, QKV, True), block.queries)
            end_read = read[reading.last]
            q, end_inner = maps.forward(normed[reading.last], end_read, end_reads, columns=block.queries)
            heads = [*_normed_heads(block, 0, q, fused), *_normed_heads(block, 1, kv, fused)]
            fused.rotate_(q, cos[reading.last], sin[reading.last], queries, width)
            fused.rotate_(kv, cos, sin, keys, width)
            residual = x[reading.last]
        else:
            # Head norms and rotation work in place, on views of the one product.
            merged, inner = maps.forward(normed, read, reads)
            q, kv = merged[:, block.queries], merged[:, block.keys_values]
            heads = [*_normed_heads(block, 0, q, fused), *_normed_heads(block, 1, kv, fused)]
            fused.rotate_(merged, cos, sin, queries + keys, width)
            end_read, end_inner, residual = None, [], x
        k, v = (part.view(len(x), keys, width) for part in kv.split(keys * width, 1))
        # A frozen map's gradient needs nothing of its input; what adapters read is kept for theirs.
        adapted = any(part.adapters for part in reads)
        kept = [x, cos, sin, scale, read if adapted else None, end_read, drops if torch.is_tensor(drops) else None]
        ctx.save_for_backward(*kept, *inner, *end_inner, *heads)
        ctx.block, ctx.reading, ctx.drops, ctx.handles = block, reading, drops, len(handles)
        if torch.is_tensor(drops):
            ctx.drops = None  # kept where recomputing can free it
        return q.view(len(q), queries, width), k, v, residual

    @staticmethod
    def backward(ctx: Any, dq: Tensor, dk: Tensor, dv: Tensor, onto: Tensor) -> Any:
        block, reading, fused = ctx.block, ctx.reading, ctx.reading.fused
        # `rest`: each part's inner product of all rows, then of the last rows (if pruned), then what head norms kept.
        x, cos, sin, scale, read, end_read, mask, *rest = ctx.saved_tensors
        count, ends = len(reading.parts), block.is_last and reading.prune
        maps, norm, drops = block.maps[QKV], block.norms[0], ctx.drops if mask is None else mask
        reads = reading.reads(block.number, QKV, False)
        options: dict[str, Any] = {"dropped": drops is not None, "through_x": ctx.needs_input_grad[0]}
        if not ends:
            merged = fused.rotate_back(dq, dk, dv, cos, sin)
            _heads_backward(block, merged, rest[count:], fused, (block.queries, block.keys_values))
            grad, through = maps.backward(merged, read, rest[:count], reads, **options)
        else:
            last, heads = reading.last, rest[2 * count :]
            # Queries and keys are of different rows here: each goes back alone, beside tensors of no heads.
            d_kv = fused.rotate_back(dk[:, :0], dk, dv, cos, sin)
            d_q = fused.rotate_back(dq, dq[:, :0], dq[:, :0], cos[last], sin[last])
            _heads_backward(block, d_q, heads[:2], fused, (slice(0, d_q.shape[1]), None))
            _heads_backward(block, d_kv, heads[2:], fused, (None, slice(0, d_kv.shape[1])))
            columns, end_reads = block.keys_values, reading.reads(block.number, QKV, True)
            grad, through = maps.backward(d_kv, read, rest[:count], _of(reads, columns), columns=columns, **options)
            columns = block.queries
            end_grad, end_through = maps.backward(
                d_q, end_read, rest[count : 2 * count], _of(end_reads, columns), columns=columns, **options
            )
            if grad is not None:
                grad = grad.index_add_(0, last, end_grad)
                if end_through is not None:
                    through = torch.zeros_like(grad) if through is None else through
                    through = through.index_add_(0, last, end_through)
                # The residual was of the last rows alone; the gradient of all others through it is zero.
                onto = torch.zeros_like(x).index_add_(0, last, onto)
        dx = None
        if grad is not None:
            dx = fused.norm_backward(grad, through, drops, x, norm.weight, scale, onto)
        # Handles get no gradient: it is in `Gradient` by now, and `_Handle` passes it to the weights.
        return (dx, None, None, None, None, *[None] * ctx.handles)


def _of(reads: Sequence[AdapterRows], columns: slice) -> list[AdapterRows]:
    return [
        AdapterRows(part.rows, part.adapters.of(columns) if part.adapters else None, part.gain, part.gradient)
        for part in reads
    ]


def _normed_heads(block: Block, which: int, merged: Tensor, fused: Any) -> list[Tensor | None]:
    """Norms each head of queries (0) or keys (1) in place, where the family does; what its gradient needs."""
    if not block.head_norms:
        return [None, None]
    norm, mine = block.head_norms[which], merged[:, : block.heads[which] * block.width]
    before = mine.reshape(-1, block.width).clone()
    normed, _, scale = fused.norm(before, norm.weight, norm.variance_epsilon, None)
    mine.copy_(normed.view(mine.shape))
    return [before, scale]


def _heads_backward(
    block: Block, merged: Tensor, kept: Sequence[Tensor | None], fused: Any, columns: Sequence[slice | None]
) -> None:
    """Takes the gradient of queries and keys back through their heads' norms, in place."""
    if not block.head_norms:
        return
    pairs = iter(kept)
    for which, part in enumerate(columns):
        if part is None:
            continue
        before, scale = next(pairs), next(pairs)
        mine = merged[:, part][:, : block.heads[which] * block.width]
        norm, grad = block.head_norms[which], mine.reshape(-1, block.width).contiguous()
        back = fused.norm_backward(grad, None, None, before, norm.weight, scale, None)
        mine.copy_(back.view(mine.shape))


class _After(torch.autograd.Function):
    """Computes the output's map with the residual, and the feed-forward part with the next."""

    @staticmethod
    def forward(ctx: Any, seen: Tensor, x: Tensor, block: Block, reading: PackedForward, *handles: Tensor) -> Tensor:
        fused, norm, ends = reading.fused, block.norms[1], block.is_last and reading.prune
        layer, maps = block.number, block.maps
        reads = {site: reading.reads(layer, site, ends) for site in (OUT, INNER, DOWN)}
        drops = {site: reading.drops(layer, site, ends, block.maps[site].inputs, reads[site]) for site in reads}
        read = fused.drop(seen, drops[OUT])
        middle, of_out = maps[OUT].forward(seen, read, reads[OUT], x)
        normed, inner_read, scale = fused.norm(middle, norm.weight, norm.variance_epsilon, drops[INNER])
        gate_up, of_inner = maps[INNER].forward(normed, inner_read, reads[INNER])
        gated = fused.gate(gate_up)
        down_read = fused.drop(gated, drops[DOWN])
        output, of_down = maps[DOWN].forward(gated, down_read, reads[DOWN], middle)
        adapted = {site: any(part.adapters for part in reads[site]) for site in reads}
        values = (read, inner_read, down_read)
        kept = [value if adapted[site] else None for site, value in zip(reads, values, strict=True)]
        # Masks are tensors on a CPU and saved as such, so that recomputing can free them; a kernel draws them again.
        masks = [mask if torch.is_tensor(mask) else None for mask in drops.values()]
        ctx.save_for_backward(middle, scale, gate_up, *kept, *masks, *of_out, *of_inner, *of_down)
        ctx.drops = [None if torch.is_tensor(drop) else drop for drop in drops.values()]
        ctx.block, ctx.reading, ctx.handles = block, reading, len(handles)
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        block, reading, fused = ctx.block, ctx.reading, ctx.reading.fused
        block.check()
        middle, scale, gate_up, read, inner_read, down_read, *rest = ctx.saved_tensors
        drops = [drop if mask is None else mask for drop, mask in zip(ctx.drops, rest[:3], strict=True)]
        count, norm, ends = len(reading.parts), block.norms[1], block.is_last and reading.prune
        of_out, of_inner, of_down = (rest[3 + turn * count : 3 + (turn + 1) * count] for turn in range(3))

        def back(site: int, grad: Tensor, read: Tensor, inner: Sequence[Tensor | None]) -> Any:
            reads = reading.reads(block.number, site, ends)
            dropped = drops[site - OUT] is not None
            return block.maps[site].backward(grad, read, inner, reads, dropped=dropped)

        d_gated, through = back(DOWN, grad, down_read, of_down)
        if through is not None:
            fused.add_kept_(d_gated, through, drops[DOWN - OUT])
        d_normed, through = back(INNER, fused.gate_backward(d_gated, gate_up), inner_read, of_inner)
        d_middle = fused.norm_backward(d_normed, through, drops[INNER - OUT], middle, norm.weight, scale, grad)
        d_seen, through = back(OUT, d_middle, read, of_out)
        if through is not None:
            fused.add_kept_(d_seen, through, drops[0])
        return (d_seen, d_middle, None, None, *[None] * ctx.handles)
