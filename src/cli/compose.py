"""Composes typed configurations from the words on a command line, and reports every problem at once."""

import argparse
import copy
import dataclasses
import difflib
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from src.cli.errors import UserError, raise_all
from src.cli.search_space import SEARCH, Dimension, is_interval, space_of
from src.cli.typed_config import converted, judged, leaves, typed_value
from src.cli.typed_words import FUNCTION, for_the_shell, parsed, spell, takes_text, unread

CONF = Path(__file__).parents[2] / "conf"


class Schema(Protocol):
    """A schema is a configuration dataclass that knows what its own values may be."""

    def problems(self) -> list[str]:
        """Returns one line a problem: the key as typed, its value, and what is allowed."""


S = TypeVar("S", bound=Schema)


@dataclasses.dataclass(frozen=True)
class Point(Generic[S]):
    """A point is one configuration that a command asks for.

    Attributes:
        words: the overrides that make it, in Hydra's grammar.
        config: what they compose to.
        launcher: the values of `hydra.launcher`, resolved with this configuration's groups.
    """

    words: list[str]
    config: S
    launcher: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Composed(Generic[S]):
    """Holds every configuration that a command asks for, and one line for each that cannot be.

    Attributes:
        overrides: what was typed, in Hydra's grammar.
        sweeper: the values of `hydra.sweeper` where it is a search, whose trials all begin as the only point.
        space: what a search may try.
    """

    overrides: list[str]
    multirun: bool
    points: list[Point[S]]
    dropped: list[str]
    sweeper: dict[str, Any] = dataclasses.field(default_factory=dict)
    space: list[Dimension] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class CommandLine:
    """Holds what was typed, as Hydra reads it."""

    config_name: str
    config_dir: str | None
    overrides: list[str]
    multirun: bool
    shows: bool
    """Only prints something (`--help`, `--cfg`), runs nothing."""

    @property
    def searched(self) -> list[Path]:
        """Lists the folders in which named configurations are looked for, ours first."""
        return [CONF, *([Path(self.config_dir)] if self.config_dir else [])]

    @property
    def home(self) -> Path:
        """Is the folder of the named configuration: the user's before ours, as `sweeps` has its own `scaling`.

        Raises:
            UserError: no folder has it.
        """
        name, folders = f"{self.config_name}.yaml", self.searched
        for folder in reversed(folders):
            if (folder / name).is_file():
                return folder
        named = sorted(path.stem for folder in folders for path in folder.glob("*.yaml"))
        where = " or ".join(str(folder) for folder in folders[1:]) or "conf"
        raise UserError(f"--config-name {self.config_name}: no such file in {where}; there are {', '.join(named)}")

    @property
    def search_path(self) -> list[str]:
        """Tells Hydra of the other folders, as an override: it reads them only from the primary configuration."""
        others = [f"file://{folder.absolute()}" for folder in self.searched if folder != self.home]
        return [f"hydra.searchpath=[{','.join(others)}]"] if others else []


def read_command_line(argv: Sequence[str], config_name: str) -> CommandLine:
    """Reads Hydra's own flags and the overrides; leaves a misspelt flag to argparse's message."""
    from hydra._internal.utils import get_args_parser

    parser: argparse.ArgumentParser = get_args_parser()
    args = parser.parse_intermixed_args(list(argv))  # so that flags may stand between overrides
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

    line = spelt(schema, line)
    where = line.config_name
    GlobalHydra.instance().clear()  # or Hydra refuses to compose a second time in one process
    with initialize_config_dir(str(line.home.absolute()), version_base="1.3"), _in_our_words(where):
        extra = line.search_path
        asked = _asked(schema, line, extra)
        cells, multirun, problems = asked.cells, asked.multirun, asked.problems
        composer = Composer(schema, line, extra, {_key(text) for cell in cells for text in cell} if multirun else set())
        points, dropped = [], []
        for words in cells:
            config, launcher, wrong, conflicts = composer.point(words)
            own = [word for word in words if word not in cells[0]] if asked.space else words
            suffix = f" (in the cell {' '.join(own)})" if multirun and own else ""
            wrong += [] if multirun else conflicts
            problems += [
                problem + suffix for problem in wrong if not any(reported.startswith(problem) for reported in problems)
            ]
            dropped += [f"{' '.join(own)}: left out; {conflict}" for conflict in conflicts if multirun]
            points += [Point(words, config, launcher)] if config and not wrong and not conflicts else []
    problems += dropped if asked.space or not (points or problems) else []
    raise_all(list(dict.fromkeys(problems)), where)
    points = points[:1] if asked.space else points  # the others only show that the space can be
    return Composed(line.overrides, multirun, points, list(dict.fromkeys(dropped)), asked.sweeper, asked.space)


