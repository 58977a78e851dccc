"""Makes what the model reads: a note cut to a number of tokens, and the words around it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from src.cli.errors import UserError
from src.config.choices import Prompt

WORDS_AFTER = {Prompt.NONE: "", Prompt.DIAGNOSIS: "\n\nDischarge Diagnosis:\n"}
"""Appended to a note after it is cut, so that it is always read in full."""


def encode_notes(tokenizer: Any, texts: Sequence[str], prompt: Prompt, max_len: int) -> list[list[int]]:
    """Tokenises each text, its head kept, with the prompt's words after it.

    Args:
        tokenizer: a transformers tokenizer; its own special tokens (LLaMA's `<s>`) are kept.
        texts: notes, in any order.
        prompt: which words follow.
        max_len: tokens of the result at most.

    Raises:
        UserError: `max_len` leaves no place for a note.
    """
    after = _words_after(tokenizer, prompt)
    room = _room(max_len, after)
    if not texts:
        return []
    encoded = tokenizer(list(texts), truncation=True, max_length=room)["input_ids"]
    return [ids + after for ids in encoded]


@dataclass(frozen=True)
class PromptTemplate:
    """Holds what stands around a note's own tokens, for notes that are tokenised once and cut to many lengths."""

    first: tuple[int, ...]
    """The tokenizer's own tokens before a note: LLaMA's `<s>`."""
    last: tuple[int, ...]
    """The tokenizer's own tokens and the prompt's words after a note."""
    max_note_tokens: int
    """Tokens of the note itself that are kept."""

    @property
    def tokens(self) -> int:
        """Counts the tokens around a note."""
        return len(self.first) + len(self.last)

    def wrap(self, ids: Sequence[int]) -> list[int]:
        """Returns what `encode_notes` gives for a note, from its tokens without the tokenizer's own.

        >>> PromptTemplate((1,), (2,), max_note_tokens=3).wrap([11, 12, 13, 14])
        [1, 11, 12, 13, 2]
        """
        return [*self.first, *ids[: self.max_note_tokens], *self.last]


def prompt_template(tokenizer: Any, prompt: Prompt, max_len: int) -> PromptTemplate:
    """Returns the words around notes that fill `max_len` tokens at most.

    Raises:
        UserError: `max_len` leaves no place for a note.
    """
    after = _words_after(tokenizer, prompt)
    whole, bare = (tokenizer("a", add_special_tokens=own)["input_ids"] for own in (True, False))
    start = next(index for index in range(len(whole)) if whole[index : index + len(bare)] == bare)
    first, last = whole[:start], whole[start + len(bare) :]
    return PromptTemplate(tuple(first), (*last, *after), max(_room(max_len, after) - len(first) - len(last), 0))


def _words_after(tokenizer: Any, prompt: Prompt) -> list[int]:
    words = WORDS_AFTER[prompt]
    return list(tokenizer(words, add_special_tokens=False)["input_ids"]) if words else []


def _room(max_len: int, after: Sequence[int]) -> int:
    room = max_len - len(after)
    if room < 2:
        raise UserError(f"max_len={max_len} leaves no place for a note beside the prompt's {len(after)} tokens")
    return room
