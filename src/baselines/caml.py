"""Builds CAML (Mullenbach et al., NAACL 2018): a convolution over words with attention for each label.

As in the paper: words in lower case, those without a letter left out, the rest of at least 3 training notes kept, the
first 2,500 of a note; vectors of 100 numbers by word2vec (CBOW) on the training notes; 50 filters of 10 words; dropout
0.2; batches of 16, learning rate 1e-4. Its stopping rule: training ends when 10 epochs bring nothing. Different: one
softmax over DRGs (or a label scheme's heads) in place of a sigmoid for each code, as a note has one DRG; padding is no
word to the attention, so that a note is scored alike in any batch; the best epoch is by accuracy, not by precision at
8; AdamW with a learning rate that falls to zero in place of a constant one under Adam; notes of like length share a
batch.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from src.config.train import TrainConfig

FILTERS, WIDTH, VECTOR, DROPOUT = 50, 10, 100, 0.2
FEWEST = 3
"""Training notes with a word, below which it is unknown."""

WORD = re.compile(r"\w*[a-z]\w*")
UNKNOWN = 1
"""Id of unknown words; 0 is padding."""


class Words:
    """The words of training notes as ids."""

    def __init__(self, ids: dict[str, int], most: int) -> None:
        self.ids, self.most = ids, most

    @classmethod
    def of(cls, texts: Sequence[str], cfg: TrainConfig) -> "Words":
        """Learns the words of `texts`."""
        seen = Counter(word for text in texts for word in set(WORD.findall(text.lower())))
        frequent = sorted(word for word, notes in seen.items() if notes >= FEWEST)
        return cls({word: index for index, word in enumerate(frequent, UNKNOWN + 1)}, cfg.max_len)

    @property
    def size(self) -> int:
        """Ids that there are."""
        return len(self.ids) + UNKNOWN + 1

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of the first words of each text; one unknown word for a text without any."""
        notes = (WORD.findall(text.lower())[: self.most] for text in texts)
        return [[self.ids.get(word, UNKNOWN) for word in words] or [UNKNOWN] for words in notes]

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Counts the words of each text."""
        return [len(WORD.findall(text.lower())) for text in texts]

    def save(self, folder: Path) -> None:
        """Writes the words."""
        (folder / "words.json").write_text(json.dumps({"ids": self.ids, "most": self.most}), "utf-8")

    @classmethod
    def read(cls, folder: Path, cfg: TrainConfig) -> "Words":
        """Reads the words that `save` wrote."""
        return cls(**json.loads((folder / "words.json").read_text("utf-8")))


class Network(nn.Module):
    """Has word vectors, one convolution, and for each logit its own attention over the note and its own linear map."""

    def __init__(self, words: Words, width: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(words.size, VECTOR, padding_idx=0)
        self.dropout = nn.Dropout(DROPOUT)
        self.convolution = nn.Conv1d(VECTOR, FILTERS, WIDTH, padding=WIDTH // 2)
        self.attention = nn.Linear(FILTERS, width, bias=False)
        self.last = nn.Linear(FILTERS, width)
        for weight in (self.convolution.weight, self.attention.weight, self.last.weight):
            nn.init.xavier_uniform_(weight)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits [b, width] of ids [b, T], of which `mask` [b, T] are words."""
        seen = self.seen(ids)
        read = self.attends(seen, mask) @ seen.transpose(1, 2)
        return torch.einsum("bwf,wf->bw", read, self.last.weight) + self.last.bias

    def seen(self, ids: Tensor) -> Tensor:
        """What the filters see at each word, [b, FILTERS, T]."""
        return self.convolution(self.dropout(self.vectors(ids)).transpose(1, 2))[:, :, : ids.shape[1]].tanh()

    def attends(self, seen: Tensor, mask: Tensor) -> Tensor:
        """How much each logit attends to what is seen at each word, [b, width, T]."""
        return (self.attention.weight @ seen).masked_fill(~mask[:, None], -torch.inf).softmax(-1)


def build(words: Words, texts: Sequence[str], width: int, cfg: TrainConfig) -> Network:
    """Builds a fresh network whose word vectors were trained on the training notes."""
    from gensim.models import Word2Vec

    torch.manual_seed(cfg.seed)
    network = Network(words, width)
    names = {index: word for word, index in words.ids.items()}
    sentences = [[names.get(index, "") for index in ids] for ids in words.encode(texts)]
    vectors = Word2Vec(sentences, vector_size=VECTOR, min_count=0, epochs=5, sg=0, workers=1, seed=cfg.seed).wv
    table = network.vectors.weight.detach().numpy()
    for word, index in words.ids.items():
        if word in vectors:
            table[index] = vectors[word] / max(float(np.linalg.norm(vectors[word])), 1e-6)
    return network


def rebuild(words: Words, width: int, cfg: TrainConfig) -> Network:
    """Builds a network for weights that were saved."""
    return Network(words, width)
