"""Makes what the speed benchmarks work on: random notes of the paper's lengths, and stock classifiers of any size."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from src.cli.errors import UserError
from src.config.choices import Precision, Weights
from src.config.train import LoraConfig, ModelConfig
from src.models.bases import DTYPES, architecture, load_base
from src.models.classifier import Classifier, with_adapters

DRGS = 738
"""Classes of the paper's cohort."""

WORDS, SPREAD, TOKENS_A_WORD = 378, 0.6, 1.35
"""Hospital courses of the paper: 378 words on average. With this spread and LLaMA's tokens a word, random batches of
four waste 5, 21 and 37 % at 256, 512 and 1,024 tokens."""

RANK, ALPHA, DROPOUT = 8, 16, 0.05
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj"]

Note = list[int]


def small_model(hidden: int, layers: int) -> ModelConfig:
    """Describes a LLaMA for a CPU: heads of 64, inner width of LLaMA's proportions, random weights."""
    inner = round(hidden * 8 / 3 / 16) * 16
    heads = hidden // 64
    return ModelConfig(
        "bench", "-", "-", Weights.RANDOM, hidden, inner, layers, heads, heads, 4096, 2048, 10000.0, False
    )


def random_notes(count: int, max_len: int, vocabulary: int, seed: int) -> list[Note]:
    """Draws token ids of `count` notes, cut to `max_len`."""
    chance = np.random.default_rng(seed)
    words = np.exp(chance.normal(np.log(WORDS) - SPREAD**2 / 2, SPREAD, count))
    lengths = np.clip(words * TOKENS_A_WORD, 40, max_len).astype(int)
    return [chance.integers(3, vocabulary, length).tolist() for length in lengths]


def random_drgs(count: int, seed: int) -> Tensor:
    """Draws a DRG for each note, [count]."""
    return torch.from_numpy(np.random.default_rng(seed).integers(0, DRGS, count))


def padded(notes: Sequence[Note]) -> tuple[Tensor, Tensor]:
    """Pads token ids on the right with 0, and builds their attention mask, [B, longest] each."""
    longest = max(map(len, notes))
    ids = torch.tensor([note + [0] * (longest - len(note)) for note in notes])
    return ids, torch.tensor([[1] * len(note) + [0] * (longest - len(note)) for note in notes])


def engine(model: ModelConfig, precision: Precision, device: str, dropout: float = DROPOUT) -> Classifier:
    """Builds this project's classifier."""
    base = load_base(model, precision, device)
    torch.manual_seed(0)
    return with_adapters(base, LoraConfig(RANK, ALPHA, dropout, TARGETS), DRGS, device).train()


def stock(model: ModelConfig, precision: Precision, device: str, dropout: float = DROPOUT, like: Any = None) -> Any:
    """Builds transformers' sequence classifier in peft's adapters, as the paper's code makes it.

    Args:
        model: the architecture, with random weights.
        precision: of the base; adapters and head are fp32.
        device: where it lies.
        dropout: of the adapters' inputs.
        like: a classifier of `engine`, whose base, adapters and head it takes over.

    Raises:
        UserError: the base is to be quantised.
    """
    if precision.is_quantised:
        raise UserError(f"precision={precision}: the stock model is not quantised here; write fp32 or bf16")
    from peft import LoraConfig as PeftLora
    from peft import TaskType, get_peft_model
    from transformers import LlamaForSequenceClassification

    config = architecture(model)
    config.num_labels, config.pad_token_id, config.use_cache = DRGS, 0, False
    before = torch.get_default_dtype()
    torch.set_default_dtype(DTYPES[precision])  # so that no fp32 copy of a large base is ever in memory
    try:
        with torch.device(device):
            whole = LlamaForSequenceClassification(config)
    finally:
        torch.set_default_dtype(before)
    whole.score.float().register_forward_pre_hook(lambda head, hidden: (hidden[0].to(head.weight.dtype),))
    whole.set_attn_implementation("sdpa")
    if like is not None:
        whole.model.load_state_dict(load_base(model, precision, device).state_dict())
    adapters = PeftLora(
        r=RANK, lora_alpha=ALPHA, lora_dropout=dropout, target_modules=TARGETS, task_type=TaskType.SEQ_CLS
    )
    made = get_peft_model(whole, adapters)
    if like is not None:
        take_over(made, like)
    return made.train()


def take_over(theirs: Any, ours: Classifier) -> None:
    """Copies adapters and head into a stock classifier."""
    parameters = dict(theirs.named_parameters())
    with torch.no_grad():
        for name, weight in ours.trained().items():
            if name == "head.weight":
                next(value for key, value in parameters.items() if "modules_to_save" in key).copy_(weight)
                continue
            inner = name.removeprefix("backbone.base_model.model.")
            inner = inner.replace("lora_A.", "lora_A.default.").replace("lora_B.", "lora_B.default.")
            parameters[f"base_model.model.model.{inner}"].copy_(weight)
