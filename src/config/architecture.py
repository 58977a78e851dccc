"""Reads the architecture of a base as its own config.json states it, without transformers or torch."""

import json
import re
import socket
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from src.cli.errors import UserError

ROOT = Path(__file__).parents[2]

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
"""`model_type` of the LLaMA relatives: the same blocks and names, tested note by note against transformers."""

ATTENTION, FEED_FORWARD = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")

PATIENCE_S = 10.0
"""Seconds in which the hub's host must be reached: those that the hub's client waits for one answer, of six."""

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def folder_of(path: str) -> Path | None:
    """Finds the folder that `model.path` names, here or in the project; None for a hub id and a PyPI package."""
    folders = (Path(path), ROOT / path) if path else ()
    return next((folder for folder in folders if folder.is_dir()), None)


def own_architecture(path: str) -> dict[str, Any]:
    """Reads the architecture of a folder, or of a hub id, whose config.json is fetched if it is not at hand.

    Raises:
        UserError: there is no config.json to be had, it is damaged, or it is of no LLaMA relative.
    """
    folder = folder_of(path)
    file = folder / "config.json" if folder else _from_hub(path)
    try:
        config = json.loads(file.read_text("utf-8"))
    except OSError:
        raise UserError(
            f"model.path={path}: no config.json there; it must be a folder in Hugging Face's format"
        ) from None
    except ValueError as error:
        raise UserError(f"{file}: damaged ({error}); copy the folder again") from None
    return read_architecture(config, str(file))


def _from_hub(path: str) -> Path:
    if not HUB_ID.fullmatch(path):
        raise UserError(f"model.path={path}: no such folder")
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(path, "config.json", local_files_only=not hub_answers()))
    except (OSError, ValueError) as error:  # every error of the hub's client is one of these
        error_name = type(error).__name__
        raise UserError(f"model.path={path}: no such folder, and no config.json from the hub ({error_name})") from None


def hub_answers() -> bool:
    """Says whether somebody listens where the hub is; behind a proxy its client finds out."""
    from huggingface_hub import constants

    hub = urlsplit(constants.ENDPOINT)
    if constants.HF_HUB_OFFLINE or {"http", "https", "all"} & urllib.request.getproxies().keys():
        return not constants.HF_HUB_OFFLINE
    try:
        socket.create_connection((hub.hostname, hub.port or (80 if hub.scheme == "http" else 443)), PATIENCE_S).close()
    except OSError:
        return False
    return True


def read_architecture(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Reads the fields of `ModelConfig` that a config.json decides.

    Args:
        config: what config.json holds, of any version of transformers.
        where: its name in messages.

    Raises:
        UserError: the model is no LLaMA relative, or a number is missing.

    >>> llama = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    >>> sizes = {"num_attention_heads": 4, "vocab_size": 300, "max_position_embeddings": 2048}
    >>> read_architecture({**llama, **sizes, "rope_theta": 500000.0}, "config.json")["rope_theta"]
    500000.0
    """
    family = config.get("model_type")
    if family not in FAMILIES:
        raise UserError(f"{where}: model_type={family} is no LLaMA relative; use one of {', '.join(FAMILIES)}")
    names = {
        "hidden_size": "hidden_size",
        "intermediate_size": "intermediate_size",
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "vocab_size": "vocab_size",
        "context": "max_position_embeddings",
    }
    if missing := [key for key in names.values() if not isinstance(config.get(key), int) or config[key] < 1]:
        raise UserError(f"{where}: {', '.join(missing)} must be a number above 0; copy the folder again")
    sizes = {field: config[key] for field, key in names.items()}
    # Younger versions of transformers write rope_parameters, older ones the two keys that stand in its place here.
    rope = config.get("rope_parameters") or {
        **(config.get("rope_scaling") or {}),
        "rope_theta": config.get("rope_theta"),
    }
    return {
        **sizes,
        "family": family,
        "kv_heads": config.get("num_key_value_heads") or sizes["heads"],
        "head_dim": config.get("head_dim") or (128 if family == "qwen3" else sizes["hidden_size"] // sizes["heads"]),
        "context": _context(sizes["context"], rope),
        "window": _window(family, config),
        "biases": _biases(family, config),
        "rope_theta": float(rope.get("rope_theta") or 10000.0),
        "tied": bool(config.get("tie_word_embeddings")),
    }


def _context(positions: int, rope: Mapping[str, Any]) -> int:
    """Counts the positions of the longest text; with longrope those up to which a note's angles are its own alone.

    Beyond them longrope changes with the longest note of a packed row.
    """
    kind = rope.get("rope_type") or rope.get("type")
    own = rope.get("original_max_position_embeddings")
    return min(positions, int(own)) if kind == "longrope" and own else positions


def _window(family: str, config: Mapping[str, Any]) -> int | None:
    """Returns how many tokens a token looks back on at most; None for all. Qwen states a window that it seldom uses."""
    used = family == "mistral" or config.get("use_sliding_window", False)
    return config.get("sliding_window") if used else None


def _biases(family: str, config: Mapping[str, Any]) -> list[str]:
    if family == "qwen2":
        return ["q_proj", "k_proj", "v_proj"]
    attention = ATTENTION if config.get("attention_bias") else ()
    return [*attention, *(FEED_FORWARD if config.get("mlp_bias") else ())]
