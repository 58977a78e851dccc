"""A frozen LLaMA with LoRA adapters and a classification head."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from src.config.train import LoraConfig
from src.models.packing import Packed
from src.shell.errors import UserError
from src.shell.files import replacing_folder

HEAD_FILE = "head.safetensors"


class Classifier(nn.Module):
    """Reads packed notes and scores each note from the hidden state of its last token.

    The head is a linear map without bias, trained in full in fp32, as in `LlamaForSequenceClassification`.
    """

    def __init__(self, backbone: nn.Module, hidden_size: int, width: int, device: str) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(hidden_size, width, bias=False, device=device, dtype=torch.float32)
        nn.init.normal_(self.head.weight, std=0.02)

    def forward(self, notes: Packed) -> Tensor:
        """Logits [B, width] of B packed notes, fp32."""
        return self.at(notes, notes.last)

    def at(self, notes: Packed, places: Tensor) -> Tensor:
        """Logits [P, width] at P places of the packed row, fp32: what each note would get if it ended there."""
        hidden = self.backbone(
            input_ids=notes.ids[None],
            position_ids=notes.positions[None],
            note_lengths=notes.lengths,
            use_cache=False,
        ).last_hidden_state[0]
        return self.head(hidden[places].float())

    def trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and values of what training changes: adapters and head."""
        return ((name, weight) for name, weight in self.named_parameters() if weight.requires_grad)


def with_adapters(base: nn.Module, lora: LoraConfig, width: int, device: str) -> Classifier:
    """The base with fresh adapters (fp32) and a fresh head of `width` logits."""
    from peft import LoraConfig as PeftLora
    from peft import get_peft_model

    adapters = PeftLora(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets),
        bias="none",
    )
    return Classifier(get_peft_model(base, adapters), _hidden_size(base), width, device)


def save_adapters(classifier: Classifier, folder: Path) -> None:
    """Writes adapters in peft's format and the head beside them; the folder is whole or absent."""
    with replacing_folder(folder) as beside:
        peft: Any = classifier.backbone
        peft.save_pretrained(str(beside))
        (beside / "README.md").unlink(missing_ok=True)
        save_file({"weight": classifier.head.weight.detach().cpu().contiguous()}, beside / HEAD_FILE)


def load_adapters(base: nn.Module, folder: Path, width: int, device: str) -> Classifier:
    """The base with the adapters and the head that `save_adapters` wrote; nothing is unpickled.

    Raises:
        UserError: a file is missing, or its weights do not fit this base or label scheme.
    """
    from peft import PeftModel
    from peft.utils import load_peft_weights

    for name in ("adapter_config.json", "adapter_model.safetensors", HEAD_FILE):
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: no such file; the run has no trained adapters, train it again")
    expected = load_peft_weights(str(folder), device="cpu")
    classifier = Classifier(PeftModel.from_pretrained(base, str(folder)), _hidden_size(base), width, device)
    held = {name.replace(".default", "") for name, _ in classifier.backbone.named_parameters() if "lora_" in name}
    if held != set(expected):
        raise UserError(f"{folder}: {len(held ^ set(expected))} adapter weights do not fit model.path; is it the same?")
    weight = load_file(folder / HEAD_FILE)["weight"]
    if weight.shape != classifier.head.weight.shape:
        shapes = f"{tuple(weight.shape)} where {tuple(classifier.head.weight.shape)} is needed"
        raise UserError(f"{folder / HEAD_FILE}: the head is {shapes}; labels or cohort differ from the run's")
    with torch.no_grad():
        classifier.head.weight.copy_(weight)
    return classifier


def _hidden_size(base: nn.Module) -> int:
    config: Any = base.config
    return int(config.hidden_size)
