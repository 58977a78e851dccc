"""A classifier is merged into one model of transformers: adapters into the base, the head as its `score`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from src.cli.errors import UserError
from src.models.classifier import Classifier
from src.models.engine.packing import pack
from src.models.pretrained import read_pretrained

SHARD = "5GB"
"""Largest safetensors file."""

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.1, torch.float16: 0.1}
"""Largest difference of a logit, as a share of the largest logit where that is above 1; rounding alone stays below."""


def merge(classifier: Classifier, names: Sequence[str], pad: int) -> Any:
    """Makes the family's `*ForSequenceClassification` of the classifier's base, of which no copy is made.

    Args:
        classifier: on a base that is not quantised; it cannot be used afterwards.
        names: of the logits.
        pad: the token that fills short notes of a batch, and that no note ends with.
    """
    from transformers import AutoModelForSequenceClassification

    peft: Any = classifier.backbone
    backbone = peft.merge_and_unload(safe_merge=True)
    backbone.set_attn_implementation("sdpa")
    config = backbone.config
    config.id2label = dict(enumerate(names))
    config.label2id = {name: index for index, name in enumerate(names)}
    config.pad_token_id = pad
    # On meta no memory is taken for the weights, which the next lines put in.
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config, dtype=backbone.dtype)
    setattr(model, model.base_model_prefix, backbone)
    model.score = nn.Linear(config.hidden_size, len(names), bias=False, device="meta")
    model.score.weight = nn.Parameter(classifier.head.weight.detach().to(backbone.dtype), requires_grad=False)
    return model.eval()


def padding_token(tokenizer: Any, readings: Sequence[Sequence[int]], vocab_size: int) -> str:
    """Picks a special token of the tokenizer that the base knows, and that no reading ends with.

    transformers scores the last token that is not padding: were padding a note's last token, it would be
    the one before that is scored.

    Raises:
        UserError: there is none.
    """
    ends = {reading[-1] for reading in readings}
    for token in (tokenizer.pad_token, tokenizer.eos_token, tokenizer.unk_token, tokenizer.bos_token):
        token_id = vocab_size if token is None else tokenizer.convert_tokens_to_ids(token)
        if token_id < vocab_size and token_id not in ends:
            return str(token)
    raise UserError("the base's tokenizer has no special token that could pad a batch; add one to its folder")


def packed_logits(classifier: Classifier, readings: Sequence[Sequence[int]], batch: int) -> Tensor:
    """Computes the run's own logits [B, width], fp32, on the CPU."""
    with torch.inference_mode():
        parts = [classifier(pack(chunk)).cpu() for chunk in _batches(readings, batch)]
    return torch.cat(parts)


def plain_logits(folder: Path, readings: Sequence[Sequence[int]], batch: int, device: str) -> Tensor:
    """Computes the logits [B, width] of the model in `folder` under plain transformers, in right-padded batches."""
    from transformers import AutoModelForSequenceClassification

    model = read_pretrained(AutoModelForSequenceClassification, folder).to(device).eval()
    parts = []
    with torch.inference_mode():
        for chunk in _batches(readings, batch):
            rows = [torch.tensor(ids) for ids in chunk]
            ids = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=model.config.pad_token_id)
            lengths = torch.tensor([len(row) for row in rows])
            mask = torch.arange(ids.shape[1]) < lengths[:, None]
            parts.append(model(input_ids=ids.to(device), attention_mask=mask.long().to(device)).logits.float().cpu())
    return torch.cat(parts)


def largest_difference(logits: Tensor, expected: Tensor, dtype: torch.dtype) -> float:
    """Finds the largest difference between the written model's logits and the run's.

    Raises:
        UserError: it is more than rounding.
    """
    difference = float((logits - expected).abs().max())
    bound = TOLERANCE[dtype] * max(1.0, float(expected.abs().max()))
    if not difference <= bound:  # nan is refused too
        raise UserError(f"the written model's logits differ from the run's by {difference:.1e}: nothing was kept")
    return difference


def _batches(readings: Sequence[Sequence[int]], size: int) -> list[Sequence[Sequence[int]]]:
    return [readings[start : start + size] for start in range(0, len(readings), size)]
