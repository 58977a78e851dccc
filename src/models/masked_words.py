"""Pretrains on masked words (Devlin et al. 2019): a small BERT, its batches and their loss.

15 % of the tokens are targets: of these 80 % are read as [MASK], 10 % as a random token, 10 % as they are.
"""

import random
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from src.config.pretrain import PretrainConfig
from src.models.engine.packing import send
from src.models.pretraining_texts import Text
from src.models.tokenizer import SPECIAL

Batch = tuple[Tensor, Tensor, Tensor]
"""Ids [B, T] with masks, what stands where a target is, else `NO_TARGET`, [B, T], and which ids are real, [B, T]."""

NO_TARGET = -100


def new_model(tokenizer: Any, cfg: PretrainConfig) -> Any:
    """Makes a BERT with random weights; its input and output words share their vectors."""
    from transformers import BertConfig, BertForMaskedLM

    # Without dropout, as the small LLaMAs are pretrained: no note comes often. Tuned with it, nanobert learns less.
    config = BertConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **cfg.sizes)
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    return BertForMaskedLM(config).eval()


def draw(texts: Sequence[Text], tokenizer: Any, cfg: PretrainConfig, chance: random.Random) -> Iterator[Batch]:
    """Yields texts of about `batch_tokens` tokens, all cut to one random length, so that little is padded."""
    from transformers import DataCollatorForLanguageModeling

    collator = DataCollatorForLanguageModeling(tokenizer)
    order = iter(chance.sample(range(len(texts)), len(texts)))
    while True:
        length = chance.randint(cfg.shortest, cfg.context)
        some = [texts[index] for index in islice(order, max(1, cfg.batch_tokens // length))]
        if not some:
            return
        rows = [torch.tensor(text.cut(length)) for text in some]
        ids = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=tokenizer.pad_token_id)
        real = ids != tokenizer.pad_token_id
        masked, targets = collator.torch_mask_tokens(ids, special_tokens_mask=ids < len(SPECIAL))
        yield masked, targets, real


def weight(batch: Batch) -> float:
    """Counts the targets."""
    return float((batch[1] != NO_TARGET).sum())


def loss(model: Any, batch: Batch, device: str) -> Tensor:
    """Computes the mean cross-entropy of the targets in nats; the output layer reads no other token."""
    ids, targets, real = batch
    where = (targets.flatten() != NO_TARGET).nonzero().squeeze(1)
    ids, hidden_words, where, real = send([ids, targets.flatten()[where], where, real], torch.device(device))
    attention = real[:, None, None, :].expand(-1, 1, ids.shape[1], -1)
    states = model.bert(input_ids=ids, attention_mask=attention).last_hidden_state
    return cross_entropy(model.cls(states.flatten(0, 1)[where]).float(), hidden_words)