@contextmanager
def _in_our_words(where: str) -> Iterator[None]:
    """Raises what Hydra refuses of its own keys, such as `hydra/launcher=`, as one of our errors."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise_all([" ".join(str(error).split())], where)


@dataclasses.dataclass
class _Asked:
    """Holds the overrides of each cell, whether they are a multirun's, and the problems of the overrides."""

    cells: list[list[str]]
    multirun: bool
    problems: list[str]
    sweeper: dict[str, Any]
    space: list[Dimension]


def _asked(schema: type[Schema], line: CommandLine, extra: list[str]) -> _Asked:
    """Reads what cells the overrides ask for: one, those of a grid, or those that show what a search may try."""
    from hydra import compose as hydra_compose
    from omegaconf import OmegaConf

    intervals = [text for text in line.overrides if is_interval(text)]
    rest = [text for text in line.overrides if text not in intervals]
    problems, good = _override_problems(schema, dataclasses.replace(line, overrides=rest))
    if any(_key(text) in _groups(line.searched) for text in set(rest) - set(good)):
        raise_all(problems, line.config_name)  # what else is wrong depends on a choice that does not exist
    plain = [text for text in good if not _is_sweep(text)]
    # Without the swept words, which Hydra's compose refuses: the file may ask for a multirun and hold values of it.
    first = hydra_compose(line.config_name, [*extra, *plain], return_hydra_config=True)
    multirun = line.multirun or str(first.hydra.mode) == "RunMode.MULTIRUN"
    sweeper = typing.cast(dict[str, Any], OmegaConf.to_container(first.hydra.sweeper, resolve=True))
    searches = sweeper.get("kind") == SEARCH
    if not searches:
        problems += _override_problems(schema, dataclasses.replace(line, overrides=intervals))[0]
    if not multirun:
        problems += ["hydra/sweeper=search: is for multiruns; add -m"] if searches else []
        problems += [_several(text, dict(leaves(schema))) for text in good if _is_sweep(text)]
        good = plain
    typed = {_key(text) for text in [*good, *intervals]}
    params = _params(line, dict(sweeper.get("params") or {})) if multirun else {}
    words = [f"{key}={value}" for key, value in params.items() if key not in typed]
    swept = spelt(schema, dataclasses.replace(line, overrides=words, multirun=True))
    if searches and multirun:
        tried = [*swept.overrides, *(text for text in good if _is_sweep(text)), *intervals]
        space, wrong = space_of(tried, dict(leaves(schema)), _groups(line.searched))
        raise_all([*problems, *wrong], line.config_name)
        if not space:
            raise_all(["hydra.sweeper.params: empty; write what to try, such as lr=1e-4,1e-3"], line.config_name)
        return _Asked(_probes(plain, space), True, problems, sweeper, space)
    wrong, params_good = _override_problems(schema, swept)
    raise_all([*problems, *wrong] if wrong else [], line.config_name)
    return _Asked(_cells([*params_good, *good]), multirun, problems, {}, [])


def _probes(plain: list[str], space: Sequence[Dimension]) -> list[list[str]]:
    """Lists cells in which each end of a search's space stands once, after one in which none does."""
    return [plain, *([*plain, word] for dimension in space for word in dimension.ends)]


class Composer:
    """Composes the cells of a grid; those that differ in plain values share the work of composing.

    Hydra takes 0.1 s for one composition, a grid of 500 cells a minute. So swept values are set on a
    composition of everything else, unless something in it is interpolated and may depend on them.
    """

    def __init__(self, schema: type[Schema], line: CommandLine, extra: list[str], swept: set[str]) -> None:
        self.schema, self.config_name, self.extra = schema, line.config_name, extra
        self.plain = swept & set(dict(leaves(schema))) - set(_groups(line.searched))
        self._compositions: dict[tuple[str, ...], tuple[dict[str, Any], dict[str, Any], bool]] = {}
        self._typed: dict[tuple[str, ...], tuple[Any, list[str]]] = {}

    def point(self, words: list[str]) -> tuple[Any, dict[str, Any], list[str], list[str]]:
        """Returns a cell's configuration, its launcher's values, its problems, and its conflicts."""
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
        if problems or config is None:  # what else is wrong shows without the words that have no value of their type
            left = [text for text in words if not any(problem.startswith(f"{_key(text)}=") for problem in problems)]
            _, _, more, conflicts = self.point(left) if len(left) < len(words) else (None, {}, [], [])
            return None, {}, [*problems, *(problem for problem in more if problem not in problems)], conflicts
        return config, self._composition(shared)[1], *judged(config)

    def _composition(self, words: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any], bool]:
        """Composes configuration and launcher as containers, and says whether something is interpolated."""
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
        """Converts the configuration of `words`, with one value set, and lists what is wrong with its types."""
        key = (*words, value or "")
        if key not in self._typed:
            config = self._composition(words)[0]
            if value:
                config = copy.deepcopy(config)
                *groups, leaf = _key(value).split(".")
                node = config
                for group in groups:
                    node = node[group]
                node[leaf] = parsed(value).value()
            self._typed[key] = converted(self.schema, config)
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
    typed, problems = typed_value(schema, config)
    raise_all(problems, schema.__name__)
    return typing.cast(S, typed)


