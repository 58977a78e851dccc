"""Causal attention inside each note of a packed row.

A packed row holds several notes one after the other, without padding. Hugging Face's own way of packing (position ids
that restart) builds a dense T x T mask, and with `use_cache=True` silently attends across notes; here each note's
product is its own, and no mask is needed.
Shapes: T rows of all notes, H heads, G key-value heads, D head width, B notes.
"""

import importlib.util
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from src.models.blockwise import attend_blockwise, pays

PACKED = "packed_notes"
"""The name under which transformers finds this attention (`attn_implementation`)."""


class Backend(StrEnum):
    """What computes the attention of a packed row."""

    NOTES = "notes"
    """torch's scaled dot product, note by note: any device, any number format."""
    VARLEN = "varlen"
    """torch's variable-length attention: all notes in one kernel, on CUDA in bf16."""
    FLASH = "flash"
    """The same of the flash-attn package."""


def pick_backend(device: str, dtype: torch.dtype) -> Backend:
    """The fastest backend that `device` and `dtype` allow."""
    if not device.startswith("cuda") or dtype not in (torch.bfloat16, torch.float16):
        return Backend.NOTES
    if importlib.util.find_spec("flash_attn"):
        return Backend.FLASH
    return Backend.VARLEN if importlib.util.find_spec("torch.nn.attention.varlen") else Backend.NOTES


def attend(
    q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int], *, scale: float, ends: bool, backend: Backend
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

    Returns:
        The shape of `q`.

    Raises:
        ValueError: the lengths do not fill the row.
    """
    asking = [1] * len(lengths) if ends else list(lengths)
    if sum(lengths) != len(k) or sum(asking) != len(q):
        raise ValueError(f"{len(lengths)} notes of {sum(lengths)} tokens do not fill {len(q)} queries, {len(k)} keys")
    if backend is Backend.NOTES:
        return _note_by_note(q, k, v, asking, lengths, scale)
    starts = (_starts(tuple(asking), q.device), _starts(tuple(lengths), q.device))
    if backend is Backend.FLASH:
        from flash_attn import flash_attn_varlen_func

        how: dict[str, Any] = {"causal": True, "softmax_scale": scale}
        flash: Tensor = flash_attn_varlen_func(q, k, v, *starts, max(asking), max(lengths), **how)
        return flash
    from torch.nn.attention.varlen import varlen_attn

    # A causal window is aligned to the last key: a single query sees every key of its note.
    how = {"scale": scale, "window_size": (-1, 0), "enable_gqa": k.shape[1] != q.shape[1]}
    attended = varlen_attn(q, k, v, *starts, max(asking), max(lengths), **how)
    return attended if isinstance(attended, Tensor) else attended[0]


@lru_cache(maxsize=8)
def _starts(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)


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
        found = scaled_dot_product_attention(
            query, key, value, is_causal=query.shape[2] > 1, scale=scale, enable_gqa=grouped
        )
        attended.append(found[0].transpose(0, 1))
    return torch.cat(attended)


def register_packed_attention() -> None:
    """Makes `attn_implementation="packed_notes"` known to transformers; safe to call twice."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(PACKED, packed_attention)
    AttentionMaskInterface.register(PACKED, no_mask)


def no_mask(*args: Any, **kwargs: Any) -> None:
    """Packed notes need no mask: causality is inside each note's own product."""


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
