"""Writes the file list of docs/architecture.md from the modules' first lines: `python tests/architecture.py`."""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- files: written by `make docs` -->\n", "<!-- end of files -->\n"


def first_line(path: Path) -> str:
    """The first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split("\n")[0]


def file_list(rooms: list[str]) -> str:
    """The commands, then each room in the order in which data flows, as Markdown: a heading and a table a room."""
    src = ROOT / "src"
    lines = ["### Commands\n", *table(src)]
    for room in rooms:
        lines += [f"### `{room}`\n", first_line(src / room / "__init__.py") + "\n", *table(src / room)]
        for inner in sorted(path.parent for path in (src / room).glob("*/__init__.py")):
            lines += [f"#### `{room}/{inner.name}`\n", first_line(inner / "__init__.py") + "\n", *table(inner)]
    return "\n".join(lines)


def table(folder: Path) -> list[str]:
    """The modules of one folder as rows of a Markdown table."""
    modules = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
    rows = [f"| `{path.name}` | {first_line(path).replace('|', chr(92) + '|')} |" for path in modules]
    return ["| | |", "|---|---|", *rows, ""]


def with_files(page: str, rooms: list[str]) -> str:
    """The page with its file list made anew."""
    head, rest = page.split(BEGIN)
    return head + BEGIN + "\n" + file_list(rooms) + "\n" + END + rest.split(END)[1]


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from tests.test_structure import ROOMS

    PAGE.write_text(with_files(PAGE.read_text("utf-8"), ROOMS), "utf-8")
