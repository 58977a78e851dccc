"""Puts LoRA adapters and a classification head on a frozen LLaMA; several of them can share one base."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from src.cli.errors import UserError
from src.cli.files import exchanging_folder
from src.cli.json_files import REMADE, Damaged
from src.config.choices import Pooling
from src.config.train import LoraConfig
from src.models.adapters import AdapterTable
from src.models.engine import elementwise, kernels
from src.models.engine.attention import Backend, pick_backend
from src.models.engine.blocks import AdapterSegment, Dropping, PackedForward, attention_of_ends
from src.models.engine.dropout import KeyedDropout
from src.models.engine.packing import Packed, join, send

HEAD_FILE = "head.safetensors"
ADAPTER = "default"
"""Name of the adapters where there is one classifier on a base."""


class Classifier(nn.Module):
    """Reads packed notes and scores each note from the hidden state of its last token, or the mean over all of them.

    The head is a linear map without bias, trained in full in fp32, as in `LlamaForSequenceClassification`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        hidden_size: int,
        width: int,
        device: str,
        adapter: str = ADAPTER,
        pooling: Pooling = Pooling.LAST,
    ) -> None:
        super().__init__()
        self.backbone, self.adapter, self.pooling = backbone, adapter, pooling
        self._table: AdapterTable | None = None
        self.head = nn.Linear(hidden_size, width, bias=False, device=device, dtype=torch.float32)
        nn.init.normal_(self.head.weight, std=0.02)

    def forward(self, notes: Packed) -> Tensor:
        """Computes logits [B, width] of B packed notes, fp32."""
        return read_together([AdapterBatch(self, notes)])[0]

    def logits_at(self, notes: Packed, rows: Tensor) -> Tensor:
        """Computes logits [P, width] at P tokens of the packed row: what each note would get if it ended there."""
        return self.head(self.pooled(_hidden([AdapterBatch(self, notes)], notes, prune=False), notes, rows))

    def readings(self, notes: Packed) -> Tensor:
        """Computes what the head reads of B packed notes, [B, h]."""
        return _readings([AdapterBatch(self, notes)])[0]

    @torch.no_grad()
    def attention(self, notes: Packed) -> list[Tensor]:
        """Computes how much the token that the head reads attends to each token of its note in the last block.

        Returns:
            [H, t] for each note of t tokens, by the heads of the attention.

        Raises:
            ValueError: the head reads all tokens of a note.
        """
        if self.pooling is not Pooling.LAST:
            raise ValueError("the head reads the mean over a note's tokens, and none of them alone")
        weights: list[Tensor] = []

        def look(layer: Any, args: tuple[Tensor], kwargs: dict[str, Any]) -> None:
            weights.extend(attention_of_ends(layer.block, *args, kwargs["position_embeddings"], kwargs["reading"]))

        hook = layers_of(self.backbone)[-1].register_forward_pre_hook(look, with_kwargs=True)
        try:
            self.readings(notes)
        finally:
            hook.remove()
        return weights

    def pooled(self, hidden: Tensor, notes: Packed, rows: Tensor) -> Tensor:
        """Returns the states [P, h] that the head reads of notes that end at `rows` [P], from those of all T tokens."""
        if self.pooling is Pooling.LAST:
            return hidden[send([rows], hidden.device)[0]].to(self.head.weight.dtype)
        # Where notes begin and end is known on the host: no index is sent, and no neighbour's number can come in.
        parts = hidden.split(notes.lengths)
        ends = zip(torch.searchsorted(notes.last, rows).tolist(), notes.positions[rows].tolist(), strict=True)
        return torch.stack([parts[note][: end + 1].mean(0, dtype=self.head.weight.dtype) for note, end in ends])

    @property
    def adapters(self) -> AdapterTable:
        """Holds the adapters of each layer at each of its sites."""
        if self._table is None:
            self._table = AdapterTable(layers_of(self.backbone), self.adapter)
        return self._table

    def trained(self) -> dict[str, Tensor]:
        """Returns what training changes, adapters and head, by names that do not hold the adapters' own name."""
        mine = f".{self.adapter}."
        adapters: dict[str, Tensor] = {
            f"backbone.{name.replace(mine, '.')}": weight
            for name, weight in self.backbone.named_parameters()
            if "lora_" in name and mine in name
        }
        return {**adapters, "head.weight": self.head.weight}

    def leaves(self, apart: bool = False) -> list[Tensor]:
        """Lists what an optimiser works on: all adapters as one tensor, or `apart`, and the head.

        These get the gradients; adapters that were one tensor before stay so.
        """
        return [*(self.adapters.weights if apart else [self.adapters.as_one()]), self.head.weight]

    def spread(self, values: Sequence[Tensor]) -> dict[str, Tensor]:
        """Divides a tensor for each of `leaves` into one for each of `trained`, views of it."""
        own = self.adapters.parts(values[0]) if len(values) == 2 else values[:-1]
        parts = dict(zip(map(id, self.adapters.weights), own, strict=True))
        return {name: parts.get(id(weight), values[-1]) for name, weight in self.trained().items()}


