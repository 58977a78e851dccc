"""From the words on a command line to typed configurations, every problem reported at once."""

import argparse
import copy
import dataclasses
import difflib
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from src.shell.errors import raise_all

CONF = Path(__file__).parents[2] / "conf"


class Schema(Protocol):
    """A configuration dataclass that knows what its own values may be."""

    def problems(self) -> list[str]:
        """One line a problem: the key as typed, its value, and what is allowed."""


S = TypeVar("S", bound=Schema)


@dataclasses.dataclass(frozen=True)
class Point(Generic[S]):
    """One configuration that a command asks for.

    Attributes:
        words: the overrides that make it, as typed.
        config: what they compose to.
        launcher: the values of `hydra.launcher`, resolved with this configuration's groups.
    """

    words: list[str]
    config: S
    launcher: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Composed(Generic[S]):
    """Every configuration that a command asks for, and one line for each that cannot be."""

    multirun: bool
    points: list[Point[S]]
    dropped: list[str]


@dataclasses.dataclass(frozen=True)
class CommandLine:
    """What was typed, as Hydra reads it."""

    config_name: str
    config_dir: str | None
    overrides: list[str]
    multirun: bool
    shows: bool
    """Only prints something (`--help`, `--cfg`), runs nothing."""

    @property
    def searched(self) -> list[Path]:
        """Folders in which named configurations are looked for, nearest first."""
        return [CONF, *([Path(self.config_dir)] if self.config_dir else [])]


def read_command_line(argv: Sequence[str], config_name: str) -> CommandLine:
    """Reads Hydra's own flags and the overrides; leaves a misspelt flag to argparse's message."""
    from hydra._internal.utils import get_args_parser

    parser: argparse.ArgumentParser = get_args_parser()
    args = parser.parse_args(list(argv))
    shows = bool(args.help or args.hydra_help or args.cfg or args.info or args.shell_completion)
    return CommandLine(
        args.config_name or config_name, args.config_dir, list(args.overrides), bool(args.multirun), shows
    )


def compose(schema: type[S], line: CommandLine) -> list[S]:
    """Composes every configuration that the command asks for: one, or one a cell of a multirun.

    Raises:
        UserError: naming every unknown key or choice, wrong type and impossible value at once.
    """
    return [point.config for point in compose_points(schema, line).points]


def compose_points(schema: type[S], line: CommandLine) -> Composed[S]:
    """Composes every configuration that the command asks for, with what belongs to it.

    Values of a multirun that are possible each, but not together, are left out and told in `dropped`.

    Raises:
        UserError: naming every unknown key or choice, wrong type and impossible value at once.
    """
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    where = line.config_name
    raise_all(_missing_config(line), where)
    GlobalHydra.instance().clear()
    # Hydra reads a search path only from the primary configuration, so its folder comes first here.
    home = next(folder for folder in reversed(line.searched) if (folder / f"{line.config_name}.yaml").is_file())
    with initialize_config_dir(str(home.absolute()), version_base="1.3"), _in_our_words(where):
        others = [f"file://{folder.absolute()}" for folder in line.searched if folder != home]
        extra = [f"hydra.searchpath=[{','.join(others)}]"] if others else []
        cells, multirun, problems = _asked(schema, line, extra)
        composer = Composer(schema, line, extra, {_key(text) for cell in cells for text in cell} if multirun else set())
        points, dropped = [], []
        for words in cells:
            config, launcher, wrong, conflicts = composer.point(words)
            at = f" (in the cell {' '.join(words)})" if multirun else ""
            wrong += [] if multirun else conflicts
            problems += [problem + at for problem in wrong if not any(told.startswith(problem) for told in problems)]
            dropped += [f"{' '.join(words)}: left out; {conflict}" for conflict in conflicts if multirun]
            points += [Point(words, config, launcher)] if config and not wrong and not conflicts else []
    problems += [] if points or problems else dropped
    raise_all(list(dict.fromkeys(problems)), where)
    return Composed(multirun, points, list(dict.fromkeys(dropped)))


@contextmanager
def _in_our_words(where: str) -> Iterator[None]:
    """What Hydra refuses of its own keys, such as `hydra/launcher=`, as one of our errors."""
    from hydra.errors import HydraException

    try:
        yield
    except HydraException as error:
        raise_all([" ".join(str(error).split())], where)