def spelt(schema: type[Schema], line: CommandLine) -> CommandLine:
    """Spells the texts of a command line as Hydra's grammar needs them, and replaces `glob()` by what it names."""
    kinds, groups, words = dict(leaves(schema)), _groups(line.searched), []
    for word in line.overrides:
        override = parsed(word) if _key(word) in groups else None
        if override and type(override._value).__name__ == "Glob":
            word = f"{_key(word)}={','.join(override._value.filter(groups[_key(word)])) or word.partition('=')[2]}"
        words.append(spell(word, kinds, line.multirun))
    return dataclasses.replace(line, overrides=words)


def _params(line: CommandLine, composed: dict[str, Any]) -> dict[str, Any]:
    """Reads the sweeper's values as they stand in the file; YAML makes 20241125 of 2024_11_25."""
    import yaml
    from omegaconf import OmegaConf

    path = line.home / f"{line.config_name}.yaml"
    made = OmegaConf.select(OmegaConf.load(path), "hydra.sweeper.params") or {}
    stands = yaml.load(path.read_text("utf-8"), yaml.BaseLoader)
    values = {}
    for key, value in composed.items():
        mine = isinstance(made.get(key), int | float | None) and str(made.get(key)) == str(value)
        values[key] = stands["hydra"]["sweeper"]["params"][key] if mine and key in made else value
    return values


def _several(text: str, kinds: dict[str, Any]) -> str:
    key, _, value = text.partition("=")
    whole = takes_text(kinds.get(key)) and not FUNCTION.fullmatch(value)
    return f"{text}: several values; add -m to run each" + (
        f", or write {for_the_shell(key, value)} for this text" if whole else ""
    )


def _is_sweep(text: str) -> bool:
    return bool(parsed(text).is_sweep_override())


def _cells(overrides: Sequence[str]) -> list[list[str]]:
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    # Hydra's own sweeper, so that the cells and their order are those that Hydra would run.
    batches: list[list[list[str]]] = BasicSweeper.split_arguments([parsed(text) for text in overrides], None)
    return batches[0]


def _override_problems(schema: type[Schema], line: CommandLine) -> tuple[list[str], list[str]]:
    """Lists the problems of the overrides, and the overrides without any."""
    problems, good = [], []
    kinds, groups, refused = dict(leaves(schema)), _groups(line.searched), getattr(schema, "REFUSED", {})
    for text in line.overrides:
        key = _key(text)
        wrong = [f"{text}: {refused[key]}"] if key in refused else _one_override(text, kinds, groups)
        problems += wrong
        good += [] if wrong else [text]
    return problems, good


def _key(text: str) -> str:
    return text.lstrip("+~").split("=")[0]


def _one_override(text: str, kinds: dict[str, Any], groups: dict[str, list[str]]) -> list[str]:
    override = parsed(text)
    if override is None:
        return [unread(text, kinds, groups)]
    key = override.key_or_group
    if key.split(".")[0].split("/")[0] == "hydra":
        return []
    if override.is_sweep_override() and not (override.is_discrete_sweep() and hasattr(override._value, "tags")):
        advice = f"there are {', '.join(groups[key])}" if key in groups else f"write its values, {key}=A,B"
        return [f"{text}: names no values to run; {advice}"]
    values = list(override.sweep_iterator()) if override.is_sweep_override() else [override.value()]
    if key in groups:
        wrong = [value for value in values if str(value) not in groups[key]]
        return [f"{key}={value}: unknown; choose {', '.join(groups[key])}" for value in wrong]
    if key not in kinds and not any(leaf.startswith(f"{key}.") for leaf in kinds):
        near = difflib.get_close_matches(key, [*kinds, *groups], n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted([*groups, *kinds]))}"
        return [f"{text}: there is no key {key}; {hint}"]
    if override.is_add() or override.is_force_add() or override.is_delete():
        return [f"{text}: {key} is a key of every configuration; write {key}=VALUE"]
    return []


def _groups(folders: Sequence[Path]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for folder in folders:
        for path in sorted(folder.glob("*/*.yaml")):
            groups.setdefault(path.parent.name, []).append(path.stem)
    return groups
