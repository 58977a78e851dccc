"""Computes causal attention of one note by matrix products over blocks of queries, for CPUs.

torch's flash attention for CPUs works through 32 to 64 queries at a time where a note is shorter than 768 tokens, and
reaches a third of a core's rate of matrix products. Here a block of queries meets all keys that it may see in one
product, the rest of the triangle is never computed, and no score outlives its block: the backward pass computes them
again.
Shapes: n tokens, H heads, D head width.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

QUERIES = 64
SCORES = 2**18
"""Scores held at once in each of two buffers: 1 MB in fp32, so that both stay in a core's second-level cache."""
SHORTEST, LONGEST = 320, 767
"""Tokens of the notes for which this is faster than torch's own, which takes 256 queries at a time from 768 on."""

# These write into the two buffers; torch's public functions would make a new tensor of scores for every block.
softmax = torch.ops.aten._softmax.out
softmax_gradient = torch.ops.aten._softmax_backward_data.out


def pays(q: Tensor, k: Tensor) -> bool:
    """Says whether this is the fastest attention for queries and keys [n, H, D] of one note."""
    exact = q.device.type == "cpu" and q.dtype in (torch.float32, torch.float64)
    return exact and q.shape == k.shape and SHORTEST <= len(q) <= LONGEST


def attend_blockwise(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Computes causal attention [n, H, D] of queries, keys and values [n, H, D], products multiplied by `scale`."""
    output: Tensor = _Blockwise.apply(q, k, v, scale)
    return output


class _Blockwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(q, k, v)
        ctx.scale = scale
        seen = torch.empty_like(q)
        by_head = [tensor.transpose(0, 1) for tensor in (q, k, v, seen)]
        for rows, until, (query, key, value, out), (score, chance) in _blocks(by_head):
            _chances(query[:, rows], key[:, :until], rows.start, scale, score, chance)
            torch.bmm(chance, value[:, :until], out=out[:, rows])
        return seen

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        q, k, v = ctx.saved_tensors
        scale = ctx.scale
        # A query is in one block only; keys and values gather gradients from every block that sees them.
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        by_head = [tensor.transpose(0, 1) for tensor in (q, k, v, grad, dq, dk, dv)]
        for rows, until, (query, key, value, back, d_query, d_key, d_value), (score, chance) in _blocks(by_head):
            query, key, back = query[:, rows], key[:, :until], back[:, rows]
            _chances(query, key, rows.start, scale, score, chance)
            d_value[:, :until].baddbmm_(chance.mT, back)
            torch.bmm(back, value[:, :until].mT, out=score)
            softmax_gradient(score, chance, -1, score.dtype, grad_input=score)
            torch.baddbmm(d_query[:, rows], score, key, beta=0, alpha=scale, out=d_query[:, rows])
            d_key[:, :until].baddbmm_(score.mT, query, alpha=scale)
        return dq, dk, dv, None


def _blocks(by_head: list[Tensor]) -> Iterator[tuple[slice, int, list[Tensor], list[Tensor]]]:
    """Yields (rows of queries, keys they see, every tensor's heads, two buffers [heads, rows, keys]) of each block.

    As many heads at once as the buffers hold.
    """
    heads, length, _ = by_head[0].shape
    buffers = [by_head[0].new_empty(max(SCORES, QUERIES * length)) for _ in range(2)]
    for start in range(0, length, QUERIES):
        until = min(start + QUERIES, length)
        area = (until - start) * until
        many = max(1, min(heads, SCORES // area))
        for first in range(0, heads, many):
            some = [tensor[first : first + many] for tensor in by_head]
            count = len(some[0])
            shape = (count, until - start, until)
            yield slice(start, until), until, some, [buffer[: count * area].view(shape) for buffer in buffers]


def _chances(query: Tensor, key: Tensor, start: int, scale: float, score: Tensor, chance: Tensor) -> None:
    """Fills `chance` [heads, rows, keys] with what each query gives to the keys up to its own place; uses `score`."""
    torch.baddbmm(score, query, key.mT, beta=0, alpha=scale, out=score)
    # Keys before the block are seen by all of its queries: only the square at its end has a triangle to hide.
    own = score[:, :, start:]
    own.masked_fill_(torch.ones(own.shape[-1], own.shape[-1], dtype=torch.bool).triu_(1), -torch.inf)
    softmax(score, -1, False, out=chance)
