"""Turns a composed configuration into the value of its schema, and lists what is wrong in it."""

import dataclasses
import typing
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, TypeVar

S = TypeVar("S")


def leaves(schema: type[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the keys of a schema as they are typed, with the types of their values."""
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind):
            yield from leaves(typing.cast(type[Any], kind), f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", kind


def typed_value(schema: type[S], config: Any) -> tuple[S | None, list[str]]:
    """Converts a composed configuration, and lists the problems of its types and values."""
    typed, problems = converted(schema, config)
    if typed is not None:
        problems = [problem for kind in judged(typed) for problem in kind]
    return (None if problems else typed), problems


def judged(config: Any) -> tuple[list[str], list[str]]:
    """Lists the problems of a typed configuration: of single values, and of values that do not go together."""
    conflicts = config.conflicts() if hasattr(config, "conflicts") else []
    return [problem for problem in config.problems() if problem not in conflicts], conflicts


def converted(schema: type[S], config: Any) -> tuple[S | None, list[str]]:
    """Converts a composed configuration, and lists the problems of its types."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    fresh = OmegaConf.structured(schema)
    for field in dataclasses.fields(typing.cast(Any, schema)):  # a group without a default starts as one missing value
        if dataclasses.is_dataclass(typing.get_type_hints(schema)[field.name]):
            fresh[field.name] = OmegaConf.structured(typing.get_type_hints(schema)[field.name])
    kinds, problems = dict(leaves(schema)), []
    given = OmegaConf.to_container(config, resolve=True) if OmegaConf.is_config(config) else config
    for key, value in _flat(given, kinds):
        if key not in kinds:
            reason = getattr(schema, "REFUSED", {}).get(key, f"there is no key {key}")
            problems.append(f"{key}={value}: {reason}")
            continue
        if value == "???":
            problems.append(f"{key}: not given; write {key}=VALUE")
            continue
        try:
            kind = kinds[key]
            typed = kind(value) if isinstance(kind, type) and issubclass(kind, StrEnum) else value
            OmegaConf.update(fresh, key, typed, force_add=False)
        except (OmegaConfBaseException, ValueError):
            problems.append(f"{key}={value}: must be {_wording(kinds[key])}")
    if problems:
        return None, problems
    return typing.cast(S, OmegaConf.to_object(fresh)), []


def _flat(node: Any, kinds: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and name not in kinds:
            yield from _flat(value, kinds, f"{name}.")
        else:
            yield name, value


def _wording(kind: Any) -> str:
    """Says in words what a value of this type may be.

    >>> _wording(int), _wording(float | None), _wording(list[str])
    ('a whole number', 'a number or null', 'a list of texts')
    """
    members = typing.get_args(kind)
    if typing.get_origin(kind) is list:
        return f"a list of {_wording(members[0]).removeprefix('a ')}s"
    if typing.get_origin(kind) is dict:
        return "a mapping"
    if members:
        return " or ".join(_wording(member) for member in members)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return "one of " + ", ".join(kind)
    named = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    return named.get(kind, "null")