@dataclass(frozen=True)
class AdapterBatch:
    """Holds notes that a classifier is to score, and the dropout of its adapters' inputs."""

    classifier: Classifier
    notes: Packed
    noise: KeyedDropout | None = None


def read_together(
    batches: Sequence[AdapterBatch], *, prune: bool = True, recompute: bool = False, backend: Backend | None = None
) -> list[Tensor]:
    """Computes logits [B, width] of each classifier's notes, in one pass over the base that they share.

    Args:
        batches: classifiers on one base, each with notes of its own.
        prune: the last block computes the notes' last tokens only, where no head reads others; the same logits.
        recompute: keep one hidden state a block and compute the rest again in the backward pass.
        backend: which attention; None for the fastest.
    """
    readings = _readings(batches, prune=prune, recompute=recompute, backend=backend)
    return [batch.classifier.head(reading) for batch, reading in zip(batches, readings, strict=True)]


def _readings(
    batches: Sequence[AdapterBatch], *, prune: bool = True, recompute: bool = False, backend: Backend | None = None
) -> list[Tensor]:
    """Computes what each classifier's head reads of its notes, [B, h] each."""
    notes = join([batch.notes for batch in batches])
    prune = prune and all(batch.classifier.pooling is Pooling.LAST for batch in batches)
    hidden = _hidden(batches, notes, prune=prune, recompute=recompute, backend=backend)
    if prune:
        ends = hidden.split([len(batch.notes.lengths) for batch in batches])
        return [end.to(batch.classifier.head.weight.dtype) for batch, end in zip(batches, ends, strict=True)]
    parts = zip(batches, hidden.split([len(batch.notes.ids) for batch in batches]), strict=True)
    return [batch.classifier.pooled(part, batch.notes, batch.notes.last) for batch, part in parts]


def _hidden(
    batches: Sequence[AdapterBatch],
    notes: Packed,
    *,
    prune: bool,
    recompute: bool = False,
    backend: Backend | None = None,
) -> Tensor:
    """Computes hidden states [T, h] of the joined notes; with `prune` [B, h], of their last tokens."""
    backbone: Any = batches[0].classifier.backbone
    words = backbone.get_input_embeddings()
    device = words.weight.device
    ids, positions, last, starts, dropping = _sent(batches, notes, device)
    dtype = getattr(words, "activations", words.weight.dtype)
    block = layers_of(backbone)[0].block
    reading = PackedForward(
        parts=_parts(batches, dtype),
        lengths=notes.lengths,
        last=last,
        starts=starts,
        dropping=dropping,
        prune=prune,
        backend=backend or pick_backend(device, dtype, block.heads, block.width),
        fused=kernels if dtype != torch.float64 and kernels.available(device, _tried(dtype)) else elementwise,
        recompute=recompute and torch.is_grad_enabled(),
    )
    options = {"position_ids": positions[None], "reading": reading, "use_cache": False}
    hidden: Tensor = backbone(input_ids=ids[None], **options).last_hidden_state
    return hidden[0]


def _tried(dtype: torch.dtype) -> torch.dtype:
    """Returns the format in which kernels are tried: fp16 where a card may have no bf16."""
    return dtype if dtype is torch.float16 else torch.bfloat16


def _sent(
    batches: Sequence[AdapterBatch], notes: Packed, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor], Dropping | None]:
    """Sends ids, positions, last rows, starts of notes and of ends, and dropout to `device` by one copy."""
    count, lengths = len(notes.lengths), torch.tensor(notes.lengths)
    last, note = notes.last, torch.repeat_interleave(torch.arange(count), lengths)
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), last + 1])
    words = [
        word
        for batch in batches
        for word in (batch.noise.words if batch.noise else [(0, 0, 0)] * len(batch.notes.lengths))
    ]
    values = [notes.ids, notes.positions, last, starts, torch.arange(count + 1), note, torch.tensor(words), lengths - 1]
    ids, positions, last, starts, counted, note, keys, end_row = send(values, device)
    dropping = Dropping(words, notes.lengths, keys, note, positions, counted[:-1], end_row)
    drawn = any(level for *_, level in words)
    return ids, positions, last, (starts.int(), counted.int()), dropping if drawn else None