def _asked(schema: type[Schema], line: CommandLine, extra: list[str]) -> tuple[list[list[str]], bool, list[str]]:
    """The overrides of each cell, whether they are a multirun's, and the problems of the overrides."""
    from hydra import compose as hydra_compose

    problems, good = _override_problems(schema, line)
    if any(_key(text) in _groups(line.searched) for text in set(line.overrides) - set(good)):
        raise_all(problems, line.config_name)  # what else is wrong depends on a choice that does not exist
    plain = [text for text in good if not _is_sweep(text)]
    first = hydra_compose(line.config_name, [*extra, *plain], return_hydra_config=True)
    multirun = line.multirun or str(first.hydra.mode) == "RunMode.MULTIRUN"
    if not multirun:
        problems += [f"{text}: several values; add -m to run each" for text in good if _is_sweep(text)]
        good = plain
    params = dict(first.hydra.sweeper.params or {}) if multirun else {}
    typed = {_key(text) for text in good}
    swept = dataclasses.replace(line, overrides=[f"{key}={value}" for key, value in params.items() if key not in typed])
    wrong, params_good = _override_problems(schema, swept)
    raise_all([*problems, *wrong] if wrong else [], line.config_name)
    return _cells([*params_good, *good]), multirun, problems


class Composer:
    """Composes the cells of a grid; those that differ in plain values share the work of composing.

    Hydra takes 0.1 s for one composition, a grid of 500 cells a minute. So swept values are set on a
    composition of everything else, unless something in it is interpolated and may depend on them.
    """

    def __init__(self, schema: type[Schema], line: CommandLine, extra: list[str], swept: set[str]) -> None:
        self.schema, self.config_name, self.extra = schema, line.config_name, extra
        self.plain = swept & set(dict(_leaves(schema))) - set(_groups(line.searched))
        self._compositions: dict[tuple[str, ...], tuple[dict[str, Any], dict[str, Any], bool]] = {}
        self._typed: dict[tuple[str, ...], tuple[Any, list[str]]] = {}

    def point(self, words: list[str]) -> tuple[Any, dict[str, Any], list[str], list[str]]:
        """A cell's configuration, its launcher's values, its problems, and its conflicts."""
        values = [text for text in words if _key(text) in self.plain]
        shared = tuple(text for text in words if _key(text) not in self.plain)
        if self._composition(shared)[2]:
            shared, values = tuple(words), []
        base, problems = self._value(shared)
        config, problems = copy.deepcopy(base), list(problems)
        for text in values:
            with_value, wrong = self._value(shared, text)
            problems += [problem for problem in wrong if problem not in problems]
            if config and with_value:
                _put(config, _key(text), _get(with_value, _key(text)))
        if problems or config is None:
            return None, {}, problems, []
        return config, self._composition(shared)[1], *_judged(config)

    def _composition(self, words: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any], bool]:
        """The configuration and the launcher's values as containers, and whether something is interpolated."""
        from hydra import compose as hydra_compose
        from omegaconf import OmegaConf, open_dict

        if words not in self._compositions:
            whole = hydra_compose(self.config_name, [*self.extra, *words], return_hydra_config=True)
            launcher = OmegaConf.to_container(whole.hydra.launcher, resolve=True)
            with open_dict(whole):
                del whole["hydra"]
            loose = "${" in str(OmegaConf.to_container(whole, resolve=False))
            config = OmegaConf.to_container(whole, resolve=True)
            self._compositions[words] = typing.cast(Any, config), typing.cast(Any, launcher), loose
        return self._compositions[words]

    def _value(self, words: tuple[str, ...], value: str | None = None) -> tuple[Any, list[str]]:
        """The typed configuration of `words`, with one value set, and what is wrong with its types."""
        key = (*words, value or "")
        if key not in self._typed:
            config = self._composition(words)[0]
            if value:
                config = copy.deepcopy(config)
                *groups, leaf = _key(value).split(".")
                node = config
                for group in groups:
                    node = node[group]
                node[leaf] = _parse(value).value()
            self._typed[key] = _converted(self.schema, config)
        return self._typed[key]


def _get(config: Any, key: str) -> Any:
    for name in key.split("."):
        config = getattr(config, name)
    return config


def _put(config: Any, key: str, value: Any) -> None:
    group, _, leaf = key.rpartition(".")
    setattr(_get(config, group) if group else config, leaf, value)


def to_schema(schema: type[S], config: Any) -> S:
    """Turns one composed configuration into its typed value.

    Raises:
        UserError: naming every problem of it.
    """
    typed, problems = _typed(schema, config)
    raise_all(problems, schema.__name__)
    return typing.cast(S, typed)


