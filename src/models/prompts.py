"""What the model reads: a note cut to a number of tokens, and the words around it."""

from collections.abc import Sequence
from typing import Any

from src.config.train import Prompt

WORDS_AFTER = {Prompt.NONE: "", Prompt.DIAGNOSIS: "\n\nDischarge Diagnosis:\n"}
"""Appended to a note after it is cut, so that it is always read in full."""


def encode_notes(tokenizer: Any, texts: Sequence[str], prompt: Prompt, max_len: int) -> list[list[int]]:
    """Token ids of each text, its head kept, with the prompt's words after it.

    Args:
        tokenizer: a transformers tokenizer; its own special tokens (LLaMA's `<s>`) are kept.
        texts: notes, in any order.
        prompt: which words follow.
        max_len: tokens of the result at most.

    Raises:
        ValueError: `max_len` leaves no place for a note.
    """
    after = tokenizer(WORDS_AFTER[prompt], add_special_tokens=False)["input_ids"] if WORDS_AFTER[prompt] else []
    room = max_len - len(after)
    if room < 2:
        raise ValueError(f"max_len={max_len} leaves no place for a note beside the prompt's {len(after)} tokens")
    if not texts:
        return []
    encoded = tokenizer(list(texts), truncation=True, max_length=room)["input_ids"]
    return [ids + after for ids in encoded]