def _parts(batches: Sequence[AdapterBatch], dtype: torch.dtype) -> tuple[AdapterSegment, ...]:
    """Says whose rows are whose, with each cell's adapters in the format of activations."""
    parts, row, note = [], 0, 0
    for batch in batches:
        rows, notes = sum(batch.notes.lengths), len(batch.notes.lengths)
        alone = len(batches) == 1
        table, gain = batch.classifier.adapters, batch.noise.gain if batch.noise and batch.noise.level else 1.0
        adapters = table.cast(dtype)
        gradient, handle = table.gradient() if torch.is_grad_enabled() and table.weights else (None, None)
        own_rows, own_notes = slice(row, row + rows), slice(note, note + notes)
        ends, whose = (None, None) if alone else (own_notes, own_rows)
        parts.append(AdapterSegment(whose, ends, adapters, gain, gradient, handle))
        row, note = row + rows, note + notes
    return tuple(parts)


def layers_of(backbone: Any) -> Any:
    """Returns the decoder layers of a base, with or without adapters around it."""
    return (backbone.get_base_model() if hasattr(backbone, "get_base_model") else backbone).layers


def with_adapters(
    base: nn.Module,
    lora: LoraConfig,
    width: int,
    device: str,
    adapter: str = ADAPTER,
    pooling: Pooling = Pooling.LAST,
) -> Classifier:
    """Puts fresh adapters (fp32) and a fresh head of `width` logits on a base.

    Args:
        base: a frozen base, or the backbone of another classifier on it.
        lora: rank, factor and places of the adapters.
        width: logits.
        device: where the head lies.
        adapter: a name that no other classifier on the base has.
        pooling: what the head reads of a note.
    """
    from peft import LoraConfig as PeftLora
    from peft import PeftModel, get_peft_model

    # peft's dropout is never drawn, as its layers' forward is never called; the value is for the files it writes.
    adapters = PeftLora(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets),
        bias="none",
        use_rslora=lora.rslora,
    )
    backbone: Any = base
    if isinstance(backbone, PeftModel):
        backbone.add_adapter(adapter, adapters)
    else:
        backbone = get_peft_model(base, adapters, adapter)
    for name, weight in backbone.named_parameters():
        weight.requires_grad_("lora_" in name)  # peft leaves the last adapters alone trainable
    return Classifier(backbone, _hidden_size(backbone), width, device, adapter, pooling)


def save_adapters(classifier: Classifier, folder: Path) -> None:
    """Writes adapters in peft's format and the head beside them; the folder is whole or absent."""
    backbone: Any = classifier.backbone
    trained = classifier.trained().items()
    adapters = {name.removeprefix("backbone."): _plain(value) for name, value in trained if "lora_" in name}
    # One that is there is of a process that was killed before the run's record was written.
    with exchanging_folder(folder, ours=Path.is_dir, instead="remove it") as tmp:
        backbone.peft_config[classifier.adapter].save_pretrained(str(tmp))
        save_file(adapters, tmp / "adapter_model.safetensors")
        save_file({"weight": _plain(classifier.head.weight)}, tmp / HEAD_FILE)


def _plain(value: Tensor) -> Tensor:
    return value.detach().cpu().contiguous()


def read_trained(folder: Path) -> dict[str, Tensor]:
    """Reads what `save_adapters` wrote, by the names of `Classifier.trained`; nothing is unpickled.

    Raises:
        UserError: a file is missing or damaged.
    """
    from peft.utils import load_peft_weights

    for name in ("adapter_config.json", "adapter_model.safetensors", HEAD_FILE):
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: no such file; the run has no trained adapters, train it again")
    try:
        adapters, head = load_peft_weights(str(folder), device="cpu"), load_file(folder / HEAD_FILE)["weight"]
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise Damaged(folder, type(error).__name__, REMADE) from None
    return {**{f"backbone.{name}": weight for name, weight in adapters.items()}, "head.weight": head}


def load_adapters(
    base: nn.Module, folder: Path, width: int, device: str, pooling: Pooling = Pooling.LAST
) -> Classifier:
    """Loads the adapters and the head that `save_adapters` wrote onto a base; nothing is unpickled.

    Raises:
        UserError: a file is missing, or its weights do not fit this base or label scheme.
    """
    from peft import PeftModel

    saved = read_trained(folder)
    weight = saved["head.weight"]
    try:
        adapted = PeftModel.from_pretrained(base, str(folder))
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise Damaged(folder, type(error).__name__, REMADE) from None
    classifier = Classifier(adapted, _hidden_size(base), width, device, pooling=pooling)
    if differing := set(classifier.trained()) ^ set(saved):
        raise UserError(f"{folder}: {len(differing)} adapter weights do not fit model.path; is it the same?")
    if weight.shape != classifier.head.weight.shape:
        shapes = f"{tuple(weight.shape)} where {tuple(classifier.head.weight.shape)} is needed"
        raise UserError(f"{folder / HEAD_FILE}: the head is {shapes}; labels or cohort differ from the run's")
    with torch.no_grad():
        classifier.head.weight.copy_(weight)
    return classifier


def _hidden_size(base: nn.Module) -> int:
    config: Any = base.config
    return int(config.hidden_size)
