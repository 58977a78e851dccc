"""Computes causal attention inside each note of a packed row.

A packed row holds several notes one after the other, without padding. Hugging Face's own way of packing (position ids
that restart) builds a dense T x T mask, and with `use_cache=True` silently attends across notes; here each note's
product is its own, and no mask is needed.
Shapes: T rows of all notes, H heads, G key-value heads, D head width, B notes.
"""

import sys
from collections.abc import Sequence
from enum import StrEnum
from functools import cache
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from src.models.engine.blockwise import attend_blockwise, pays

PACKED = "packed_notes"
"""The name under which transformers finds this attention (`attn_implementation`)."""

TOLERANCE = 2e-2
"""Largest difference of two attentions in bf16, as a share of the largest value: outputs and gradients of normal random
numbers differ from those in fp64 by up to 0.5 % of it, and a gradient of 15 by 0.06, a single rounding."""


class Backend(StrEnum):
    """Names what computes the attention of a packed row."""

    NOTES = "notes"
    """torch's scaled dot product, note by note: any device, any number format."""
    VARLEN = "varlen"
    """torch's variable-length attention (FlashAttention 2): all notes in one kernel, on CUDA in bf16 and fp16."""


@cache
def pick_backend(device: torch.device, dtype: torch.dtype, heads: tuple[int, int], width: int) -> Backend:
    """Picks the fastest backend that works for these formats, tried once; a line on standard error says what did not.

    Args:
        device: where the notes are.
        dtype: of queries, keys and values.
        heads: of the queries, and of keys and values.
        width: of a head.
    """
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return Backend.NOTES
    try:
        worst = difference(Backend.VARLEN, device, dtype, heads, width)
    except Exception as error:  # an old torch, an old card, a width without a kernel: whatever it is, notes are read
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:120] if str(error).strip() else ''}"
    else:
        if worst <= TOLERANCE:
            return Backend.VARLEN
        reason = f"it differs by {worst:.1e}"
    print(f"attention: note by note, as torch's variable-length kernel fails here ({reason})", file=sys.stderr)
    return Backend.NOTES


