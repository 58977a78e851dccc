"""Causal attention inside each note of a packed row, as an attention function of transformers.

A packed row holds several notes one after the other, without padding. Hugging Face's own way of
packing (position ids that restart) builds a dense T x T mask, and with `use_cache=True` silently
attends across notes; one causal product a note is exact and needs no mask.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

PACKED = "packed_notes"
"""The name under which transformers finds this attention (`attn_implementation`)."""


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
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attends within each note.

    Args:
        module: the LLaMA attention layer; read for nothing, given by transformers.
        query: [1, heads, T, head width].
        key: [1, key-value heads, T, head width].
        value: the same shape as `key`.
        attention_mask: must be None.
        note_lengths: tokens of each note in the row; their sum is T.
        scaling: factor on the products; None for one over the root of the head width.
        dropout: share of attention weights set to zero.

    Returns:
        [1, T, heads, head width], and None in the place of attention weights.

    Raises:
        ValueError: a mask was given, the row is not one row, or the lengths do not fill it.
    """
    if attention_mask is not None or query.shape[0] != 1 or sum(note_lengths) != query.shape[2]:
        raise ValueError(
            f"packed attention takes one row without a mask, its notes filling it: got shape "
            f"{tuple(query.shape)} and {len(note_lengths)} notes of {sum(note_lengths)} tokens"
        )
    if key.shape[2] != query.shape[2]:
        raise ValueError("packed attention takes no cache: pass use_cache=False")
    grouped = key.shape[1] != query.shape[1]
    notes = zip(*(part.split(note_lengths, dim=2) for part in (query, key, value)), strict=True)
    attended = [
        scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=grouped)
        for q, k, v in notes
    ]
    return torch.cat(attended, dim=2).transpose(1, 2), None
