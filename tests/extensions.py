"""The changes that docs/extending.md describes, made in a copy of the project as they stand there."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "extending.md"

BLOCK = re.compile(
    r"(?:A new file|In) `(?P<path>[^`]+)`(?:, (?P<where>before|after|instead of) the line `(?P<line>[^`]+)`)?"
    r"(?P<last>, as the last)?:\n\n```\w*\n(?P<text>.*?)```",
    re.DOTALL,
)


@dataclass(frozen=True)
class Change:
    """Some lines for one file: a new one, or beside or instead of a line that stands in it once, and indented alike."""

    path: str
    where: str | None
    line: str
    text: str
    last: bool

    def make(self, copy: Path) -> None:
        path = copy / self.path
        if self.where is None:
            assert not path.exists(), path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.text, "utf-8")
            return
        lines = path.read_text("utf-8").splitlines(keepends=True)
        (index,) = (index for index, line in enumerate(lines) if line.strip() == self.line)
        if self.last:
            index = next(number for number in range(index, len(lines)) if lines[number + 1].rstrip() == ")")
        start = index + 1 if self.where == "after" else index
        opens = self.where == "after" and self.line.endswith(("(", "[", "{", ":")) and not self.last
        beside = lines[start if opens else index]
        indentation = " " * (len(beside) - len(beside.lstrip()))
        text = indent(self.text, indentation)
        if self.text.startswith(("class", "def", "@")):
            text += "\n" if indentation else "\n\n"
        lines[start : start + (self.where == "instead of")] = [text]
        path.write_text("".join(lines), "utf-8")


def sections() -> dict[str, list[Change]]:
    """The changes of each section of the page."""
    parts = re.split(r"^## (.*)$", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    return {
        name: [
            Change(match["path"], match["where"], match["line"] or "", match["text"], bool(match["last"]))
            for match in BLOCK.finditer(text)
        ]
        for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def counted() -> str:
    """The table of files and lines, as the page must have it."""
    rows = []
    for name, changes in sections().items():
        files = {change.path for change in changes}
        lines = sum(bool(line.strip()) for change in changes for line in change.text.splitlines())
        ours = not any(path.startswith(("src/", "conf/")) for path in files)
        rows.append(f"| {name} | {len(files)}{' of yours' if ours else ''} | {lines} |\n")
    return "".join(rows)


def copied(folder: Path) -> Path:
    """A copy of the project's code and configuration; of the bases that ship, one."""
    ignored = shutil.ignore_patterns("__pycache__", "nano", "pico")
    for room in ("src", "conf"):
        shutil.copytree(ROOT / room, folder / room, ignore=ignored)
    return folder
