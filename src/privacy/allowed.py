"""An allow-list says which kinds, fields and forms a record of W&B may have under our policy; the rest are findings."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from src.privacy.decodings import decodings, json_leaves
from src.runs.folder import RunFolder
from src.tracking.guard import CONFIG_NUMBERS, METRIC, config_pattern
from src.tracking.replay import Replay
from src.tracking.wandb_run import guarded_labels

Rule = Callable[[str], str | None]
"""From a field's text to what is wrong with it; None where it may stand."""


@dataclass(frozen=True)
class LoggedString:
    """Holds one string, or one whole number of many digits, that W&B has.

    Attributes:
        location: where it stands; never what it is.
        number: whether it is a number, which holds no words and is an identifier only where it looks like one.
        key: whether it is a name of a value rather than a value.
        log: whether it is a line of W&B's log of itself.
    """

    location: str
    text: str
    number: bool = False
    key: bool = False
    log: bool = False


@dataclass(frozen=True)
class Finding:
    """Says where something is that must not leave the machine, and of what kind it is; never what it says."""

    location: str
    kind: str


MANY = 100_000
"""Whole numbers from here on may be identifiers; hospitals with ids below cannot be told from counts."""

COUNTS = re.compile(r"^(_.*|params|tokens_seen|counts/.*|seconds/.*|.*(token|bytes|memory|params|_step).*)$")
"""Names of whole numbers that are counts."""

NAME = re.compile(r"[A-Za-z0-9_.+\-]{1,64}(/[A-Za-z0-9_.+\-]{1,40}){0,3}")
"""A short name; beside the guard's lists the audit has this form of its own."""

IDENTIFIER = re.compile(r"(?i)(subject|hadm|note|patient|admission|encounter|stay|visit)_?ids?\b|\bmrn\b|birth|\bdob\b")
DATE = re.compile(r"(?<!\d)(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[/.]\d{1,2}[/.](\d{4}|\d{2}))(?!\d)")
ADDRESS = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+")
NOT_FINITE = ("NaN", "Infinity", "-Infinity")
META = re.compile(r"_(step|timestamp|runtime|wandb)")
STATS = re.compile(r"[A-Za-z0-9_.]{1,80}|disk\./\.usage(GB|Percent)")
VERSION = re.compile(r"[0-9A-Za-z.+_-]{1,80}")
SLOT = re.compile(r"[a-z0-9]{0,20}")


def _name(text: str) -> str | None:
    if not NAME.fullmatch(text):
        return "a text, where only a short name may stand"
    return _content(text)


def _dated_name(text: str) -> str | None:
    """Judges a name that a user gives, which may hold the day on which the run was made."""
    return _name(DATE.sub("", text) or "x")  # a day alone is a name


def _content(text: str) -> str | None:
    """Says what is wrong with a short name; None where nothing is."""
    if DATE.search(text):
        return "a date"
    if IDENTIFIER.search(text):
        return "the name of an identifier"
    # A short name that decodes to two words of letters: chance hardly gives that.
    if any(re.search(r"[A-Za-z]{2} [A-Za-z]{2}", decoded) for decoded in list(decodings(text))[1:]):
        return "an encoded text"
    return None


def _pattern(pattern: re.Pattern[str], reason: str) -> Rule:
    return lambda text: None if pattern.fullmatch(text) else reason


def _version(text: str) -> str | None:
    return None if VERSION.fullmatch(text) and not ADDRESS.search(text) else "a text, where a version stands"


RUN = {
    **dict.fromkeys(("run_id", "entity", "project", "display_name", "run_group", "tags"), _dated_name),
    "job_type": _name,
    "host": _pattern(re.compile("redacted"), "the name of the machine"),
    "storage_id": _pattern(re.compile(r"[A-Za-z0-9=+/:_-]{0,200}"), "a text, where W&B's id stands"),
    **{f"telemetry.{name}": _version for name in ("python_version", "cli_version", "huggingface_version", "platform")},
}
TELEMETRY = {name.removeprefix("telemetry."): rule for name, rule in RUN.items() if name.startswith("telemetry.")}

STRINGS: dict[str, dict[str, Rule]] = {
    "header": {"version_info.producer": _version, "version_info.min_consumer": _version},
    "run": RUN,
    "config": {},
    "summary": {},
    "history": {},
    "stats": {},
    "telemetry": TELEMETRY,
    "metric": dict.fromkeys(("name", "step_metric"), _name),
    "exit": {},
    "final": {},
    "footer": {},
    "preempting": {},
}
"""Kinds of records that may be, and of each the fields that may hold a string; numbers may stand in all of them."""