def _missing_config(line: CommandLine) -> list[str]:
    if any((folder / f"{line.config_name}.yaml").is_file() for folder in line.searched):
        return []
    named = sorted(path.stem for folder in line.searched for path in folder.glob("*.yaml"))
    folders = " or ".join(str(folder) for folder in line.searched[1:]) or "conf"
    return [f"--config-name {line.config_name}: no such file in {folders}; there are {', '.join(named)}"]


def _parse(text: str) -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_override(text)


def _is_sweep(text: str) -> bool:
    return bool(_parse(text).is_sweep_override())


def _cells(overrides: Sequence[str]) -> list[list[str]]:
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    batches: list[list[list[str]]] = BasicSweeper.split_arguments([_parse(text) for text in overrides], None)
    return batches[0]


def _override_problems(schema: type[Schema], line: CommandLine) -> tuple[list[str], list[str]]:
    """The problems of the overrides, and the overrides without any."""
    problems, good = [], []
    leaves, groups = dict(_leaves(schema)), _groups(line.searched)
    for text in line.overrides:
        wrong = _one_override(text, leaves, groups)
        problems += wrong
        good += [] if wrong else [text]
    return problems, good


def _key(text: str) -> str:
    return text.lstrip("+~").split("=")[0]


def _one_override(text: str, leaves: dict[str, Any], groups: dict[str, list[str]]) -> list[str]:
    from hydra.errors import HydraException

    try:
        override = _parse(text)
    except HydraException:
        return [f"{text}: not of the form key=value (quote values that hold = , or blanks)"]
    key = override.key_or_group
    if key.split(".")[0].split("/")[0] == "hydra":
        return []
    values = list(override.sweep_iterator()) if override.is_sweep_override() else [override.value()]
    if key in groups:
        wrong = [value for value in values if str(value) not in groups[key]]
        return [f"{key}={value}: unknown; choose {', '.join(groups[key])}" for value in wrong]
    if key not in leaves and not any(leaf.startswith(f"{key}.") for leaf in leaves):
        near = difflib.get_close_matches(key, [*leaves, *groups], n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted([*groups, *leaves]))}"
        return [f"{text}: there is no key {key}; {hint}"]
    if override.is_add() or override.is_force_add() or override.is_delete():
        return [f"{text}: {key} is a key of every configuration; write {key}=VALUE"]
    return []


def _groups(folders: Sequence[Path]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for folder in folders:
        for path in sorted(folder.glob("*/*.yaml")):
            found.setdefault(path.parent.name, []).append(path.stem)
    return found


def _leaves(schema: type[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind):
            yield from _leaves(typing.cast(type[Any], kind), f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", kind


def _typed(schema: type[S], config: Any) -> tuple[S | None, list[str]]:
    typed, problems = _converted(schema, config)
    if typed is not None:
        problems = [problem for kind in _judged(typed) for problem in kind]
    return (None if problems else typed), problems


def _judged(config: Any) -> tuple[list[str], list[str]]:
    """The problems of a typed configuration: of single values, and of values that do not go together."""
    conflicts = config.conflicts() if hasattr(config, "conflicts") else []
    return [problem for problem in config.problems() if problem not in conflicts], conflicts


def _converted(schema: type[S], config: Any) -> tuple[S | None, list[str]]:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    fresh = OmegaConf.structured(schema)
    for field in dataclasses.fields(typing.cast(Any, schema)):  # a group without a default starts as one missing value
        if dataclasses.is_dataclass(typing.get_type_hints(schema)[field.name]):
            fresh[field.name] = OmegaConf.structured(typing.get_type_hints(schema)[field.name])
    kinds, problems = dict(_leaves(schema)), []
    given = OmegaConf.to_container(config, resolve=True) if OmegaConf.is_config(config) else config
    for key, value in _flat(given, kinds):
        if key not in kinds:
            problems.append(f"{key}={value}: there is no key {key}")
            continue
        if value == "???":
            problems.append(f"{key}: not given; write {key}=VALUE")
            continue
        try:
            kind = kinds[key]
            chosen = kind(value) if isinstance(kind, type) and issubclass(kind, StrEnum) else value
            OmegaConf.update(fresh, key, chosen, force_add=False)
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
    """What a value of this type may be, in words.

    >>> _wording(int), _wording(float | None), _wording(list[str])
    ('a whole number', 'a number or null', 'a list of texts')
    """
    members = typing.get_args(kind)
    if typing.get_origin(kind) is list:
        return f"a list of {_wording(members[0]).removeprefix('a ')}s"
    if members:
        return " or ".join(_wording(member) for member in members)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return "one of " + ", ".join(kind)
    named = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    return named.get(kind, "null")
