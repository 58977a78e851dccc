"""Makes the texts of pretraining: a hospital course, and the prompt's words with the diagnoses behind it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from src.config.choices import Prompt
from src.models.prompts import WORDS_AFTER

ANSWER_ROOM = 96
"""Tokens of the Discharge Diagnosis section that are read at most."""


@dataclasses.dataclass(frozen=True)
class Text:
    """Holds the token ids of one note: its course with `<s>`, and the prompt's words with the diagnoses and `</s>`.

    A BERT's have [CLS] and [SEP] in their place.
    """

    course: list[int]
    answer: list[int]

    def cut(self, length: int) -> list[int]:
        """Returns both in `length` tokens, of the course its head."""
        return self.course[: max(8, length - len(self.answer))] + self.answer


def encode(tokenizer: Any, courses: Sequence[str], diagnoses: Sequence[str]) -> list[Text]:
    """Tokenises each note's course and answer."""
    words = WORDS_AFTER[Prompt.DIAGNOSIS]
    course_ids = tokenizer(list(courses), add_special_tokens=False)["input_ids"]
    answers = tokenizer([words + text for text in diagnoses], add_special_tokens=False)["input_ids"]
    start = [tokenizer.bos_token_id if tokenizer.cls_token is None else tokenizer.cls_token_id]
    end = [tokenizer.eos_token_id if tokenizer.sep_token is None else tokenizer.sep_token_id]
    return [
        Text(start + course, answer[:ANSWER_ROOM] + end) for course, answer in zip(course_ids, answers, strict=True)
    ]