ITEMS = {
    "run": {"config.update": "config", "config.remove": "config"},
    "config": {"update": "config", "remove": "config"},
    "summary": {"update": "summary", "remove": "summary"},
    "history": {"item": "history"},
    "stats": {"item": "stats"},
}
"""Fields with names and JSON values."""

MESSAGES = {
    "header": ("version_info",),
    "run": (
        "config",
        "start_time",
        "telemetry",
        "telemetry.imports_init",
        "telemetry.imports_finish",
        "telemetry.feature",
    ),
    "history": ("step",),
    "stats": ("timestamp",),
    "telemetry": ("imports_init", "imports_finish", "feature"),
    "metric": ("options", "summary", "_control"),
}
"""Fields with messages of numbers and of the strings above."""

AROUND: dict[str, Rule] = {
    "control.mailbox_slot": _pattern(SLOT, "a text, where a number of W&B stands"),
    "_info.stream_id": _dated_name,
}
"""Strings beside a record's kind."""


def examine(record: Any, location: str) -> Iterator[LoggedString | Finding]:
    """Yields every string of a record, key or value, and everything of it that may not be.

    Args:
        record: a `wandb_internal_pb2.Record`.
        location: of it.
    """
    kind = record.WhichOneof("record_type")
    if kind is None:
        yield Finding(location, "a record of no known kind")
    elif kind not in STRINGS:
        yield Finding(location, f"a record of kind {kind}")
    for field, value in record.ListFields():
        field_location = f"{location}, {field.name}"
        if field.name == kind and kind not in STRINGS:
            yield from _anything(value, field_location)
        elif field.name == kind:
            yield from _message(
                value, field_location, "", STRINGS.get(kind, {}), ITEMS.get(kind, {}), MESSAGES.get(kind, ())
            )
        elif field.name in ("control", "_info"):
            yield from _message(value, field_location, f"{field.name}.", AROUND, {}, ())
        elif field.name != "num":  # W&B counts its records there
            yield Finding(field_location, "a field that is not known")
            yield from _anything(value, field_location)
    yield from _unknown(record, location)


def examine_file(name: str, text: str, location: str) -> Iterator[LoggedString | Finding]:
    """Examines a file that W&B writes of an online run: `config.yaml` or `wandb-summary.json`."""
    from omegaconf import OmegaConf

    try:
        content: Any = json.loads(text) if name.endswith(".json") else OmegaConf.to_container(OmegaConf.create(text))
        items = {str(key): content[key] if name.endswith(".json") else content[key]["value"] for key in content}
    except Exception:  # of whichever kind the parsers raise
        yield LoggedString(location, text)  # to be matched with the notes as well
        yield Finding(location, "a file that is not what W&B writes under this name")
        return
    yield from examine_items(items, "summary" if name.endswith(".json") else "config", location)


def examine_replay(replay: Replay) -> Iterator[LoggedString | Finding]:
    """Examines what `src.sync` would send of a run."""
    run, labels = RunFolder(replay.run), guarded_labels(replay.wandb, replay.run, replay.metadata)
    for label in (labels["project"], labels["group"] or "", labels["name"], labels["job_type"], *labels["tags"]):
        if label:
            yield LoggedString(run.tracking.name, label)
            if wrong := _dated_name(label):
                yield Finding(run.tracking.name, wrong)
    yield from examine_items(labels["config"], "config", run.tracking.name)
    for step, row in replay.rows.items():
        yield from examine_items(row, "history", f"{run.history.name}, step {step}")
    yield from examine_items(replay.summary, "summary", run.record.name)


def examine_items(items: Mapping[str, Any], kind: str, location: str) -> Iterator[LoggedString | Finding]:
    """Examines names and values: a configuration, a row of a history, or a summary."""
    for number, (key, value) in enumerate(items.items(), start=1):
        item_location = f"{location}, item {number}"
        yield LoggedString(f"{item_location}, its name", key, key=True)
        if wrong := _item_name(key, kind):
            yield Finding(f"{item_location}, its name", wrong)
        yield from _value(json.dumps(value), f"{item_location}, its value", kind, [key])


