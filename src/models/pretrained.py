"""Reads a model's folder or hub id: data alone, for no code that it brings is ever run."""

from pathlib import Path
from typing import Any

import torch

from src.cli.errors import UserError
from src.config.architecture import hub_answers
from src.config.train import ModelConfig


def read_pretrained(kind: Any, where: str | Path, **options: Any) -> Any:
    """Returns what `kind.from_pretrained` gives for `where`, from configurations and safetensors.

    Args:
        kind: an auto class of transformers.
        where: a folder or a hub id.
        options: what else `from_pretrained` is told.
    """
    if kind.__name__.startswith("AutoModel"):
        # A configuration may name an attention of the hub, which is code too.
        options = {"use_safetensors": True, "attn_implementation": "sdpa", **options}
    if not Path(where).exists() and not hub_answers():  # what is at hand is read, and nothing is tried again
        options = {"local_files_only": True, **options}
    return kind.from_pretrained(where, trust_remote_code=False, **options)


def loaded(model: ModelConfig, kind: Any, where: str, **options: Any) -> Any:
    """Returns what `read_pretrained` gives for a model.

    Raises:
        UserError: it cannot be had; the message is transformers' first line, and how to get it.
    """
    named = f"model={model.name} model.path={where}"
    try:
        return read_pretrained(kind, where, **options)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # damaged files fail in every way
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if "custom code" in first or "trust_remote_code" in str(error):
            raise UserError(f"{named}: wants code of its own to be run, which is never done; name another") from None
        if Path(where).is_dir() and not any(Path(where).glob("*.safetensors")) and any(Path(where).glob("*.bin")):
            raise UserError(
                f"{named}: weights must be safetensors; a .bin file is a pickle, which may run code"
            ) from None
        raise UserError(f"{named}: {first[:200]} {model.access}") from error
