"""What form the files of a folder have: names, keys, columns, tensors and their types, without a value."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
from safetensors import safe_open

VARIABLE = [
    (re.compile(r"\d{8}_\d{6}"), "TIME"),
    (re.compile(r"\b(c[0-9a-f]{7}(-[0-9a-f]{4})?|[0-9a-f]{16})\b"), "HASH"),
    (re.compile(r"(?<![A-Za-z0-9_])\d+(?![A-Za-z0-9_])"), "N"),
]
"""Parts of names that differ from run to run, and numbers that stand for one of many."""

OPEN = 80
"""With more keys than this an object is a table by class; its keys are no part of its form."""

OF_LIBRARIES = re.compile(r"(^|/)(adapter_config|config|generation_config|tokenizer.*)\.json$")
"""Files that peft, transformers and tokenizers write, whose keys are those of their versions."""

OF_MACHINES = ("gpu", "job", "commit")
"""Keys that are null on a machine without a GPU, outside of Slurm, or outside of a git checkout."""

Form = dict[str, str]
"""What stands there, by file and part, as `cohort.json flow[].step`: a type."""


def described(folder: Path) -> Form:
    """The form of every file below a folder; of what W&B writes for itself only its records."""
    form: Form = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() or (re.search(r"(^|/)wandb/", name) and path.suffix != ".wandb"):
            continue
        for part, kind in parts(path):
            key = f"{pattern(name)} {part}".rstrip()
            form[key] = " | ".join(sorted({*form.get(key, kind).split(" | "), *kind.split(" | ")}))
    return form


def pattern(name: str) -> str:
    """A name with `TIME`, `HASH` and `N` for what varies.

    >>> pattern("wandb/offline-run-20260101_120000-nano-len64-r8-s0-ca08965f-3fc4"), pattern("layers.0.top5")
    ('wandb/offline-run-TIME-nano-len64-r8-s0-HASH', 'layers.N.top5')
    """
    for variable, word in VARIABLE:
        name = variable.sub(word, name)
    return name


def parts(path: Path) -> Iterator[tuple[str, str]]:
    """The parts of a file with their types; the file alone where it has none."""
    kind = path.suffix or "file"
    yield "", kind
    if kind == ".parquet":
        yield from ((column, str(dtype)) for column, dtype in pl.read_parquet_schema(path).items())
    elif kind == ".csv":
        yield "header", path.read_text("utf-8").split("\n", 1)[0]
    elif kind == ".jsonl":
        for line in path.read_text("utf-8").splitlines():
            yield from keys(json.loads(line))
    elif kind == ".safetensors":
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 (no mapping)
                yield pattern(name), str(file.get_slice(name).get_dtype())
            for name, text in (file.metadata() or {}).items():
                yield from keys(parsed(text), f"metadata.{name}")
    elif not OF_LIBRARIES.search(str(path)):
        yield from keys(parsed(path.read_bytes() if kind in (".json", "file") else b""))


def parsed(text: str | bytes) -> Any:
    """What JSON says; a text that is none stays."""
    try:
        return json.loads(text)
    except ValueError:
        return ""


def keys(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The key paths of a JSON value with the types at their ends.

    >>> list(keys({"a": {"b": 1}, "c": [{"d": "x"}, {"d": None}]}))
    [('a.b', 'int'), ('c[].d', 'str'), ('c[].d', 'null')]
    """
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            name = "*" if len(value) > OPEN else pattern(key)
            yield from keys(inner, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list) and value:
        for inner in value:
            yield from keys(inner, f"{path}[]")
    elif path.rpartition(".")[2] in OF_MACHINES:
        yield path, "null | str"
    elif path:
        yield path, {"NoneType": "null"}.get(type(value).__name__, type(value).__name__)


def differences(kept: Form, now: Form) -> list[str]:
    """A line for each part that is new, gone or of another type.

    >>> differences({"a.json x": "int", "a.json y": "str"}, {"a.json x": "float", "a.json z": "str"})
    ['a.json x: was int, is float', 'a.json y: gone, was str', 'a.json z: new, is str']
    """
    lines = []
    for key in sorted({*kept, *now}):
        if key not in now:
            lines.append(f"{key}: gone, was {kept[key]}")
        elif key not in kept:
            lines.append(f"{key}: new, is {now[key]}")
        elif kept[key] != now[key]:
            lines.append(f"{key}: was {kept[key]}, is {now[key]}")
    return lines