def _message(
    message: Any,
    location: str,
    prefix: str,
    strings: dict[str, Rule],
    items: dict[str, str],
    messages: tuple[str, ...],
) -> Iterator[LoggedString | Finding]:
    for field, value in message.ListFields():
        name = f"{prefix}{field.name}"
        elements = _several(field, value)
        for number, element in enumerate(elements, start=1):
            field_location = f"{location}.{field.name} {number}" if field.is_repeated else f"{location}.{field.name}"
            if name in items:
                yield from _item(element, field_location, items[name])
            elif hasattr(element, "ListFields"):
                if name not in messages:
                    yield Finding(field_location, "a field that is not known")
                yield from _message(element, field_location, f"{name}.", strings, items, messages)
            elif isinstance(element, str | bytes):
                text = element if isinstance(element, str) else element.decode("utf-8", "replace")
                yield LoggedString(field_location, text)
                if wrong := strings.get(name, lambda text: "a field that is not known")(text):
                    yield Finding(field_location, wrong)


def _item(item: Any, location: str, kind: str) -> Iterator[LoggedString | Finding]:
    """Examines a name and a value, which is JSON."""
    parts = list(item.nested_key) if kind != "stats" else []
    names = ([item.key] if item.key else []) + parts
    for name in names:
        yield LoggedString(f"{location}, its name", name, key=True)
        if wrong := _item_name(name, kind):
            yield Finding(f"{location}, its name", wrong)
    for field, value in item.ListFields():
        if field.name not in ("key", "nested_key", "value_json"):
            yield Finding(location, "a field that is not known")
            yield from _anything(value, location)
    if item.value_json:
        yield from _value(item.value_json, f"{location}, its value", kind, names)


def _item_name(name: str, kind: str) -> str | None:
    if kind == "stats":
        return None if STATS.fullmatch(name) else "a text, where the name of a measurement stands"
    if META.fullmatch(name) or (kind == "summary" and name == "runtime"):
        return None
    if kind == "config":
        configured = config_pattern(name) or name in CONFIG_NUMBERS
        return _name(name) or (None if configured else "a name that is none of our configuration")
    return _name(name) or (None if re.fullmatch(METRIC, name) else "a name that is none of our metrics")


def _config_text(text: str, names: list[str]) -> str | None:
    """Says what is wrong with a string of the configuration; None where nothing is."""
    pattern = config_pattern(names[0] if names else "")
    return _name(text) or (None if pattern and re.fullmatch(pattern, text) else "a text that its key does not take")


def _value(text: str, location: str, kind: str, names: list[str]) -> Iterator[LoggedString | Finding]:
    """Examines the JSON of one value, which may be a number, null, or in a configuration a short name."""
    count = any(COUNTS.match(name) for name in names)
    own = names[:1] == ["_wandb"]  # W&B's versions and telemetry, of several parts
    for role, leaf in json_leaves(text):
        if isinstance(leaf, str):
            yield LoggedString(location, leaf, key=role == "key")
            if own and VERSION.fullmatch(leaf):
                continue
            if role == "key" or own:
                yield Finding(location, "a value of several parts, where a number stands")
            elif leaf not in NOT_FINITE and (
                wrong := _config_text(leaf, names) if kind == "config" else "a text, where a number stands"
            ):
                yield Finding(location, wrong)
        # Below 1e18, for int() takes neither nan nor infinity.
        elif isinstance(leaf, int | float) and not count and MANY <= abs(leaf) < 1e18 and leaf == int(leaf):
            yield LoggedString(location, str(abs(int(leaf))), number=True)
    if text.lstrip()[:1] == "[" and not own:
        yield Finding(location, "a list, where a number stands")


def _anything(value: Any, location: str) -> Iterator[LoggedString]:
    """Yields every string of whatever a field holds."""
    if isinstance(value, str):
        yield LoggedString(location, value)
    elif isinstance(value, bytes):
        yield LoggedString(location, value.decode("utf-8", "replace"))
    elif hasattr(value, "ListFields"):
        for field, inner in value.ListFields():
            for element in _several(field, inner):
                yield from _anything(element, location)
    elif hasattr(value, "__iter__"):
        for inner in value:
            yield from _anything(inner, location)


def _unknown(message: Any, location: str) -> Iterator[LoggedString | Finding]:
    """Finds fields that this version of W&B does not know, here and in the messages within."""
    from google.protobuf.unknown_fields import UnknownFieldSet

    # protobuf keeps such fields in the message, and ListFields passes over them.
    for field in UnknownFieldSet(message):
        yield Finding(location, "a field that is not known")
        if isinstance(field.data, bytes):
            yield LoggedString(location, field.data.decode("utf-8", "replace"))
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for inner in _several(field, value):
                if hasattr(inner, "ListFields"):
                    yield from _unknown(inner, location)


def _several(field: Any, value: Any) -> list[Any]:
    """Lists the values of a field; of a map its keys and values."""
    if hasattr(value, "items"):
        return [part for pair in value.items() for part in pair]
    return list(value) if field.is_repeated else [value]
