"""Trains a byte-level BPE tokenizer for a small base on notes."""

from collections.abc import Iterable
from typing import Any

START, END = "<s>", "</s>"


def train_tokenizer(texts: Iterable[str], vocab_size: int, context: int) -> Any:
    """Trains a transformers tokenizer of `vocab_size` tokens, `<s>` before every text, as LLaMA's.

    Digits are single tokens, as LLaMA's.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    core.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", special_tokens=[(START, core.token_to_id(START))]
    )
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token=START, eos_token=END, model_max_length=context)
