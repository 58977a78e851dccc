"""Measures how modules are built, in numbers: `python -m src.benchmarks.structure SRC`, or `OLD/src SRC` side by side.

Shares are of lines that are not blank. A docstring is any string that stands alone; code is the lines outside of these
that hold more than a comment; comments are counted beside code too, without those that address a tool. A function's
lines run from `def` to its end, nested ones included. A private function is called once where its module names it once
beside its definition. Dialect is counted in NAME tokens without keywords. A room is a folder directly below the tree;
the files beside the rooms share one. An import counts once a file and module. A cycle is a group of modules that import
each other, directly or not, inside functions and for type checking included. A docstring's first line passes for a
sentence if, before any relative word, it has an auxiliary verb, begins with a word in -s, or has a word in -s before a
word of `AFTER_A_VERB`. It takes some nouns for verbs and misses other verbs, so it judges trees and no single line.
"""

import ast
import io
import keyword
import re
import statistics
import sys
import tokenize
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

WORST = ("told", "found", "each", "place", "at", "how")
DIALECT = (
    *WORST, "places", "one", "other", "asked", "known", "kind", "beside", "held", "whole", "left", "what", "chosen",
    "truth", "alone", "leads")  # fmt: skip
"""Identifiers that say nothing of their role; the first six are summed."""

RELATIVE = {"that", "which", "who", "whose", "where", "what", "how", "whether", "when", "why", "if"}
AUXILIARY = {"is", "are", "was", "were", "has", "have", "can", "cannot", "must", "may", "does", "do", "will", "comes"}
AFTER_A_VERB = {
    "a", "an", "the", "its", "it", "them", "every", "all", "no", "nothing", "this", "to", "by", "as", "into",
}  # fmt: skip

FUNCTION, IMPORT = (ast.FunctionDef, ast.AsyncFunctionDef), (ast.Import, ast.ImportFrom)
DOCUMENTED = (ast.Module, ast.ClassDef, *FUNCTION)
SHARES = ("code", "comment", "docstring")


@dataclass(frozen=True)
class Module:
    """Holds one file, parsed once; the stem of `__init__.py` is empty."""

    name: str
    room: str
    stem: str
    lines: list[str]
    nodes: list[ast.AST]
    tokens: list[tokenize.TokenInfo]


def read_modules(folder: Path) -> list[Module]:
    """Reads the modules below a folder, which is their package."""
    modules = []
    for path in sorted(folder.rglob("*.py")):
        text, parts = path.read_text("utf-8"), path.relative_to(folder).with_suffix("").parts
        name = ".".join([folder.resolve().name, *(part for part in parts if part != "__init__")])
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
        room, stem = parts[0] if len(parts) > 1 else "", "" if parts[-1] == "__init__" else parts[-1]
        modules.append(Module(name, room, stem, text.splitlines(), list(ast.walk(ast.parse(text))), tokens))
    return modules


def line_kinds(module: Module) -> Counter[str]:
    """Counts lines that are blank, hold a docstring, code, a comment; code and a comment may share one."""
    alone = [node.value for node in module.nodes if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)]
    texts = [node for node in alone if isinstance(node.value, str)]
    inside = {line for node in texts for line in range(node.lineno, (node.end_lineno or 0) + 1)}
    comments = {token.start[0]: token.string for token in module.tokens if token.type == tokenize.COMMENT}
    kinds: Counter[str] = Counter()
    for number, line in enumerate(module.lines, 1):
        if number in inside or not line.strip():
            kinds["docstring" if line.strip() else "blank"] += 1
            continue
        kinds["code"] += not line.lstrip().startswith("#")
        kinds["comment"] += not re.match(r"# (fmt|type|noqa)\b|$", comments.get(number, ""))
    return kinds


def is_fragment(docstring: str) -> bool:
    """Says whether the first line passes for no sentence.

    >>> [is_fragment(line) for line in ("The cohort of a run.", "A run writes its record.", "Whether it is finished.")]
    [True, False, True]
    """
    words = re.findall(r"[\w']+", docstring.strip().partition("\n")[0])
    end = next((index for index, word in enumerate(words) if word.lower() in RELATIVE), len(words))
    main = words[:end]
    in_s = [bool(re.fullmatch(r"[A-Za-z]+[^'s]s", word)) for word in main]
    follows = [word.lower() in AFTER_A_VERB for word in [*words[1:], ""]]
    return not (
        AUXILIARY & {word.lower() for word in main} or in_s[:1] == [True] or any(map(min, in_s[1:], follows[1:]))
    )


def imported(module: Module, names: Collection[str] = ()) -> set[str]:
    """Lists modules that a module imports anywhere; of a package's members those in `names` are modules themselves."""
    modules = set()
    for node in module.nodes:
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = [*module.name.split("."), *([] if module.stem else [""])]
            above = parts[: -node.level] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            modules |= {inner if (inner := f"{source}.{alias.name}") in names else source for alias in node.names}
    return modules