def difference(
    backend: Backend, device: torch.device, dtype: torch.dtype, heads: tuple[int, int], width: int, tokens: int = 7
) -> float:
    """Measures the largest difference of outputs and gradients from attention note by note, of whole notes and ends.

    Each is a share of the largest value of the tensor that it is in.
    """
    shares: list[Tensor] = []
    lengths = (tokens, 1, 2 * tokens)  # a note of one token between others shows starts that are off by one
    for ends in (False, True):
        generator = torch.Generator().manual_seed(0)
        rows = (len(lengths) if ends else sum(lengths), *[sum(lengths)] * 2)
        shapes = [(count, group, width) for count, group in zip(rows, (heads[0], heads[1], heads[1]), strict=True)]
        q, k, v = (torch.randn(shape, generator=generator).to(device, dtype).requires_grad_() for shape in shapes)
        results = []
        for compared in (Backend.NOTES, backend):
            attended = attend(q, k, v, lengths, scale=width**-0.5, ends=ends, backend=compared)
            gradients = torch.autograd.grad(attended.float().square().sum(), (q, k, v))
            results.append([value.float() for value in (attended.detach(), *gradients)])
        shares += [(ours - notes).abs().max() / notes.abs().max() for notes, ours in zip(*results, strict=True)]
    return float(torch.stack(shares).max())  # of Python's max, a result that is no number could come out as 0


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    lengths: Sequence[int],
    *,
    scale: float,
    ends: bool,
    backend: Backend,
    starts: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Attends within each note.

    Args:
        q: [T, H, D]; [B, H, D] with `ends`.
        k: [T, G, D].
        v: [T, G, D].
        lengths: tokens of each note, their sum T.
        scale: factor on the products.
        ends: each note's last token asks alone.
        backend: what computes it.
        starts: [B + 1] first query and first key of each note, int32 on the device; None to send them now.

    Returns:
        The shape of `q`.

    Raises:
        ValueError: the lengths do not fill the row.
    """
    asking = [1] * len(lengths) if ends else list(lengths)
    # The kernel itself would read behind the end of a row that is too short, without an error.
    if sum(lengths) != len(k) or sum(asking) != len(q):
        raise ValueError(f"{len(lengths)} notes of {sum(lengths)} tokens do not fill {len(q)} queries, {len(k)} keys")
    if backend is Backend.NOTES:
        return _note_by_note(q, k, v, asking, lengths, scale)
    if starts is None:
        query_starts, key_starts = (
            torch.tensor([0, *accumulate(counts)], dtype=torch.int32, device=q.device) for counts in (asking, lengths)
        )
        starts = query_starts, key_starts
    # torch's public varlen_attn is this operator under two layers of Python, 5 ms of the host's 29 a step, and has a
    # window from torch 2.11 on. A causal window is aligned to the last key: one query sees every key of its note.
    window: dict[str, Any] = {"window_size_left": -1, "window_size_right": 0}
    counts = max(asking), max(lengths)
    attended = torch.ops.aten._flash_attention_forward(
        q, k, v, *starts, *counts, 0.0, False, False, scale=scale, **window
    )
    return attended[0]


def _note_by_note(
    q: Tensor, k: Tensor, v: Tensor, asking: Sequence[int], lengths: Sequence[int], scale: float
) -> Tensor:
    grouped, attended = k.shape[1] != q.shape[1], []
    notes = zip(q.split(list(asking)), k.split(list(lengths)), v.split(list(lengths)), strict=True)
    for of_note in notes:
        if pays(*of_note[:2]):
            attended.append(attend_blockwise(*of_note, scale))
            continue
        query, key, value = (part.transpose(0, 1)[None] for part in of_note)
        # A lone query is its note's last token and sees every key; torch's causal mask would show it the first alone.
        seen = scaled_dot_product_attention(
            query, key, value, is_causal=query.shape[2] > 1, scale=scale, enable_gqa=grouped
        )
        attended.append(seen[0].transpose(0, 1))
    return torch.cat(attended)


def register_packed_attention() -> None:
    """Makes `attn_implementation="packed_notes"` known to transformers; safe to call twice.

    No mask function is registered: transformers then makes no mask at once, where it would else look for packed
    sequences in the positions, and wait for the device.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(PACKED, packed_attention)


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    note_lengths: tuple[int, ...],
    scaling: float | None = None,
    dropout: float = 0.0,
    backend: Backend = Backend.NOTES,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attends within each note, as an attention function of transformers.

    Args:
        module: the LLaMA attention layer; read for nothing, given by transformers.
        query: [1, heads, T, head width].
        key: [1, key-value heads, T, head width].
        value: the same shape as `key`.
        attention_mask: must be None.
        note_lengths: tokens of each note in the row; their sum is T.
        scaling: factor on the products; None for one over the root of the head width.
        dropout: must be 0, as in every LLaMA.
        backend: what computes it.

    Returns:
        [1, T, heads, head width], and None in the place of attention weights.

    Raises:
        ValueError: a mask or a cache was given, the row is not one row, or the lengths do not fill it.
    """
    if attention_mask is not None or query.shape[0] != 1 or sum(note_lengths) != query.shape[2] or dropout:
        raise ValueError(
            f"packed attention takes one row without a mask and dropout, its notes filling it: got shape "
            f"{tuple(query.shape)} and {len(note_lengths)} notes of {sum(note_lengths)} tokens"
        )
    if key.shape[2] != query.shape[2]:
        raise ValueError("packed attention takes no cache: pass use_cache=False")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    q, k, v = (part[0].transpose(0, 1) for part in (query, key, value))
    return attend(q, k, v, note_lengths, scale=scale, ends=False, backend=backend)[None], None
