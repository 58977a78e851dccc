"""Tunes a BERT in full: Bio_ClinicalBERT (Alsentzer et al. 2019) by hub id or folder, or random weights.

The settings are those of the DRG-LLaMA paper's code: 512 tokens of the note's head, batches of 16, learning rate 2e-5
with linear decay, 3 epochs, weight decay 0.01. Its stopping rule: a fixed number of epochs, as a BERT is tuned (Devlin
et al. 2019; small ones: Turc et al. 2019), of which the best by validation accuracy is kept. Different: its published
script trained on 48 notes, this on all; notes of like length share a batch.
"""

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from src.cli.errors import UserError
from src.config.architecture import FAMILIES
from src.config.choices import Pooling, Weights
from src.config.train import TrainConfig
from src.models.bases import locate
from src.models.pretrained import loaded, read_pretrained
from src.models.tokenizer import train_word_pieces


class Pieces:
    """Turns text to ids by a BERT's tokenizer."""

    def __init__(self, tokenizer: Any, most: int) -> None:
        self.tokenizer, self.most = tokenizer, most
        self.tokenising = Lock()  # a cut is a setting of the tokenizer, and not of a call

    @classmethod
    def of(cls, texts: Sequence[str], cfg: TrainConfig) -> "Pieces":
        """Takes the model's own tokenizer, or makes word pieces from `texts` for random weights.

        Raises:
            UserError: the model's own cannot be had.
        """
        if cfg.model.weights is Weights.RANDOM:
            return cls(train_word_pieces(texts, cfg.model.vocab_size), cfg.max_len)
        from transformers import AutoConfig, AutoTokenizer

        named = f"model={cfg.model.name} model.path={cfg.model.path}"
        where = locate(cfg.model)
        if (family := loaded(cfg.model, AutoConfig, where).model_type) in FAMILIES:
            raise UserError(f"{named}: is a {family}, no BERT; write model=local model.path={cfg.model.path}")
        tokenizer = loaded(cfg.model, AutoTokenizer, where)
        if len(tokenizer) <= len(tokenizer.all_special_tokens):
            raise UserError(f"{named}: has no vocabulary, as tokenizer.json or vocab.txt; copy the folder again")
        if tokenizer.pad_token_id is None:
            raise UserError(f"{named}: its tokenizer has no padding token, so it is no BERT; name another")
        return cls(tokenizer, cfg.max_len)

    @property
    def size(self) -> int:
        """Ids that there are."""
        return len(self.tokenizer)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text's head between [CLS] and [SEP]."""
        with self.tokenising:
            ids: list[list[int]] = self.tokenizer(list(texts), truncation=True, max_length=self.most)["input_ids"]
        return ids

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Counts the ids of each whole text between [CLS] and [SEP], those two as well."""
        if not texts:
            return []
        with self.tokenising:
            return [len(ids) for ids in self.tokenizer(list(texts), verbose=False)["input_ids"]]

    def save(self, folder: Path) -> None:
        """Writes the tokenizer."""
        self.tokenizer.save_pretrained(folder)

    @classmethod
    def read(cls, folder: Path, cfg: TrainConfig) -> "Pieces":
        """Reads the tokenizer that `save` wrote."""
        from transformers import AutoTokenizer

        return cls(read_pretrained(AutoTokenizer, folder), cfg.max_len)


class Network(nn.Module):
    """Maps a BERT's pooled first token, or the mean over all tokens, to the logits."""

    def __init__(self, bert: Any, cfg: TrainConfig) -> None:
        super().__init__()
        self.bert, self.pooling = bert, cfg.pooling
        if self.pooling is Pooling.MEAN and bert.config.model_type != "bert":
            raise UserError(
                f"pooling=mean: is for BERT's own architecture; model={cfg.model.name} is a {bert.config.model_type}"
            )

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits [b, width] of ids [b, T], of which `mask` [b, T] are tokens."""
        attention = mask.long()
        if self.bert.config._attn_implementation == "sdpa":
            # As sdpa takes it: of two dimensions, transformers would wait for the device to see whether all are there.
            attention = mask[:, None, None, :].expand(-1, 1, ids.shape[1], -1)
        if self.pooling is Pooling.MEAN:
            states = self.bert.base_model(input_ids=ids, attention_mask=attention).last_hidden_state
            mean = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
            logits: Tensor = self.bert.classifier(self.bert.dropout(mean))
        else:
            logits = self.bert(input_ids=ids, attention_mask=attention).logits
        return logits


def build(pieces: Pieces, texts: Sequence[str], width: int, cfg: TrainConfig) -> Network:
    """Builds a BERT with a fresh head of `width` logits.

    Raises:
        UserError: the weights cannot be had.
    """
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(cfg.seed)
    if cfg.model.weights is Weights.RANDOM:
        return rebuild(pieces, width, cfg)
    where = locate(cfg.model)
    options: dict[str, Any] = {"num_labels": width, "ignore_mismatched_sizes": True}  # a folder may hold another head
    options["dtype"] = torch.float32  # also of weights that are kept in fewer bits: all of them are tuned
    if not Path(where).is_dir():
        options["use_safetensors"] = None  # Bio_ClinicalBERT is published as a .bin alone, of which torch reads no code
    return Network(loaded(cfg.model, AutoModelForSequenceClassification, where, **options), cfg)


def rebuild(pieces: Pieces, width: int, cfg: TrainConfig) -> Network:
    """Builds a BERT of the model's architecture, for weights that were saved or random ones."""
    from transformers import AutoConfig, AutoModelForSequenceClassification, BertConfig

    model = cfg.model
    if model.weights is Weights.RANDOM:
        config: Any = BertConfig(
            vocab_size=pieces.size,
            hidden_size=model.hidden_size,
            intermediate_size=model.intermediate_size,
            num_hidden_layers=model.layers,
            num_attention_heads=model.heads,
            max_position_embeddings=model.context,
            id2label={index: str(index) for index in range(width)},
        )
    else:
        config = loaded(model, AutoConfig, locate(model), num_labels=width, dtype=torch.float32)
    return Network(AutoModelForSequenceClassification.from_config(config), cfg)
