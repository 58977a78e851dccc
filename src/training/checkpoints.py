"""Checkpoints of a run: one file each, whole or noticed to be damaged, without pickled code.

`last.safetensors` is the newest, `before.safetensors` the one before it. Each holds what training changes (adapters,
head, the optimiser's moments, the best epoch's weights), and, as metadata, where the run stands.
"""

import json
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from src.shell.errors import UserError
from src.shell.files import private_folder, replacing

FOLDER = "checkpoints"
LAST, BEFORE = "last.safetensors", "before.safetensors"


def write_checkpoint(run_dir: Path, tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> None:
    """Writes a checkpoint beside the last one and renames it; a kill or a power cut leaves one that is whole.

    Args:
        run_dir: the run's folder.
        tensors: by name, on any device.
        told: what else is needed, as JSON.

    Raises:
        UserError: it cannot be written; the last one is kept.
    """
    folder = private_folder(run_dir / FOLDER)
    whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    try:
        with replacing(folder / LAST, former=folder / BEFORE) as beside:
            save_file(whole, beside, metadata={"told": json.dumps({**told, "crc32": _crc32(whole)})})
    except SafetensorError as error:
        raise UserError(f"{folder / LAST}: cannot be written ({error}); the last one is kept") from None


def read_checkpoint(run_dir: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest whole checkpoint of a run, on the CPU; None where there is none."""
    for name in (LAST, BEFORE):
        path = run_dir / FOLDER / name
        if not path.is_file():
            continue
        try:
            with safe_open(path, "pt") as file:
                told = json.loads(file.metadata()["told"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
            if told.pop("crc32") == _crc32(tensors):
                return tensors, told
        except (SafetensorError, OSError, ValueError, KeyError, TypeError):
            pass
        print(f"{path}: damaged; looking for the checkpoint before it", file=sys.stderr, flush=True)
    return None


def _crc32(tensors: Mapping[str, Tensor]) -> int:
    crc = 0
    for name in sorted(tensors):
        value = tensors[name]
        crc = zlib.crc32(value.reshape(-1).numpy().data, zlib.crc32(name.encode(), crc))
    return crc
