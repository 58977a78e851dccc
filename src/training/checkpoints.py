"""Checkpoints of a run: one file each, whole or noticed to be damaged, without pickled code.

`last.safetensors` is the newest, `before.safetensors` the one before it. Each holds what training changes (adapters,
head, the optimiser's moments, the best epoch's weights), and, as metadata, where the run stands.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from src.cli.errors import UserError
from src.cli.files import atomic_write, private_folder
from src.cli.json_files import Schema, parse_json, set_aside
from src.runs.folder import RunFolder

LAST, BEFORE = "last.safetensors", "before.safetensors"

STANDING: Schema = {
    "identity": str,
    "config?": dict,
    "cohort?": str,
    "sample?": str,
    "stopped?": bool,
    "callbacks?": dict,
    "scaler?": {
        "scale": float,
        "growth_factor": float,
        "backoff_factor": float,
        "growth_interval": int,
        "_growth_tracker": int,
    },
    "progress": {
        "stage?": str,
        "step": int,
        "validated": int,
        "best": float,
        "best_step": int,
        "tokens_seen": int,
        "notes_seen": int,
        "seconds": float,
        "window": dict[str, float],
        "since_best?": int,
        "skipped?": int,
    },
}
"""What a checkpoint holds beside its tensors."""


def write_checkpoint(run_dir: Path, tensors: Mapping[str, Tensor], standing: Mapping[str, Any]) -> None:
    """Writes a checkpoint beside the last one and renames it; a kill or a power cut leaves one that is whole.

    Args:
        run_dir: the run's folder.
        tensors: by name, on any device.
        standing: what else is needed, as JSON.

    Raises:
        UserError: it cannot be written; the last one is kept.
    """
    folder = private_folder(RunFolder(run_dir).checkpoints)
    whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    text = json.dumps(standing)
    try:
        with atomic_write(folder / LAST, former=folder / BEFORE) as tmp:
            save_file(whole, tmp, metadata={"told": text, "crc32": str(_crc32(whole, text))})
    except SafetensorError as error:
        raise UserError(f"{folder / LAST}: cannot be written ({error}); the last one is kept") from None


def read_checkpoint(run_dir: Path, first: bool = True) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Reads the newest whole checkpoint of a run, on the CPU; None where there is none.

    Args:
        run_dir: the run's folder.
        first: whether this process sets aside what is damaged, as the first of several does.
    """
    for name in (LAST, BEFORE):
        path = RunFolder(run_dir).checkpoints / name
        try:
            return _read(path)
        except FileNotFoundError:
            continue
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            if first:
                reason = str(error) if isinstance(error, ValueError) else type(error).__name__
                set_aside(path, f"{reason}; the checkpoint before it is looked for")
    return None


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if path.is_dir():
        raise ValueError("a folder is in its place")
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    standing = parse_json(metadata["told"], STANDING)
    # Earlier versions kept the checksum of the tensors alone among what they told.
    earlier = standing.pop("crc32", None)
    expected = int(metadata["crc32"]) if "crc32" in metadata else earlier
    if expected != _crc32(tensors, metadata["told"] if "crc32" in metadata else ""):
        raise ValueError("its checksum is another")
    return tensors, standing


def _crc32(tensors: Mapping[str, Tensor], text: str) -> int:
    crc = zlib.crc32(text.encode())
    for name in sorted(tensors):
        value = tensors[name]
        crc = zlib.crc32(value.reshape(-1).numpy().data, zlib.crc32(name.encode(), crc))
    return crc
