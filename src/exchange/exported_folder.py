"""An exported folder holds model, tokenizer, adapter, DRGs and card, and is whole and checked, or absent."""

import gc
from pathlib import Path
from typing import Any

from src.cli.errors import UserError
from src.cli.files import atomic_folder
from src.cohort.split import Split
from src.config.choices import Pooling, Precision, Weights
from src.exchange.adapter import write_peft_adapter
from src.exchange.card import ADAPTER, CARD, CLASSES, DRGS, card, logit_names, write_classes, write_drgs
from src.exchange.merged import SHARD, largest_difference, merge, packed_logits, padding_token, plain_logits
from src.models.bases import DTYPES, locate
from src.models.classifier import load_adapters
from src.models.pretrained import read_pretrained
from src.models.prompts import encode_notes
from src.runs.record import RunRecord
from src.training.run_data import RunData


def pick_written(requested: Precision, trained: Precision) -> Precision:
    """Picks the number format of the written weights; of a quantised base's, that of its original weights.

    >>> str(pick_written(Precision.AUTO, Precision.NF4)), str(pick_written(Precision.AUTO, Precision.FP32))
    ('bf16', 'fp32')
    """
    if requested is not Precision.AUTO:
        return requested
    return Precision.BF16 if trained.is_quantised else trained


def write_export(data: RunData, record: RunRecord, adapter: Path, out: Path, notes: int) -> float:
    """Merges, writes, and checks the written model against the run's own; one copy of the base is held at a time.

    Args:
        data: of the run, with the precision in which the weights are written.
        record: the run's.
        adapter: the run's folder of adapters.
        out: where it all goes, absent or empty.
        notes: test notes of the check.

    Returns:
        The largest difference of a logit.

    Raises:
        UserError: the base's weights were random, the head reads a mean, or the written model does not give the run's
            logits.
    """
    cfg = data.cfg
    if cfg.model.weights is Weights.RANDOM:
        raise UserError("model.weights=random: the run's base was not kept, so there is nothing to merge into")
    if cfg.pooling is not Pooling.LAST:
        raise UserError(
            f"pooling={cfg.pooling}: the classifiers of transformers read the last token alone, so the written model "
            "would give other logits; keep the run and score with src.evaluate, or train one with pooling=last"
        )
    readings = data.tokenised(Split.TEST).ids[:notes]
    with atomic_folder(out) as tmp:
        classifier = load_adapters(data.base(), adapter, data.scheme.width, data.device).eval()
        expected = packed_logits(classifier, readings, cfg.batch_size)
        token = padding_token(data.tokenizer, readings, cfg.model.vocab_size)
        pad = data.tokenizer.convert_tokens_to_ids(token)
        model = merge(classifier, logit_names(data), pad)
        model.save_pretrained(tmp, max_shard_size=SHARD)
        written = {"family": type(model).__name__, "precision": str(data.precision), "pad": pad}
        # Before the written copy is loaded for the check: two copies of a base may not fit.
        del classifier, model
        gc.collect()
        write_tokenizer(data, token, tmp)
        check_tokenizer(data, readings, tmp)
        logits = plain_logits(tmp, readings, cfg.batch_size, data.device)
        difference = largest_difference(logits, expected, DTYPES[data.precision])
        base = locate(cfg.model)
        write_peft_adapter(adapter, tmp / ADAPTER, str(Path(base).resolve()) if Path(base).is_dir() else base)
        write_drgs(tmp / DRGS, data)
        facts = {**written, "notes": len(readings), "difference": difference}
        (tmp / CARD).write_text(card(data, record, facts), "utf-8")
    write_classes(out.with_name(f"{out.name}-{CLASSES}"), data)
    return difference


def write_tokenizer(data: RunData, pad: str, folder: Path) -> None:
    """Writes the base's tokenizer, set to cut and pad as the run read its notes."""
    tokenizer = data.tokenizer
    tokenizer.pad_token = pad
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    tokenizer.model_max_length = data.cfg.max_len
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.save_pretrained(folder)


def check_tokenizer(data: RunData, readings: Any, folder: Path) -> None:
    """Compares what the written tokenizer makes of test notes with what the run read.

    Raises:
        UserError: they differ.
    """
    from transformers import AutoTokenizer

    cfg = data.cfg
    texts = data.cohort.notes(Split.TEST, cfg.data.limit)["text"].head(len(readings)).to_list()
    again = encode_notes(read_pretrained(AutoTokenizer, folder), texts, cfg.prompt, cfg.max_len)
    if again != list(readings):
        raise UserError("the written tokenizer reads the notes differently: nothing was kept")
