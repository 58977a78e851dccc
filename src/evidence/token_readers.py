"""Says what each kind of network reads of a note: its tokens, where in the text they are, and how they are scored."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from src.baselines.caml import UNKNOWN, WORD
from src.config.choices import Kind, Prompt
from src.models.engine.packing import pack
from src.models.prompts import prompt_template
from src.training.run_data import RunData


@dataclass(frozen=True)
class Reading:
    """Holds the tokens that a network reads of a note."""

    ids: list[int]
    spans: list[tuple[int, int]]
    """Where each token is in the text; empty spans for tokens that are not of it, as `<s>` and the prompt's."""
    end: int
    """Where in the text reading ends."""

    @property
    def of_text(self) -> list[bool]:
        """Says of each token whether it is of the text."""
        return [end > start for start, end in self.spans]


class TokenReader(ABC):
    """Gives gradient methods one view of a fitted network.

    Args:
        predictor: one of the reader's kind.
    """

    def __init__(self, predictor: Any) -> None:
        self.data: RunData = predictor.data

    embedding: nn.Module
    """What turns ids into word vectors."""
    blank: int
    """The token that stands for no word."""

    @abstractmethod
    def read(self, text: str) -> Reading:
        """Reads one note."""

    @abstractmethod
    def logits(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """Computes logits [B, width] of B notes of one length."""

    @torch.no_grad()
    def vectors(self, ids: Sequence[int]) -> Tensor:
        """Looks up the word vectors of T tokens, [T, h]."""
        vectors: Tensor = self.embedding(torch.tensor([ids], device=self.data.device))
        return vectors[0]


class AttentiveReader(TokenReader):
    """Also says what its network attends to."""

    @abstractmethod
    def attention(self, ids: Sequence[int], logits: list[int]) -> Tensor:
        """Computes how much each of T tokens is attended to for some logits, their mean, [T]."""


class LlamaTokens(AttentiveReader):
    """Reads as a LLaMA does; a blank is a line break."""

    def __init__(self, predictor: Any) -> None:
        super().__init__(predictor)
        self.classifier = predictor.trained.eval()
        self.embedding = self.classifier.backbone.get_input_embeddings()
        self.blank = self.data.tokenizer("\n", add_special_tokens=False)["input_ids"][-1]

    def read(self, text: str) -> Reading:
        return _tokenised(self.data.offset_tokenizer, text, self.data.cfg.prompt, self.data.cfg.max_len)

    def logits(self, ids: Sequence[Sequence[int]]) -> Tensor:
        return self.classifier(pack(ids))

    def attention(self, ids: Sequence[int], logits: list[int]) -> Tensor:
        # All logits read one token.
        (weights,) = self.classifier.attention(pack([ids]))
        return weights.mean(0)


class _NetworkTokens(TokenReader):
    """Reads as a network does that is tuned in full."""

    def __init__(self, predictor: Any) -> None:
        super().__init__(predictor)
        self.words, self.network = predictor.ids, predictor.network.eval()

    def logits(self, ids: Sequence[Sequence[int]]) -> Tensor:
        return self.network(*self._sent(ids))

    def _sent(self, ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        sent = torch.tensor(ids, device=self.data.device)
        return sent, torch.ones_like(sent, dtype=torch.bool)


class BertTokens(_NetworkTokens):
    """Reads as a BERT does; a blank is what its pretraining put in the place of hidden words."""

    def __init__(self, predictor: Any) -> None:
        super().__init__(predictor)
        tokenizer = self.words.tokenizer
        self.embedding = self.network.bert.get_input_embeddings()
        self.blank = tokenizer.pad_token_id if tokenizer.mask_token_id is None else tokenizer.mask_token_id

    def read(self, text: str) -> Reading:
        return _tokenised(self.words.tokenizer, text, Prompt.NONE, self.words.most)


class CamlTokens(_NetworkTokens, AttentiveReader):
    """Reads words as CAML does; a blank is an unknown word."""

    blank = UNKNOWN

    def __init__(self, predictor: Any) -> None:
        super().__init__(predictor)
        self.embedding = self.network.vectors

    def read(self, text: str) -> Reading:
        # A letter may be two in lower case.
        index = [position for position, letter in enumerate(text) for _ in letter.lower()]
        spans = [(index[match.start()], index[match.end() - 1] + 1) for match in WORD.finditer(text.lower())]
        (ids,), kept = self.words.encode([text]), spans[: self.words.most]
        return Reading(ids, kept or [(0, 0)], kept[-1][1] if len(kept) < len(spans) else len(text))

    @torch.no_grad()
    def attention(self, ids: Sequence[int], logits: list[int]) -> Tensor:
        sent, mask = self._sent([ids])
        weights: Tensor = self.network.attends(self.network.seen(sent), mask)[0]
        return weights[logits].mean(0)


TOKEN_READERS: dict[Kind, type[TokenReader]] = {
    Kind.LLAMA: LlamaTokens,
    Kind.BERT: BertTokens,
    Kind.CAML: CamlTokens,
}
"""Every kind that reads a note token by token and has gradients."""


def _tokenised(tokenizer: Any, text: str, prompt: Prompt, max_len: int) -> Reading:
    template = prompt_template(tokenizer, prompt, max_len)
    whole = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    before, behind = ([(0, 0)] * len(ids) for ids in (template.first, template.last))
    kept = whole["offset_mapping"][: template.max_note_tokens]
    cut = len(kept) < len(whole["input_ids"])
    end = (kept[-1][1] if kept else 0) if cut else len(text)
    return Reading(template.wrap(whole["input_ids"]), [*before, *kept, *behind], end)