def cycles(modules: Sequence[Module]) -> list[list[str]]:
    """Groups modules that import each other, by whatever way."""
    names = {module.name for module in modules}
    reached = {module.name: imported(module, names) & names - {module.name} for module in modules}
    for middle in names:
        for name in names:
            if middle in reached[name]:
                reached[name] |= reached[middle]
    groups = {tuple(sorted(inner for inner in reached[name] if name in reached[inner])) for name in names}
    return [list(group) for group in sorted(groups) if len(group) > 1]


def in_several_rooms(pairs: Iterable[tuple[str, str]]) -> str:
    """Counts and names those that more than one room has, from names with their rooms."""
    counts = Counter(name for name, _ in set(pairs))
    names = sorted(name for name, count in counts.items() if count > 1)
    return " ".join([str(len(names)), *names])


def spread(values: Sequence[int]) -> str:
    """Shows median, ninetieth percentile and largest."""
    ordered = sorted(values) or [0]
    return f"{statistics.median(ordered):g} / {ordered[int(0.9 * (len(ordered) - 1))]} / {ordered[-1]}"


def measure(folder: Path) -> dict[str, int | float | str]:
    """Takes every measure of one tree, by its name in the table."""
    modules = read_modules(folder)
    lines, kinds = sum(len(file.lines) for file in modules), sum(map(line_kinds, modules), Counter())
    names = {file.name: Counter(word.string for word in file.tokens if word.type == tokenize.NAME) for file in modules}
    # Of the syntax tree, in which, unlike among tokens before Python 3.12, the names in an f-string are found too.
    used = {
        file.name: Counter(
            node.id if isinstance(node, ast.Name) else node.attr
            for node in file.nodes
            if isinstance(node, ast.Name | ast.Attribute)
        )
        for file in modules
    }
    functions = [
        (node, (node.end_lineno or 0) - node.lineno + 1, used[file.name][node.name])
        for file in modules
        for node in file.nodes
        if isinstance(node, FUNCTION)
    ]
    lengths = [length for _, length, _ in functions]
    private = [entry for entry in functions if entry[0].name[0] == "_" and not entry[0].name.endswith("__")]
    once = [length for _, length, uses in private if uses == 1]
    words = sum(names.values(), Counter())
    identifiers = max(1, sum(count for word, count in words.items() if not keyword.iskeyword(word)))
    rates = {f"  {word}": round(100_000 * words[word] / identifiers) for word in DIALECT}
    inner = {node for function, *_ in functions for node in ast.walk(function) if isinstance(node, IMPORT)}
    documented = [node for file in modules for node in file.nodes if isinstance(node, DOCUMENTED)]
    docstrings = [text for node in documented if (text := ast.get_docstring(node))]
    classes = [
        (node.name, file.room)
        for file in modules
        for node in file.nodes
        if isinstance(node, ast.ClassDef) and node.name[0] != "_"
    ]
    groups = cycles(modules)
    return {
        "files": len(modules),
        "lines": lines,
        **{f"{name} %": round(100 * kinds[name] / max(1, lines - kinds["blank"]), 1) for name in SHARES},
        "file length, median / p90 / max": spread([len(module.lines) for module in modules]),
        "functions": len(functions),
        "function length, median / p90 / max": spread(lengths),
        "functions > 60 lines": sum(length > 60 for length in lengths),
        "private functions": len(private),
        "called once": len(once),
        "called once, at most 6 lines": sum(length <= 6 for length in once),
        "identifier uses": identifiers,
        "+".join(WORST) + " per 100,000": round(100_000 * sum(words[word] for word in WORST) / identifiers),
        **rates,
        "imports inside functions": len(inner),
        "imports per file, median / p90 / max": spread([len(imported(module)) for module in modules]),
        "classes in several rooms": in_several_rooms(classes),
        "file names in several rooms": in_several_rooms((file.stem, file.room) for file in modules if file.stem),
        "docstrings": len(docstrings),
        "first lines without a verb %": round(100 * sum(map(is_fragment, docstrings)) / max(1, len(docstrings)), 1),
        "import cycles": "; ".join([str(len(groups)), *(" ".join(group) for group in groups)]),
    }


def main() -> None:
    """Runs the command."""
    if not sys.argv[1:] or not all(Path(word).is_dir() for word in sys.argv[1:]):
        sys.exit(f"{' '.join(sys.argv[1:])}: write python -m src.benchmarks.structure FOLDER, or two to compare")
    tables = [measure(Path(word)) for word in sys.argv[1:]]
    print(f"{'':40}" + "".join(f"  {word:>24}" for word in sys.argv[1:]))
    for name in tables[0]:
        print(f"{name:40}" + "".join(f"  {table[name]!s:>24}" for table in tables))


if __name__ == "__main__":
    main()
