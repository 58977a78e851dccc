"""A run's adapter is written as peft itself writes one for `*ForSequenceClassification`, head included."""

import json
from pathlib import Path

from safetensors.torch import load_file, save_file

from src.models.classifier import HEAD_FILE

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

INNER, OUTER = "base_model.model.", "base_model.model.model."
"""Where a weight lies: ours are on the bare decoder, peft's on the classifier around it."""


def write_peft_adapter(adapter: Path, folder: Path, base: str) -> None:
    """Writes a run's adapter and head as one adapter of `TaskType.SEQ_CLS`.

    Args:
        adapter: the run's folder of adapters, as `save_adapters` wrote it.
        folder: where it goes; made here.
        base: hub id or folder of the base, which peft loads first.
    """
    folder.mkdir()
    ours = load_file(adapter / WEIGHTS)
    weights = {OUTER + name.removeprefix(INNER): weight for name, weight in ours.items()}
    weights[f"{INNER}score.weight"] = load_file(adapter / HEAD_FILE)["weight"]
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    config = json.loads((adapter / CONFIG).read_text("utf-8"))
    own = {"task_type": "SEQ_CLS", "modules_to_save": ["score"], "auto_mapping": None, "base_model_name_or_path": base}
    (folder / CONFIG).write_text(json.dumps({**config, **own}, indent=2) + "\n", "utf-8")
